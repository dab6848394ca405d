"""Folds of the table that a run trains on."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.dataset.splits.task import Task
from eml.dataset.table import Table
from eml.errors import DataError
from eml.training.folds import add_usual_folds, is_rotated, other_task_note, rotation, whole_class_folds


def images(sizes: list[int], folds: list[int] | None = None) -> Table:
    labels = [f"c{number:02d}" for number, size in enumerate(sizes) for _ in range(size)]
    frame = pd.DataFrame({"label": labels, "file_name": [f"{number}.jpg" for number in range(len(labels))]})
    frame = frame if folds is None else frame.assign(fold=np.resize(folds, len(frame)))
    return Table(frame, Path("photos"), Path("photos/folds.csv"))


def test_the_task_decides_what_the_added_folds_are_made_of() -> None:
    said: list[str] = []
    by_class = add_usual_folds(images([8] * 20), "open", said.append).frame
    assert by_class.groupby("label")["fold"].nunique().max() == 1
    assert said[-1] == (
        "photos/folds.csv has no fold column: adding 3 folds by class, seed 28, as eml kfold does: task open holds out "
        "whole classes, a third of 20 (from 72 on a fifth)"
    )
    by_images = add_usual_folds(images([8] * 20), "closed", said.append).frame
    assert by_images.groupby("label")["fold"].nunique().min() == 5
    assert said[-1] == "photos/folds.csv has no fold column: adding 5 folds by images, seed 28, as eml kfold does"
    with pytest.raises(DataError, match=r"no folds of its images can be validated on; set data\.fold: null"):
        add_usual_folds(images([1] * 30), "open", said.append)


@pytest.mark.parametrize(
    "sizes, folds, task, is_said",
    [
        ([8] * 6, [0, 1, 2, 3], "open", True),
        ([8] * 6, [0, 1, 2, 3], "closed", False),
        ([4] * 6, [0] * 4 + [1] * 4, "open", False),
        ([8] * 3, [0, 1, 2, 3], "open", False),  # none can be held out whole
        ([8] * 6, [1, 2], "open", False),  # fold 0 is empty, which is reported elsewhere
    ],
)
def test_folds_of_ones_own_are_kept_and_what_they_measure_is_said_where_the_task_asks_for_more(
    sizes: list[int], folds: list[int], task: Task, is_said: bool
) -> None:
    note = other_task_note(images(sizes, folds), 0, task)
    assert (note is not None) == is_said
    if note is not None:
        assert note == (
            "photos/folds.csv: fold 0 holds images of classes that are trained on, so validation measures new images "
            "of known classes, while task is open (classes may be new): to hold out whole classes run: eml kfold "
            "photos; if all classes are known, set task: closed"
        )


def test_each_fold_of_whole_classes_is_held_out_in_turn_where_classes_are_few() -> None:
    table = images([4] * 8 + [3], [0] * 12 + [1] * 12 + [2] * 8 + [-2, -2, -2])
    table = Table(table.frame, table.root, table.path, unknown_label="c07")
    assert is_rotated(table)
    assert not is_rotated(table, "closed")
    parts = list(rotation(table))
    assert [sorted(set(held_out["label"])) for _, held_out in parts] == [
        ["c00", "c01", "c02"],
        ["c03", "c04", "c05"],
    ], "fold 2 holds one known class"
    for train, held_out in parts:
        assert not set(train["label"]) & set(held_out["label"])
        assert not {"c07", "c08"} & set(train["label"])
    assert not is_rotated(images([4] * 12, [0] * 16 + [1] * 16 + [2] * 16)), "of 12 classes one part is enough"
    assert whole_class_folds(images([4] * 6, [0, 1])) == []
