"""The audit finds every pair over two sides, and no other."""

import hashlib
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.splits import leak_audit as module
from eml.dataset.splits.leak_audit import COLUMNS, LeakAudit, audit_folds, audit_tables
from eml.dataset.table import Table
from eml.errors import DataError
from eml.files import digest
from tests.examples import examples


def table(name: str = "t", root: str = "images", **columns: list[Any]) -> Table:
    count = len(next(iter(columns.values())))
    names = {"label": ["a"] * count, "file_name": [f"{name}{n}.jpg" for n in range(count)]}
    return Table(pd.DataFrame(names | columns), Path(root), Path(f"{root}/{name}.csv"))


def problem(call: Callable[[], LeakAudit]) -> str:
    with pytest.raises(DataError) as error:
        call()
    return str(error.value)


small_hashes = st.lists(st.integers(0, 63).map(lambda bits: f"{bits:016x}"), min_size=1, max_size=9)


@pytest.mark.slow
@settings(max_examples=examples(50), deadline=None)
@given(small_hashes, small_hashes, st.integers(0, 3))
def test_pairs_between_two_tables_are_those_of_brute_force(one: list[str], other: list[str], threshold: int) -> None:
    train, test = table("train", hash=one, content=one), table("test", hash=other, content=other)
    result = audit_tables(train, test, threshold=threshold)
    expected = [
        (f"train{i}.jpg", f"test{j}.jpg", distance)
        for (i, a), (j, b) in product(enumerate(one), enumerate(other))
        if (distance := (int(a, 16) ^ int(b, 16)).bit_count()) <= threshold
    ]
    listed = result.pairs[["file_name", "other_file_name", "distance"]].itertuples(index=False, name=None)
    assert sorted(listed) == sorted(expected)
    assert result.pairs["distance"].is_monotonic_increasing
    assert result.num_pairs == len(expected)
    assert result.pairs_of_same_content == sum(distance == 0 for *_, distance in expected)
    assert result.pairs["same_content"].equals(result.pairs["distance"] == 0)
    assert result.images_with_pair == {
        "train": len({a for a, _, _ in expected}),
        "test": len({b for _, b, _ in expected}),
    }
    assert result.clean == (not expected)


@pytest.mark.slow
@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(-2, 2)), min_size=2, max_size=12), st.integers(0, 2))
def test_pairs_between_the_folds_of_a_table_are_those_of_brute_force(
    rows: list[tuple[int, int]], threshold: int
) -> None:
    folds = [fold for _, fold in rows]
    whole = table(hash=[f"{bits:016x}" for bits, _ in rows], fold=folds)
    if len(set(folds)) < 2:
        assert "there is no second fold to compare with" in problem(lambda: audit_folds(whole))
        return
    result = audit_folds(whole, threshold=threshold)
    expected = {
        frozenset({f"t{i}.jpg", f"t{j}.jpg"})
        for i, j in product(range(len(rows)), repeat=2)
        if folds[i] != folds[j] and (rows[i][0] ^ rows[j][0]).bit_count() <= threshold
    }
    listed = [frozenset(pair) for pair in result.pairs[["file_name", "other_file_name"]].to_numpy().tolist()]
    assert len(listed) == result.num_pairs == len(expected)
    assert set(listed) == expected
    assert sum(result.images.values()) == len(rows)
    again = audit_folds(
        Table(whole.frame.iloc[::-1].reset_index(drop=True), whole.root, whole.path), threshold=threshold
    )
    assert again.pairs.equals(result.pairs)


def test_a_pair_says_where_its_images_are_and_what_they_are_called() -> None:
    train = table("train", hash=["0" * 16, "f" * 16], content=["x", "y"], label=["apple", "pear"])
    test = table("test", hash=["0" * 15 + "3"], content=["z"], label=["plum"])
    result = audit_tables(train, test)
    assert tuple(result.pairs.columns) == COLUMNS
    assert result.pairs.to_numpy().tolist() == [["train", "train0.jpg", "apple", "test", "test0.jpg", "plum", 2, False]]
    assert result.shared_classes == []
    assert result.images == {"train": 2, "test": 1}


def test_shared_values_and_classes_are_named_and_blanks_are_no_value() -> None:
    train = table("train", hash=["0" * 16] * 3, camera=["1", "", "3"], label=["a", "b", "c"])
    test = table("test", hash=["f" * 16] * 3, camera=["3", "", "1"], label=["c", "d", "a"])
    result = audit_tables(train, test, group_by=["camera"])
    assert result.shared_values == {"camera": ["1", "3"]}
    assert result.shared_classes == ["a", "c"]
    assert result.num_pairs == 0
    assert not result.clean
    assert audit_tables(train, test).clean  # classes are for the caller to judge


def test_without_hashes_the_same_file_is_found_by_content_or_by_its_place() -> None:
    train = table("train", content=["x", "y", "x"])
    result = audit_tables(train, table("test", content=["x", "z"]))
    assert (result.num_pairs, result.pairs_of_same_content, result.images_with_pair) == (2, 2, {"train": 2, "test": 1})
    assert result.pairs["distance"].tolist() == [0, 0]
    assert len(result.warnings) == 2
    bare = table("bare", file_name=["train0.jpg", "new.jpg"])
    assert audit_tables(train, bare).pairs["other_file_name"].tolist() == ["train0.jpg"]
    assert audit_tables(train, table("bare", root="elsewhere", file_name=["train0.jpg"])).num_pairs == 0
    four = table(content=["x", "x", "x", "y"], fold=[0, 1, -1, 2])
    assert audit_folds(four).num_pairs == 3


def test_classes_in_two_unicode_forms_are_shared() -> None:
    train, test = (
        table("train", hash=["0" * 16], label=["Mu\u0308ller"]),
        table("test", hash=["f" * 16], label=["M\u00fcller"]),
    )
    assert audit_tables(train, test).shared_classes == ["M\u00fcller"]


def test_contents_that_do_not_fit_the_files_are_read_again(tmp_path: Path) -> None:
    for name, data in (("train0.jpg", b"same"), ("train1.jpg", b"one"), ("test0.jpg", b"same"), ("test1.jpg", b"one")):
        (tmp_path / name).write_bytes(data)
    root = str(tmp_path)
    other = [hashlib.md5(data).hexdigest() for data in (b"same", b"one")]
    train = table("train", root, content=[digest(tmp_path / f"train{n}.jpg") for n in (0, 1)], bytes=[4, 3])
    result = audit_tables(train, table("test", root, content=other, bytes=[4, 3]))
    assert result.pairs_of_same_content == 2
    assert [line for line in result.warnings if "its column 'content' is not the hash" in line]
    stale = table("test", root, content=[digest(tmp_path / "train0.jpg"), "0" * 32], bytes=[4, 9])
    result = audit_tables(train, stale)
    assert result.pairs_of_same_content == 2
    assert [line for line in result.warnings if "is older than 1 of its images (the first: 'test1.jpg')" in line]


def test_of_very_many_pairs_the_nearest_are_listed_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LISTED", 10)
    train = table("train", hash=["0" * 15 + "1"] * 30 + ["0" * 16] * 3)
    result = audit_tables(train, table("test", hash=["0" * 16] * 3))
    assert result.num_pairs == 99
    assert result.pairs["distance"].tolist() == [0] * 9 + [1]
    assert result.images_with_pair == {"train": 33, "test": 3}


@pytest.mark.parametrize("listed", [1_000_000, 20])
def test_each_block_of_pairs_costs_the_same_however_many_there_were(
    listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LISTED", listed)
    entries = module._entries(np.arange(1000) % 2, np.arange(1000))

    def steps(blocks: int) -> int:
        """Return the calls of functions and generators while that many blocks of one pair are collected."""
        pairs = [(np.array([n]), np.array([999 - n]), np.zeros(1, np.uint8)) for n in range(blocks)]
        number = 0

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal number
            number += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            found = module._pairs_across(entries, pairs)
        finally:
            sys.setprofile(before)
        assert found.count == blocks
        return number

    assert steps(400) < 2.2 * steps(200)


def test_entries_are_the_distinct_pairs_of_side_and_value() -> None:
    side, values = np.array([1, 0, 1, 0, 1]), np.array([7, 2**64 - 1, 7, 7, 0], np.uint64)
    entries = module._entries(side, values)
    assert entries.side.tolist() == [0, 0, 1, 1]
    assert entries.values.tolist() == [7, 2**64 - 1, 0, 7]
    assert entries.of.tolist() == [3, 1, 3, 0, 2]
    assert entries.size.tolist() == [1, 1, 1, 2]


def test_rows_that_are_never_trained_on_do_not_leak() -> None:
    train = table("train", hash=["0" * 16, "f" * 16], fold=[-2, 0])
    assert audit_tables(train, table("test", hash=["0" * 16])).clean
    never = table("train", hash=["0" * 16], fold=[-2])
    assert "every row is in fold -2" in problem(lambda: audit_tables(never, train))


def test_what_cannot_be_compared_is_refused() -> None:
    one = table("one", hash=["0" * 16], hash_kind=["phash-luma256"])
    other = table("other", hash=["0" * 16], hash_kind=["phash-imagehash"], camera=["1"])
    assert problem(lambda: audit_tables(one, other)) == (
        "hashes of different kinds cannot be compared: 'phash-luma256' in images/one.csv, 'phash-imagehash' in "
        "images/other.csv. Run eml scan again with one kind"
    )
    assert problem(lambda: audit_tables(one, one)).startswith("images/one.csv: is the same table on both sides")
    assert "has no column 'fold'" in problem(lambda: audit_folds(one))
    assert problem(lambda: audit_tables(one, other, group_by=["camera"])).startswith(
        "images/one.csv: `group_by`: no column 'camera'"
    )
