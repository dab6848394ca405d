"""Which question a validation answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.dataset.image_keys import image_keys
from eml.dataset.table import Table
from eml.evaluation.retrieval_set import build_retrieval_set
from eml.evaluation.trained_overlap import OverlapCounter
from eml.models.trained_on import TrainedOn, trained_on
from eml.training.data import training_data
from eml.training.question import KNOWN, UNSEEN, Question, question_of


def rows(labels: str, folds: str = "", start: int = 0) -> pd.DataFrame:
    """A row for each letter, its label; folds has a digit for each."""
    frame = pd.DataFrame({"label": list(labels), "file_name": [f"{start + n}.png" for n in range(len(labels))]})
    return frame.assign(fold=[int(fold) for fold in folds]) if folds else frame


def of_fold(labels: str, folds: str) -> Question:
    """The question of fold 0."""
    table = Table(rows(labels, folds), Path("photos"))
    data = training_data(table, 0)
    assert data.validation is not None
    return question_of(data.validation, table, replace(table, frame=data.frame))


def of_others(frame: pd.DataFrame, root: str = "others", trained: Table | None = None) -> Question:
    """The question of a table, for a network that was trained on classes a and b."""
    table = Table(frame, Path(root))
    trained = trained or Table(rows("aabb"), Path("photos"))
    return question_of(build_retrieval_set(frame, "others"), table, trained)


def test_a_fold_of_images_asks_for_known_classes_and_a_fold_of_classes_for_unseen_ones() -> None:
    by_images, by_class = of_fold("aaabbb", "011011"), of_fold("aabbccdd", "00001111")
    assert (by_images.text, by_images.classes, by_images.queries) == (KNOWN, 2, 2)
    assert (by_class.text, by_class.classes, by_class.classes_trained_on) == (UNSEEN, 2, 0)


def test_a_class_wholly_in_a_fold_of_images_is_measured_on_its_own_images_as_an_unseen_one() -> None:
    mixed = of_fold("aaabbbcc", "01101100")
    assert mixed == Question(3, 2, 4, 0)
    assert mixed.text == "known and unseen classes (2 of 3 were trained on)"
    assert of_fold("aaabbbc", "0110110") == Question(2, 2, 2, 0), "there is no other image of c to find"


def test_another_table_asks_by_the_classes_of_the_queries_that_have_an_answer() -> None:
    assert of_others(rows("ccddE")).text == UNSEEN
    assert of_others(rows("aabbc")).text == KNOWN, "the only image of c is no query that counts"
    assert of_others(rows("aacc")).text == "known and unseen classes (1 of 2 were trained on)"
    parted = rows("aacc").assign(is_query=[False, False, True, False], is_gallery=[True, True, False, True])
    assert of_others(parted) == Question(1, 0, 1, 0)


def test_images_that_were_trained_on_are_no_new_images() -> None:
    assert of_others(rows("aabbcc"), root="photos").text == "images that were trained on (4 of 6)"
    trained = Table(rows("aabb").assign(content=[32 * "1", 32 * "2", 32 * "3", ""]), Path("photos"))
    copies = rows("xxyy").assign(content=[32 * "1", 32 * "9", "", ""])
    assert of_others(copies, trained=trained) == Question(2, 1, 4, 1), "x is a trained class under another name"


def test_a_label_in_another_unicode_form_is_the_same_class() -> None:
    trained = Table(rows("aabb").assign(label=["Mu\u0308ller", "Mu\u0308ller", "other", "other"]), Path("photos"))
    composed = rows("aabb").assign(label=["M\u00fcller", "M\u00fcller", "neu", "neu"])
    question = of_others(composed, trained=trained)
    assert (question.classes_trained_on, question.classes) == (1, 2)
    before = trained_on(["Mu\u0308ller"], np.zeros(0, np.uint64))
    table = Table(composed, Path("others"))
    images = build_retrieval_set(composed, "others")
    assert question_of(images, table, Table(rows("xx"), Path("photos")), before).classes_trained_on == 1


@pytest.mark.parametrize("content", [None, 32 * "1"], ids=["by path", "by content"])
def test_other_boxes_of_the_same_photos_are_new_images_and_are_told(content: str | None) -> None:
    def boxes(left: list[int], labels: str) -> pd.DataFrame:
        frame = pd.DataFrame({"label": list(labels), "file_name": f"{labels if content else 'a'}.png"})
        frame = frame.assign(x_1=left, y_1=0, x_2=np.array(left) + 5, y_2=5)
        return frame.assign(content=content) if content else frame

    trained, own = Table(boxes([0, 10], "aa"), Path("photos")), boxes([20, 30, 40, 50], "bbcc")
    question = of_others(own, root="photos", trained=trained)
    assert question == Question(2, 0, 4, 0, queries_of_trained_photos=4)
    assert question.text == f"{UNSEEN}, with other boxes of the same photos trained on (4 of 4)"
    same = of_others(boxes([10, 30, 40, 50], "bbcc"), root="photos", trained=trained)
    assert same == Question(2, 1, 4, 1, queries_of_trained_photos=3), "the same box is the same image"
    if content:
        record, table = trained_on(["a"], image_keys(trained, trained.frame)), Table(own, Path("photos"))
        assert OverlapCounter().count(record, table, own).images == question.queries_trained_on == 0
        assert question_of(build_retrieval_set(own, "own"), table, trained, record) == question


def test_labels_kept_apart_count_without_the_name_of_their_table() -> None:
    merged = replace(Table(rows("aabb"), Path("photos")), parts=(Path("one.csv"), Path("two.csv")))
    merged = replace(merged, frame=merged.frame.assign(label=["one:a", "one:a", "two:b", "two:b"]))
    assert of_others(rows("aabb"), trained=merged).classes_trained_on == 2
    assert of_others(rows("aabb"), trained=replace(merged, parts=())).text == UNSEEN


def test_a_query_that_is_not_in_the_gallery_needs_one_image_there() -> None:
    flags = rows("aabb").assign(is_query=[True, False] * 2, is_gallery=[False, True, False, False])
    assert of_others(flags).queries == 1
    assert np.isfinite(of_others(flags).classes)


def test_the_run_that_training_starts_from_counts_as_training() -> None:
    table = Table(rows("ccdd").assign(content=[32 * str(n) for n in range(4)]), Path("others"))
    trained, images = Table(rows("aabb"), Path("photos")), build_retrieval_set(table.frame, "others")
    keys = image_keys(table, table.frame)
    assert question_of(images, table, trained, trained_on("x", keys[:3])) == Question(2, 2, 4, 3)
    by_name = trained_on("c", keys[:0])
    assert question_of(images, table, trained, by_name).text == "known and unseen classes (1 of 2 were trained on)"
    unrecorded = question_of(images, table, trained, TrainedOn(frozenset("x"), None))
    assert unrecorded.text == f"{UNSEEN}, as far as is recorded"
