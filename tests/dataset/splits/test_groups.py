"""Groups equal what a plain search from image to image finds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.splits.groups import THRESHOLD, group_rows, joined_classes
from eml.dataset.table import Table
from eml.errors import DataError
from tests.examples import examples

PATTERN = 0x9C3A5F0E7B61D284


def table(**columns: list[Any]) -> Table:
    count = len(next(iter(columns.values())))
    names = {"label": ["a"] * count, "file_name": [f"{n}.jpg" for n in range(count)]}
    return Table(pd.DataFrame(names | columns), Path("images"), Path("images/t.csv"))


def hashes(*flips: int) -> list[str]:
    """One pattern with some of its bits flipped."""
    return [f"{PATTERN ^ flip:016x}" for flip in flips]


def partition(of: Any) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(of == number).tolist()) for number in set(of)}


def plainly(frame: pd.DataFrame, columns: list[str], threshold: int, within_class: bool) -> set[frozenset[int]]:
    """The same, by walking from each row to all that it is directly connected to."""
    rows = frame.to_dict("records")

    def connected(one: dict[str, Any], other: dict[str, Any]) -> bool:
        if within_class and one["label"] != other["label"]:
            return False
        near = (int(one["hash"], 16) ^ int(other["hash"], 16)).bit_count() <= threshold
        return near or any(one[name] == other[name] != "" for name in ("content", *columns))

    result, left = set(), set(range(len(rows)))
    while left:
        group, edge = set[int](), {left.pop()}
        while edge:
            row = edge.pop()
            group.add(row)
            new = {other for other in left if connected(rows[row], rows[other])}
            left -= new
            edge |= new
        result.add(frozenset(group))
    return result


row = st.fixed_dictionaries(
    {
        "label": st.sampled_from("ab"),
        "hash": st.builds(lambda low, high: hashes(low | high << 40)[0], st.integers(0, 63), st.integers(0, 3)),
        "content": st.sampled_from(["", "x", "y", "z", *"0123456789"]),
        "camera": st.sampled_from(["", "1", "2", "3", "4", "5", "6", "7"]),
        "track": st.sampled_from(["", "", "", "s", "t"]),
    }
)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(row, min_size=1, max_size=12), st.integers(0, 4), st.booleans(), st.sampled_from([0, 1, 2]))
def test_groups_are_what_a_walk_from_image_to_image_finds(
    rows: list[dict[str, str]], threshold: int, within_class: bool, columns: int
) -> None:
    frame = pd.DataFrame(rows).assign(file_name=[f"{n}.jpg" for n in range(len(rows))])
    group_by = ["camera", "track"][:columns]
    result = group_rows(Table(frame, Path()), group_by=group_by, threshold=threshold, within_class=within_class)
    assert partition(result.ids) == plainly(frame, group_by, threshold, within_class)
    assert result.warnings == []


def test_a_chain_of_look_alikes_is_one_group_at_the_threshold_that_folds_use() -> None:
    chain = hashes(0, 0b111111, 0b111111111111, 0b1111111111111111111)  # 6, 6 and 7 bits apart
    assert partition(group_rows(table(hash=chain)).ids) == {frozenset({0, 1, 2}), frozenset({3})}
    assert THRESHOLD == 6


def test_blank_values_connect_nothing_and_others_are_compared_as_text() -> None:
    camera = ["7", " 7", "", "", None, "007", np.nan]
    result = group_rows(table(camera=camera), group_by=["camera"], near=False)
    assert partition(result.ids) == {frozenset({0, 1}), *(frozenset({n}) for n in range(2, 7))}
    numbers = group_rows(table(camera=[1, 1, 2]), group_by=["camera"], near=False)
    assert partition(numbers.ids) == {frozenset({0, 1}), frozenset({2})}


def test_boxes_of_one_image_are_one_group() -> None:
    boxes = table(file_name=["1.jpg", "1.jpg", "2.jpg"], x_1=[0, 5, 0])
    assert partition(group_rows(boxes).ids) == {frozenset({0, 1}), frozenset({2})}
    assert len(partition(group_rows(boxes, near=False).ids)) == 3


def test_without_hashes_equal_contents_are_together_and_the_user_is_reported() -> None:
    result = group_rows(table(content=["x", "y", "x"]))
    assert partition(result.ids) == {frozenset({0, 2}), frozenset({1})}
    assert result.warnings == [
        "images/t.csv has no column 'hash', so only images of equal content count as look-alikes. Only the table that "
        "eml scan makes of a folder (with a folder per class) has one: use that table to compare them, or set "
        "`near=False` (in kfold or split) if there are none"
    ]
    assert group_rows(table(content=["x", "x"]), near=False).warnings == []


def test_what_cannot_be_compared_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError) as error:
        group_rows(table(camera=["1"]), group_by=["cam", "camera", "track"])
    assert error.value.problems == [
        "images/t.csv: `group_by`: no column 'cam', 'track'; it has label, file_name, camera"
    ]
    kinds = table(hash=hashes(0, 1), hash_kind=["phash-luma256", "phash-imagehash"])
    with pytest.raises(DataError) as error:
        group_rows(kinds)
    assert "hashes of different kinds cannot be compared" in error.value.problems[0]
    assert (
        error.value.problems[1]
        == "or set `near=False` (in kfold or split): images that look alike may then be separated"
    )
    assert len(partition(group_rows(kinds, near=False).ids)) == 2
    with pytest.raises(DataError, match=r"`threshold` must be between 0 and 63 \(bits of 64\), got 64"):
        group_rows(table(hash=hashes(0)), threshold=64)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=20))
def test_joined_classes_are_those_that_chains_of_groups_connect(rows: list[tuple[int, int]]) -> None:
    labels = np.unique([label for label, _ in rows], return_inverse=True)[1].astype(np.int64)
    groups = np.array([group for _, group in rows])
    expected = {frozenset({label}) for label in labels}
    for group in set(groups):
        touched = {some for some in expected if some & set(labels[groups == group])}
        expected = expected - touched | {frozenset().union(*touched)}
    unit = joined_classes(labels, groups)
    assert partition(unit) == expected
    assert sorted(set(unit)) == list(range(len(expected)))


def chained(count: int, step: int) -> list[str]:
    """Each within `step` bits of the next, and far from most others."""
    random, value, result = np.random.default_rng(0), PATTERN, []
    for _ in range(count):
        result.append(f"{value:016x}")
        for bit in random.choice(64, step, replace=False):
            value ^= 1 << int(bit)
    return result


def test_where_chance_chains_much_of_the_images_a_lower_threshold_is_used_and_reported() -> None:
    random = np.random.default_rng(1)
    others = [f"{value:016x}" for value in random.integers(0, 2**63, 60)]
    whole = table(hash=[*chained(100, 6), *hashes(0b1111), *others])
    result = group_rows(whole)
    assert result.threshold == 4
    assert partition(result.ids) == {frozenset({0, 100}), *(frozenset({n}) for n in [*range(1, 100), *range(101, 161)])}
    assert result.warnings == [
        "101 of 161 images form a chain of look-alikes at 6 bits: this is chance, since the hash does not separate "
        "such images",
        "images within 4 bits count as look-alikes; `threshold` sets another limit",
    ]
    asked = group_rows(whole, threshold=6)
    assert (asked.threshold, asked.warnings, asked.ids[:100].tolist()) == (6, [], [0] * 100)


def test_many_copies_of_one_image_are_no_chain() -> None:
    random = np.random.default_rng(1)
    copies = hashes(*(1 << int(one) | 1 << int(other) for one, other in random.integers(0, 64, (100, 2))))
    result = group_rows(table(hash=copies))
    assert (result.threshold, result.warnings, set(result.ids)) == (6, [], {0})


def test_look_alikes_that_join_most_classes_are_chance_where_classes_must_stay_whole() -> None:
    random = np.random.default_rng(2)
    own = [f"{value:016x}" for value in random.integers(0, 2**63, 20)]
    near = [f"{int(value, 16) ^ 0b111111:016x}" for value in own]
    labels = [*range(20), *range(1, 20), 0]  # a ring of twenty classes
    whole = table(hash=own + near, label=[f"{label:02}" for label in labels])
    assert group_rows(whole).threshold == 6
    result = group_rows(whole, whole_classes=True)
    assert result.threshold == 4
    assert result.warnings[0].startswith("20 of 20 classes are joined by look-alikes at 6 bits")


def test_no_rows_are_no_groups() -> None:
    empty = table(hash=["0" * 16]).frame.iloc[:0]
    assert len(group_rows(Table(empty, Path("images"), Path("images/t.csv"))).ids) == 0
