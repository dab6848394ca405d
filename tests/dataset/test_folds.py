"""Every row in one fold, balanced, the same whatever the order of the rows."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.folds import ALWAYS_TRAIN, By, add_folds
from eml.dataset.table import Table
from eml.errors import DataError


def table(sizes: dict[str, int]) -> Table:
    rows = [(label, f"{label}/{n}.jpg") for label, size in sizes.items() for n in range(size)]
    return Table(pd.DataFrame(rows, columns=["label", "file_name"]), Path("pictures"), Path("pictures/t.csv"))


class_sizes = st.dictionaries(st.text("abcäß01🍎", min_size=1, max_size=4), st.integers(1, 12), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(class_sizes, st.integers(2, 6), st.integers(0, 1000), st.sampled_from(["images", "class"]))
def test_every_row_has_a_fold_that_does_not_depend_on_the_order_of_rows(
    sizes: dict[str, int], k: int, seed: int, by: By
) -> None:
    whole = table(sizes)
    try:
        frame = add_folds(whole, k, seed, by)
    except DataError:
        assert max(sizes.values()) < k if by == "images" else len(sizes) < k
        return
    assert frame[["label", "file_name"]].equals(whole.frame)
    assert set(frame["fold"]) - {ALWAYS_TRAIN} == set(range(k))
    assert frame["fold"].dtype == "int64"
    shuffled = Table(whole.frame.sample(frac=1, random_state=seed), whole.root)
    again = add_folds(shuffled, k, seed, by).set_index("file_name")["fold"]
    assert again.to_dict() == frame.set_index("file_name")["fold"].to_dict()


@settings(max_examples=30, deadline=None)
@given(class_sizes, st.integers(2, 6))
def test_by_images_every_large_class_is_spread_evenly_and_every_small_one_always_trains(
    sizes: dict[str, int], k: int
) -> None:
    if max(sizes.values()) < k:
        return
    frame = add_folds(table(sizes), k)
    for label, size in sizes.items():
        per_fold = Counter(frame["fold"][frame["label"] == label])
        if size < k:
            assert per_fold == {ALWAYS_TRAIN: size}
        else:
            assert max(per_fold.values()) - min(per_fold[fold] for fold in range(k)) <= 1
    totals = Counter(frame["fold"][frame["fold"] >= 0])
    assert max(totals.values()) - min(totals.values()) <= 1


@settings(max_examples=30, deadline=None)
@given(class_sizes, st.integers(2, 6), st.integers(0, 9))
def test_by_class_every_class_is_in_one_fold_and_folds_are_even(sizes: dict[str, int], k: int, seed: int) -> None:
    if len(sizes) < k:
        return
    frame = add_folds(table(sizes), k, seed, "class")
    assert (frame.groupby("label")["fold"].nunique() == 1).all()
    classes = frame.drop_duplicates("label")["fold"].value_counts()
    pictures = frame["fold"].value_counts()
    assert classes.max() - classes.min() <= 1
    assert pictures.max() - pictures.min() <= max(sizes.values())


def test_the_seed_decides() -> None:
    whole = table({f"{n}": 10 for n in range(20)})
    for by in ("images", "class"):
        one, same, other = (add_folds(whole, 5, seed, by)["fold"].tolist() for seed in (28, 28, 29))
        assert one == same
        assert one != other
    assert add_folds(whole)["fold"].tolist()[:10] == add_folds(whole, 5, 28)["fold"].tolist()[:10]


def test_boxes_of_one_picture_are_told_apart_by_their_corners() -> None:
    frame = pd.DataFrame(
        {"label": ["a"] * 4, "file_name": ["1.jpg"] * 4, "x_1": [0, 1, 2, 3]}
        | {c: [9] * 4 for c in ("y_1", "x_2", "y_2")}
    )
    folds = add_folds(Table(frame, Path()), 2)
    turned = add_folds(Table(frame.iloc[::-1], Path()), 2)
    assert turned["fold"].sort_index().tolist() == folds["fold"].tolist()


def test_an_earlier_fold_column_is_replaced() -> None:
    whole = table({"a": 6})
    again = add_folds(Table(whole.frame.assign(fold=9), whole.root), 3)
    assert sorted(again["fold"]) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "sizes, k, by, told",
    [
        (
            {"a": 3, "b": 2},
            5,
            "images",
            "no class has 5 pictures, one for each fold; the largest has 3. Give --k 3 or less, or --by class",
        ),
        ({"a": 1, "b": 1}, 2, "images", "every class has one picture, which no fold can be made of. Give --by class"),
        ({"a": 9, "b": 9}, 3, "class", "has 2 classes for 3 folds. Give --k 2 or less, or --by images"),
        ({"a": 9}, 3, "class", "has 1 class for 3 folds. Give --by images"),
    ],
)
def test_too_few_for_k_folds_says_what_works(sizes: dict[str, int], k: int, by: By, told: str) -> None:
    with pytest.raises(DataError) as error:
        add_folds(table(sizes), k, by=by)
    assert error.value.problems == [f"pictures/t.csv: {told}"]


def test_one_fold_is_no_fold() -> None:
    with pytest.raises(DataError, match="--k must be at least 2, got 1"):
        add_folds(table({"a": 3}), 1)
