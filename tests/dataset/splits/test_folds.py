"""Every row in one fold, balanced, the same whatever the order of the rows."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.splits.folds import (
    ALWAYS_TEST,
    ALWAYS_TRAIN,
    ClassShare,
    FoldBy,
    FoldCounts,
    GroupCounts,
    add_folds,
    balance,
)
from eml.dataset.table import Table
from eml.errors import DataError
from tests.examples import examples


def table(sizes: dict[str, int]) -> Table:
    rows = [(label, f"{label}/{n}.jpg") for label, size in sizes.items() for n in range(size)]
    return Table(pd.DataFrame(rows, columns=["label", "file_name"]), Path("images"), Path("images/t.csv"))


class_sizes = st.dictionaries(st.text("abcäß01🍎", min_size=1, max_size=4), st.integers(1, 12), min_size=1, max_size=25)


@settings(max_examples=examples(40), deadline=None)
@given(class_sizes, st.integers(2, 6), st.integers(0, 1000), st.sampled_from(["images", "class"]))
def test_every_row_has_a_fold_that_does_not_depend_on_the_order_of_rows(
    sizes: dict[str, int], k: int, seed: int, by: FoldBy
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


@settings(max_examples=examples(30), deadline=None)
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


@settings(max_examples=examples(30), deadline=None)
@given(class_sizes, st.integers(2, 6), st.integers(0, 9))
def test_by_class_every_class_is_in_one_fold_and_folds_are_even(sizes: dict[str, int], k: int, seed: int) -> None:
    if len(sizes) < k:
        return
    frame = add_folds(table(sizes), k, seed, "class")
    assert (frame.groupby("label")["fold"].nunique() == 1).all()
    classes = frame.drop_duplicates("label")["fold"].value_counts()
    images = frame["fold"].value_counts()
    assert classes.max() - classes.min() <= 1
    assert images.max() - images.min() <= max(sizes.values())


def test_the_seed_decides() -> None:
    whole = table({f"{n}": 10 for n in range(20)})
    for by in ("images", "class"):
        one, same, other = (add_folds(whole, 5, seed, by)["fold"].tolist() for seed in (28, 28, 29))
        assert one == same
        assert one != other
    assert add_folds(whole)["fold"].tolist()[:10] == add_folds(whole, 5, 28)["fold"].tolist()[:10]


def test_boxes_of_one_image_are_distinguished_by_their_corners() -> None:
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
    "sizes, k, by, message",
    [
        (
            {"a": 3, "b": 2},
            5,
            "images",
            'no class has 5 images, one for each fold; the largest has 3. Give `k=3` or less, or `by="class"`',
        ),
        (
            {"a": 1, "b": 1},
            2,
            "images",
            'every class has one image, which cannot be spread over folds. Give `by="class"`',
        ),
        ({"a": 9, "b": 9}, 3, "class", 'has 2 classes for 3 folds. Give `k=2` or less, or `by="images"`'),
        ({"a": 9}, 3, "class", 'has 1 class for 3 folds. Give `by="images"`'),
    ],
)
def test_too_few_for_k_folds_says_what_works(sizes: dict[str, int], k: int, by: FoldBy, message: str) -> None:
    with pytest.raises(DataError) as error:
        add_folds(table(sizes), k, by=by)
    assert error.value.problems == [f"images/t.csv: {message}"]


def test_one_fold_is_no_fold() -> None:
    with pytest.raises(DataError, match="`k` must be at least 2, got 1"):
        add_folds(table({"a": 3}), 1)


def with_groups(rows: list[tuple[str, int]]) -> tuple[Table, "np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    """(label, group) of each row; the numbers of groups have gaps, as those of Components have."""
    frame = pd.DataFrame(rows, columns=["label", "group"])
    frame["file_name"] = [f"{n:04}.jpg" for n in range(len(rows))]
    return Table(frame, Path("images"), Path("images/t.csv")), frame["group"].to_numpy() * 3


def apart(frame: pd.DataFrame) -> "pd.Series[int]":
    return frame.groupby("group")["fold"].nunique()


rows_in_groups = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 25)), min_size=1, max_size=60)
earlier_folds = st.one_of(st.none(), st.lists(st.sampled_from([-2, -1, 0, 1]), min_size=60, max_size=60))


@settings(max_examples=examples(100), deadline=None)
@given(rows_in_groups, st.integers(2, 4), st.integers(0, 99), st.sampled_from(["images", "class"]), earlier_folds)
def test_no_group_is_in_two_folds_whatever_the_order_of_rows(
    rows: list[tuple[str, int]], k: int, seed: int, by: FoldBy, earlier: list[int] | None
) -> None:
    whole, groups = with_groups(rows)
    if earlier is not None:
        whole = Table(whole.frame.assign(fold=earlier[: len(rows)]), whole.root, whole.path)
    try:
        frame = add_folds(whole, k, seed, by, groups)
    except DataError:
        return
    assert frame.drop(columns="fold").equals(whole.frame.drop(columns="fold", errors="ignore"))
    assert (apart(frame) == 1).all()
    assert set(range(k)) <= set(frame["fold"]) <= {*range(k), ALWAYS_TRAIN, ALWAYS_TEST}
    tests = set(whole.frame["group"][whole.frame["fold"] == ALWAYS_TEST]) if earlier is not None else set()
    assert set(frame["group"][frame["fold"] == ALWAYS_TEST]) == tests
    if by == "class":
        assert (frame[frame["fold"] >= 0].groupby("label")["fold"].nunique() == 1).all()
        assert ALWAYS_TRAIN not in set(frame["fold"])
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = Table(whole.frame.iloc[order].reset_index(drop=True), whole.root)
    again = add_folds(shuffled, k, seed, by, groups[order] + 1)
    assert again.sort_values("file_name").reset_index(drop=True).equals(frame)


def test_enough_groups_always_make_k_folds_by_images() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        whole, groups = with_groups([(str(random.integers(3)), int(random.integers(9))) for _ in range(60)])
        assert set(add_folds(whole, 5, seed, groups=groups)["fold"]) == set(range(5))


def test_a_class_of_one_group_always_trains_and_goes_along_where_another_class_is_in_it() -> None:
    whole, groups = with_groups([("many", n) for n in range(20)] + [("alike", 50)] * 8 + [("few", 51), ("few", 3)])
    frame = add_folds(whole, 5, groups=groups)
    assert set(frame["fold"][frame["label"] == "alike"]) == {ALWAYS_TRAIN}
    few = frame[frame["label"] == "few"]["fold"].tolist()
    assert few == [ALWAYS_TRAIN, frame["fold"][3]]
    assert few[1] >= 0
    result = balance(whole, frame, 5, "images", groups)
    assert result.groups == GroupCounts(
        of_several=2,
        images=10,
        largest=8,
        classes_too_small=["few"],
        classes_of_one_group=["alike"],
        classes_in_one_fold=[],
        classes_joined=0,
        taken_to_test=0,
    )
    assert result.folds[-1] == FoldCounts(fold=-1, images=9, classes=2, groups=1, fewest=1, most=8)


def test_a_class_that_lies_wholly_in_one_fold_is_reported() -> None:
    rows = [("a", n) for n in range(8)] + [("b", 20)] * 3 + [("b", 21)] * 3 + [("c", 20), ("c", 20), ("c", 20)]
    whole, groups = with_groups(rows)
    frame = add_folds(whole, 3, groups=groups)
    result = balance(whole, frame, 3, "images", groups)
    assert result.groups.classes_of_one_group == ["c"]
    assert result.groups.classes_in_one_fold == ["c"]  # its group holds images of b, which is folded
    assert result.worst_class == ClassShare("b", 0, 2.0)  # two groups for three folds


def test_folds_are_as_even_as_those_of_scikit_learn() -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    random = np.random.default_rng(0)
    labels = np.sort(random.choice(40, 600, p=(share := 1 / np.arange(1, 41)) / share.sum()))  # a long tail
    groups = np.cumsum(random.random(600) < 0.5)  # of two images, some over classes
    whole, _ = with_groups([(f"{label:02}", int(group)) for label, group in zip(labels, groups, strict=True)])
    ours = add_folds(whole, 5, groups=groups)["fold"].to_numpy()
    theirs = np.full(600, ALWAYS_TRAIN)
    used = np.flatnonzero(ours >= 0)
    kfold = StratifiedGroupKFold(5, shuffle=True, random_state=28)
    with warnings.catch_warnings(action="ignore"):  # of classes smaller than 5
        for number, (_, held) in enumerate(kfold.split(used, labels[used], groups[used])):
            theirs[used[held]] = number

    def unevenness(fold: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> tuple[float, int]:
        count = np.zeros((40, 5))
        np.add.at(count, (labels[used], fold[used]), 1)
        total = count.sum(axis=0)
        return float(np.abs(count - count.mean(axis=1, keepdims=True)).mean()), int(total.max() - total.min())

    assert unevenness(ours)[0] <= 1.03 * unevenness(theirs)[0]
    assert unevenness(ours)[1] <= unevenness(theirs)[1] + 1


@pytest.mark.parametrize(
    "rows, k, by, message",
    [
        (
            [("a", n % 3) for n in range(9)],
            5,
            "images",
            "its images are in 3 groups, for 5 folds; the largest holds 3 of 9 images. Give `k=3` or less, fewer "
            "columns as `group_by`, a lower `threshold`, or `near=False`",
        ),
        (
            [("a", 1)] * 9,
            5,
            "images",
            "every class of at least 5 images is one single group, which cannot be spread over folds. Give "
            '`by="class"`, fewer columns as `group_by`, a lower `threshold`, or `near=False`',
        ),
        (
            [("a", 1), ("b", 1), ("c", 2), ("d", 3)],
            4,
            "class",
            "its 4 classes are joined to 3 by groups that they share, for 4 folds. Give `k=3` or less, "
            '`by="images"`, fewer columns as `group_by`, or `near=False`',
        ),
    ],
)
def test_too_few_groups_for_k_folds_says_what_works(
    rows: list[tuple[str, int]], k: int, by: FoldBy, message: str
) -> None:
    whole, groups = with_groups(rows)
    with pytest.raises(DataError) as error:
        add_folds(whole, k, by=by, groups=groups)
    assert error.value.problems == [f"images/t.csv: {message}"]


def test_images_of_the_test_stay_there_and_take_their_groups_along() -> None:
    whole, groups = with_groups([("a", n) for n in range(12)] + [("b", n) for n in range(12)])
    whole = Table(whole.frame.assign(fold=[-2, -1] + [0] * 22), whole.root, whole.path)
    frame = add_folds(whole, 5, groups=groups)
    assert frame.index[frame["fold"] == ALWAYS_TEST].tolist() == [0, 12]
    assert balance(whole, frame, 5, "images", groups).groups.taken_to_test == 1
    assert add_folds(whole, 5)["fold"].tolist().count(ALWAYS_TEST) == 1
    everything = Table(whole.frame.assign(fold=-2), whole.root, whole.path)
    with pytest.raises(DataError, match=r"every image is always in the test \(fold -2\)"):
        add_folds(everything)
