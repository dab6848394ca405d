"""Found duplicates equal a plain loop over all pairs, on random hashes and on those that are made to be awkward."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml import threads
from eml.dataset.duplicates import components, duplicates, hamming
from eml.dataset.duplicates.components import Components
from eml.dataset.duplicates.duplicates import hash_values, keeping_order, twins, twins_of_pairs
from eml.dataset.duplicates.hamming import near_between, near_pairs
from eml.dataset.table import Table
from eml.errors import DataError
from tests.examples import examples

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module", params=["each with each", "by buckets"])
def small_tiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tiles, buckets and tasks so small that a few dozen hashes fill many of them, ragged ones too; on two threads."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in {"ROWS": 3, "TILE": 21, "AREA": 60}.items():
            patch.setattr(hamming, name, size)
        patch.setattr(duplicates, "BRUTE_FORCE", 4)
        patch.setattr(duplicates, "MAX_HELD_PAIRS", 30)
        patch.setattr(components, "MERGE_AT", 20)
        patch.setattr(threads, "cores", lambda: 2)
        cut = hamming.ALL if request.param == "each with each" else None
        patch.setattr(hamming, "_parts", lambda values, others, threshold: cut or hamming._cut(threshold, 3))
        yield


def bits_apart(one: int, other: int) -> int:
    return (int(one) ^ int(other)).bit_count()


def chain(length: int, step: int) -> list[int]:
    """Each hash is `step` bits from the next, so the ends are far apart."""
    return [(1 << min(step * n, 64)) - 1 for n in range(length)]


# Some centres and hashes a few bits around them: many ties, many near misses, many equal ones.
clusters = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4).flatmap(
    lambda centres: st.lists(
        st.tuples(st.sampled_from(centres), st.sets(st.integers(0, 63), max_size=6)).map(
            lambda made: made[0] ^ sum(1 << bit for bit in made[1])
        ),
        max_size=60,
    )
)
awkward = st.one_of(
    clusters,
    st.lists(st.integers(0, 2**64 - 1), max_size=60),
    st.integers(0, 40).map(lambda count: [2**63 + 5] * count),
    st.tuples(st.integers(0, 40), st.integers(1, 5)).map(lambda made: chain(*made)),
)


@settings(max_examples=examples(150), deadline=None)
@given(awkward, st.integers(0, 63))
def test_near_pairs_are_those_of_a_loop_over_all_pairs(values: list[int], threshold: int) -> None:
    result = [
        (int(i), int(j), int(d))
        for block in near_pairs(np.array(values, dtype=np.uint64), threshold)
        for i, j, d in zip(*block, strict=True)
    ]
    expected = [
        (i, j, bits_apart(values[i], values[j]))
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if bits_apart(values[i], values[j]) <= threshold
    ]
    assert sorted(result) == expected


@settings(max_examples=examples(100), deadline=None)
@given(awkward, awkward, st.sampled_from([0, 2, 10, 16, 63]))
def test_near_between_finds_the_pairs_of_a_loop_over_both(values: list[int], others: list[int], threshold: int) -> None:
    result = [
        (int(i), int(j), int(d))
        for block in near_between(np.array(values, dtype=np.uint64), np.array(others, dtype=np.uint64), threshold)
        for i, j, d in zip(*block, strict=True)
    ]
    pairs = [(i, j, bits_apart(one, other)) for i, one in enumerate(values) for j, other in enumerate(others)]
    assert sorted(result) == [pair for pair in pairs if pair[2] <= threshold]


def test_blocks_come_in_the_same_order_on_one_thread_and_on_several(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 2**12, 300, dtype=np.uint64)
    several = [np.stack(block).tolist() for block in near_pairs(values, 3)]
    monkeypatch.setattr(threads, "cores", lambda: 1)
    assert [np.stack(block).tolist() for block in near_pairs(values, 3)] == several


def test_progress_tells_every_value_once() -> None:
    values = np.random.default_rng(0).integers(0, 2**63, 300, dtype=np.uint64)
    counts: list[int] = []
    assert list(near_pairs(values, 3, counts.append)) == []
    assert sum(counts) == 300
    counts.clear()
    twins(values, np.repeat([0, 1, 2], 100), np.arange(300), 3, counts.append)
    assert sum(counts) == 300


def loop_twins(values: list[int], groups: list[int], rank: list[int], threshold: int) -> list[int]:
    twin, kept = [-1] * len(values), []
    for this in sorted(range(len(values)), key=rank.__getitem__):
        near = [
            (bits_apart(values[this], values[other]), rank[other], other)
            for other in kept
            if groups[this] == groups[other] and bits_apart(values[this], values[other]) <= threshold
        ]
        if near:
            twin[this] = min(near)[2]
        else:
            kept.append(this)
    return twin


@settings(max_examples=examples(200), deadline=None)
@given(awkward, st.sampled_from([0, 1, 4, 10, 63]), st.randoms(use_true_random=False), st.integers(1, 4))
def test_twins_are_those_of_a_loop_that_keeps_the_best_first(
    values: list[int], threshold: int, random: Any, group_count: int
) -> None:
    groups = [random.randrange(group_count) for _ in values]
    rank = random.sample(range(len(values)), len(values))
    # A loop over images finds the nearest kept one among equal hashes too: of those, only the best is ever kept.
    result = twins(np.array(values, dtype=np.uint64), np.array(groups, dtype=np.int64), np.array(rank), threshold)
    assert result.tolist() == loop_twins(values, groups, rank, threshold)


@settings(max_examples=examples(100), deadline=None)
@given(awkward, st.sampled_from([0, 1, 4, 10, 63]), st.randoms(use_true_random=False))
def test_twins_of_given_pairs_are_those_of_the_hashes_that_make_them(
    values: list[int], threshold: int, random: Any
) -> None:
    rank = random.sample(range(len(values)), len(values))
    near = [
        (i, j, bits_apart(values[i], values[j]))
        for i in range(len(values))
        for j in range(i)
        if bits_apart(values[i], values[j]) <= threshold
    ]
    i, j, distance = np.array(near, dtype=np.int64).reshape(-1, 3).T
    result = twins_of_pairs(np.array(rank, dtype=np.int64), i, j, distance)
    assert result.tolist() == loop_twins(values, [0] * len(values), rank, threshold)


def test_a_chain_of_look_alikes_is_thinned_and_not_removed_as_a_whole() -> None:
    values = np.array(chain(17, 4), dtype=np.uint64)  # 0, 4, 8, … bits set: neighbours are 4 bits apart
    twin = twins(values, np.zeros(17, dtype=np.int64), np.arange(17), 10)
    assert np.flatnonzero(twin < 0).tolist() == [0, 3, 6, 9, 12, 15]  # 12 bits apart: the nearest that is above 10
    assert twin[[1, 2, 4, 16]].tolist() == [0, 0, 3, 15]


def test_groups_are_never_compared_with_one_another() -> None:
    values = np.array([5, 5, 5, 5], dtype=np.uint64)
    assert twins(values, np.array([0, 1, 0, 1]), np.arange(4), 63).tolist() == [-1, -1, 0, 1]


def connected(size: int, pairs: list[tuple[int, int]]) -> list[int]:
    root = list(range(size))
    for _ in range(size):
        for i, j in pairs:
            root[i] = root[j] = min(root[i], root[j])
    return root


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=60))
def test_components_are_those_of_a_plain_search(pairs: list[tuple[int, int]]) -> None:
    merged = Components(30)
    for i, j in pairs:
        merged.add(np.array([i]), np.array([j]))
    assert merged.labels().tolist() == connected(30, pairs)


def test_a_long_path_given_backwards_is_one_component() -> None:
    merged = Components(500)
    merged.add(np.arange(499, 0, -1), np.arange(498, -1, -1))
    assert (merged.labels() == 0).all()


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    for name, size in {"ROWS": 64, "TILE": 2**16, "AREA": 2**16}.items():
        monkeypatch.setattr(hamming, name, size)
    monkeypatch.setattr(duplicates, "BRUTE_FORCE", 512)
    monkeypatch.setattr(duplicates, "MAX_HELD_PAIRS", 100_000)
    size = 3000  # 4.5 million pairs, all near: 76 MB if they were held
    values = np.arange(size, dtype=np.uint64)
    tracemalloc.start()
    twin = twins(values, np.zeros(size, dtype=np.int64), np.arange(size), 20)
    pairs = sum(len(i) for i, _, _ in near_pairs(values, 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (twin == 0).sum() == size - 1
    assert pairs == size * (size - 1) // 2
    assert peak < 24_000_000


def table(**columns: Any) -> Table:
    count = max(len(column) for column in columns.values())
    names = {"label": ["a"] * count, "file_name": [f"{n}.jpg" for n in range(count)]}
    return Table(pd.DataFrame(names | columns), Path("images"), Path("images/t.csv"))


def test_hashes_are_read_as_64_bit_numbers() -> None:
    result = hash_values(table(hash=["0000000000000001", "ffffffffffffffff", "8000000000000000"]))
    assert result.tolist() == [1, 2**64 - 1, 2**63]


def test_hashes_of_different_kinds_are_refused() -> None:
    mixed = table(hash=["0" * 16] * 3, hash_kind=["phash-luma256", "phash-luma256", "phash-imagehash"])
    with pytest.raises(DataError) as error:
        hash_values(mixed)
    assert error.value.problems == [
        "images/t.csv: hashes of different kinds cannot be compared: 2 of 'phash-luma256', 1 of 'phash-imagehash'. "
        "Run eml scan again"
    ]


def test_a_table_without_hashes_says_how_to_get_them() -> None:
    with pytest.raises(DataError, match=r"t\.csv: has no column 'hash'.*Run: eml scan FOLDER --hashes"):
        hash_values(table(width=[1]))


def test_a_malformed_hash_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("label,file_name,hash\na,1.jpg,0123456789abcdef\na,2.jpg,12\n")
    frame = pd.read_csv(path, dtype=str)
    with pytest.raises(DataError) as error:
        hash_values(Table(frame, tmp_path, path))
    assert error.value.problems == [f"{path}:3: hash must be 16 hex digits, got '12'"]


def test_the_largest_image_is_kept_then_the_one_of_most_bytes_then_the_first_by_name() -> None:
    frame = table(
        file_name=["d", "c", "b", "a"], width=[10, 20, 20, 20], height=[10, 10, 10, 10], bytes=[9, 5, 7, 5]
    ).frame
    assert keeping_order(frame).tolist() == [3, 2, 0, 1]


def test_the_order_of_keeping_does_not_depend_on_the_order_of_rows() -> None:
    frame = table(width=[3, 1, 2, 3], height=[1, 1, 1, 1], bytes=[1, 1, 1, 1]).frame
    shuffled = frame.iloc[[2, 0, 3, 1]]
    by_name = dict(zip(frame["file_name"], keeping_order(frame), strict=True))
    assert dict(zip(shuffled["file_name"], keeping_order(shuffled), strict=True)) == by_name
