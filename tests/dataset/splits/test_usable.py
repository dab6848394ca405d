"""Splits and folds that can be trained on and measured with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.dataset.splits.folds import FoldBy
from eml.dataset.splits.usable import choose_folds, choose_split, fold_problem, option_words, usable_folds
from eml.dataset.table import Table
from eml.errors import DataError


def images(sizes: list[int]) -> Table:
    """A class for each size, and no two images alike."""
    labels = [f"c{number:03d}" for number, size in enumerate(sizes) for _ in range(size)]
    rows = {"label": labels, "file_name": [f"{number}.jpg" for number in range(len(labels))]}
    return Table(pd.DataFrame(rows), Path("photos"), Path("photos/dataset_train.csv"))


def options(table: Table, groups: np.ndarray | None = None) -> str | None:
    choice = choose_folds(table, groups, "closed")
    return None if choice is None else " ".join(option_words(choice.options)).removeprefix("--task closed").strip()


@pytest.mark.parametrize(
    "sizes, chosen",
    [
        ([8] * 72, "5 folds by class: task open holds out whole classes, a fifth of 72"),
        ([8] * 71 + [1], "3 folds by class: task open holds out whole classes, a third of 71 (from 72 on a fifth)"),
        ([2] * 12, "3 folds by class: task open holds out whole classes, a third of 12 (from 72 on a fifth)"),
        ([8] * 11, "3 folds by class: task open holds out whole classes, a third of 11; with fewer than 12, each fold "
         "in turn says more (eml train with `fold=all`)"),
        ([8] * 5, "2 folds by class: task open holds out whole classes, half of 5, since these do not allow 3 folds"),
        ([8] * 3, "5 folds by images: 3 classes of several images cannot be held out whole, so new images of known "
         "classes are measured"),
        ([1] * 50 + [3, 3], "2 folds by class: task open holds out whole classes, half of 2, since these do not allow "
         "3 folds"),
        ([1] * 50 + [9], None),
        ([1] * 50, None),
        ([2, 2, 2], None),
    ],
)  # fmt: skip
def test_an_open_task_holds_out_whole_classes_where_there_are_enough(sizes: list[int], chosen: str | None) -> None:
    table = images(sizes)
    choice = choose_folds(table)
    assert (None if choice is None else f"{choice.text}: {choice.reason}") == chosen
    if choice is not None:
        frame = usable_folds(table, choice.k, by=choice.by)
        assert fold_problem(frame) is None
        assert choice.by == "images" or frame.groupby("label")["fold"].nunique().eq(1).all()


def test_an_open_task_keeps_classes_that_look_alike_and_images_of_the_test_together() -> None:
    table = images([4] * 20)
    label = table.frame["label"].to_numpy()
    joined = np.where(label < "c008", 0, np.unique(label, return_inverse=True)[1])
    choice = choose_folds(table, joined)
    assert choice is not None
    frame = usable_folds(table, choice.k, by=choice.by, groups=joined)
    assert frame["fold"][label < "c008"].nunique() == 1
    assert frame["label"][frame["fold"] == 0].nunique() == 6, "the fold held out is near a third, not the largest one"
    with_test = Table(table.frame.assign(fold=np.where(label < "c016", -2, -1)), table.root)
    assert choose_folds(with_test).text == "2 folds by class"  # type: ignore[union-attr]
    assert choose_folds(table, k=4).text == "4 folds by class"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "sizes, chosen",
    [
        ([8] * 6, ""),
        ([5, 5], ""),
        ([2] * 10, "--by class"),
        ([2] * 9, "--by class --k 4"),
        ([2] * 5, "--by class --k 2"),
        ([2, 2], None),
        ([2, 2, 2], None),
        ([3] * 4, "--k 3"),
        ([9] + [2] * 20, "--by class"),
        ([1] * 50, None),
        ([4, 4], "--k 4"),
    ],
)
def test_the_folds_are_the_first_that_can_be_trained_without_and_measured_on(
    sizes: list[int], chosen: str | None
) -> None:
    table = images(sizes)
    assert options(table) == chosen
    if (choice := choose_folds(table)) is not None:
        assert fold_problem(usable_folds(table, choice.k, by=choice.by)) is None


def test_groups_limit_the_folds() -> None:
    table = images([6] * 4)
    joined = np.unique(table.frame["label"].map({"c000": 0, "c001": 0, "c002": 1, "c003": 1}), return_inverse=True)[1]
    assert options(table) == ""
    assert options(table, joined) == "--by class --k 2", "each class is one group, and two classes go together"


@pytest.mark.parametrize(
    "sizes, k, by, message",
    [
        ([2] * 5, 5, "class", "5 folds by class: fold 0 holds one class, so every answer is right and nothing is "
         "measured. Give `k=2` or less"),
        ([4] * 12, 9, "class", "9 folds by class: fold 3 holds one class, so every answer is right and nothing is "
         "measured. Give `k=6` or less"),
        ([2] * 5, 2, "images", "2 folds by images: 5 of 5 classes keep one image to train on while fold 0 is held out. "
         'Give `k=2` with `by="class"`'),
        ([2] * 5, 5, "images", "no class has 5 images, one for each fold; the largest has 2. "
         'Give `k=2` with `by="class"`'),
        ([2, 2], 2, "class", "2 folds by class: fold 0 holds one class, so every answer is right and nothing is "
         "measured. No folds of these images can be validated on; train without validation (data.fold: null)"),
        ([1] * 6, 3, "class", "no class of fold 0 has another image to find"),
    ],
)  # fmt: skip
def test_folds_that_nothing_can_be_measured_on_are_refused_with_options_that_work(
    sizes: list[int], k: int, by: FoldBy, message: str
) -> None:
    with pytest.raises(DataError) as error:
        usable_folds(images(sizes), k, by=by)
    assert message in str(error.value)
    assert error.value.parameter == "k"


def test_a_fold_that_leaves_one_class_to_train_on_is_named() -> None:
    frame = images([4, 4]).frame.assign(fold=[0, 1, -1, -1, 0, 0, 0, 0])
    assert fold_problem(frame) == "fewer than two classes are left to train on while fold 0 is held out"
    assert fold_problem(frame, [1]) == "fold 1 holds one class, so every answer is right and nothing is measured"
    assert fold_problem(images([4, 4]).frame.assign(fold=[-2, 0, 1, -1] * 2)) is None


@pytest.mark.parametrize(
    "sizes, chosen",
    [
        ([8] * 10, "--by ratio"),
        ([2] * 10, "--by ratio"),
        ([8, 8, 8, 2, 2], "--by alternate"),
        ([3] * 4, "--by ratio --test-ratio 0.4"),
        ([3] * 3, None),
        ([8, 8], None),
        ([1] * 10, None),
    ],
)
def test_the_split_is_the_first_with_classes_to_train_on_and_to_measure(sizes: list[int], chosen: str | None) -> None:
    choice = choose_split(images(sizes))
    assert (None if choice is None else " ".join(option_words(choice.options))) == chosen
    if choice is not None:
        assert min(choice.sides.train_counts.classes, choice.sides.test_counts.classes) > 1
