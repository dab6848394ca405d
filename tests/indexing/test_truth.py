"""Answers against true classes: each figure by hand, and classes as blocks of the intervals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.errors import DataError
from eml.indexing.answers import ClassifiedImage
from eml.indexing.truth import TruthCounter, true_labels
from eml.inference.image_list import ImageList


def image(label: str | None, unknown: bool | None = False) -> ClassifiedImage:
    return ClassifiedImage("x.jpg", label, unknown=unknown)


def test_the_figures_are_the_shares_that_they_say() -> None:
    counter = TruthCounter({"a", "b"})
    counter.take([image("a"), image("b"), image("a", unknown=True), image("b")], ["a", "a", "a", "b"])
    counter.take([image("a"), image("b", unknown=True), image("a"), image(None)], ["z", "z", "", "a"])
    figures = counter.figures()
    assert (figures.images, figures.known, figures.others, figures.without) == (6, 4, 2, 2)
    assert (figures.known_classes, figures.other_classes) == (2, 1)
    values = {name: estimate.value for name, estimate in figures.figures.items()}
    assert values == {
        "accuracy": 3 / 4,
        "accepted_and_right": 2 / 4,
        "unknown_rate": 1 / 4,
        "false_accepts": 1 / 2,
        "precision": 2 / 4,
    }


def test_without_a_calibration_there_is_only_accuracy_and_without_known_classes_nothing() -> None:
    counter = TruthCounter({"a"})
    counter.take([image("a", None)], ["a"])
    assert list(counter.figures().figures) == ["accuracy"]
    assert TruthCounter({"a"}).figures().figures == {}
    counter = TruthCounter({"a"})
    counter.take([image("a")], ["z"])
    assert list(counter.figures().figures) == ["false_accepts", "precision"]


def test_the_intervals_are_wider_where_the_errors_are_all_of_one_class() -> None:
    widths = []
    for errors in (range(10), range(0, 100, 10)):  # all in the first of ten classes, or one in each
        counter = TruthCounter({str(number) for number in range(10)})
        labels = [str(number // 10) for number in range(100)]
        counter.take([image("x" if row in errors else label) for row, label in enumerate(labels)], labels)
        interval = counter.figures().figures["accuracy"].interval
        widths.append(interval.high - interval.low)
    assert widths[0] > 1.5 * widths[1] > 0


def test_truth_comes_from_a_column_or_a_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file_name": ["a/1.jpg", "b.jpg"], "label": ["a", ""], "species": ["x", np.nan]})
    images = ImageList(frame, tmp_path)
    assert true_labels(images, "label") == ["a", ""]
    assert true_labels(images, "species") == ["x", ""]
    (tmp_path / "truth.csv").write_text("file_name,label\nb.jpg,007\n")
    assert true_labels(images, str(tmp_path / "truth.csv")) == ["", "007"]
    for text, problem in {
        "file_name,label\nc.jpg,1\n": "names none of the images",
        "file_name,label\nb.jpg,1\nb.jpg,2\n": "names an image twice",
        "file_name,species\nb.jpg,1\n": "no column 'label'",
    }.items():
        (tmp_path / "truth.csv").write_text(text)
        with pytest.raises(DataError, match=problem):
            true_labels(images, str(tmp_path / "truth.csv"))
    with pytest.raises(DataError, match="neither a column"):
        true_labels(images, "kind")
    with pytest.raises(DataError, match="no such table"):
        true_labels(images, str(tmp_path / "none.csv"))
