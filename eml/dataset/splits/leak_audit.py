"""What two tables, or the folds of one, have in common that they should not: look-alikes, contents, values, classes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import ALWAYS_TEST, ALWAYS_TRAIN
from eml.dataset.duplicates.duplicates import Hashes, Indices, hash_values, near_pairs
from eml.dataset.splits.folds import row_order
from eml.dataset.splits.groups import THRESHOLD, check_columns, check_threshold, text_values, without_hashes
from eml.dataset.table import Table
from eml.errors import DataError

LISTED = 1_000_000  # pairs listed at most, the nearest first; all are counted
COLUMNS = ("side", "file_name", "label", "other_side", "other_file_name", "other_label", "distance", "same_content")

Block = tuple[Indices, Indices, Any]  # i, j, distance
NAMES = {ALWAYS_TRAIN: "fold -1 (always train)", ALWAYS_TEST: "fold -2 (always test)"}


@dataclass(frozen=True)
class Audit:
    """What was found between the sides: two tables, or the folds of one."""

    sides: dict[str, int]
    """Images of each side."""
    pairs: pd.DataFrame
    """`COLUMNS`: images of two sides that look alike, the nearest first; distance in bits; at most `LISTED`."""
    count: int
    """All such pairs."""
    same_content: int
    """Those of them whose files are the same to the byte."""
    look_alikes: dict[str, int]
    """Images of each side that have a pair."""
    values: dict[str, list[str]]
    """For each column of --group-by: the values that stand on more than one side."""
    classes: list[str]
    """Classes that stand on more than one side."""
    warnings: list[str]
    """What could not be compared."""

    @property
    def clean(self) -> bool:
        """No pair and no shared value; shared classes are judged by who knows whether they are meant."""
        return self.count == 0 and not any(self.values.values())


def audit_tables(
    train: Table,
    test: Table,
    *,
    group_by: Sequence[str] = (),
    threshold: int = THRESHOLD,
    progress: Callable[[int], None] | None = None,
) -> Audit:
    """Compares two tables. Rows of `train` in fold −2 are left out: they are never trained on.

    threshold: bits of 64. Equal contents and one file in both tables count as pairs, hashes or not.
    Raises DataError for hashes of different kinds and columns that are not in both tables.
    """
    frame = train.frame
    if "fold" in frame.columns:
        train = Table(frame[frame["fold"] != ALWAYS_TEST].reset_index(drop=True), train.root, train.path)
    if train.frame.empty:
        raise DataError(f"{train.name}: every row is in fold -2, never trained on; there is nothing to compare")
    if train.source.resolve() == test.source.resolve():
        raise DataError(f"{train.name}: is given twice. Give two tables, or one that has a column 'fold'")
    return _audit([("train", train), ("test", test)], group_by, threshold, progress)


def audit_folds(
    table: Table,
    *,
    group_by: Sequence[str] = (),
    threshold: int = THRESHOLD,
    progress: Callable[[int], None] | None = None,
) -> Audit:
    """Compares the folds of a table with one another, −1 and −2 as well. DataError when there is but one fold."""
    frame = table.frame
    if "fold" not in frame.columns:
        told = f"{table.name}: has no column 'fold' whose folds could be compared"
        raise DataError(f"{told}. Run eml kfold, or give two tables: eml audit TRAIN TEST")
    numbers = sorted(frame["fold"].unique(), key=lambda number: (number < 0, abs(number)))
    if len(numbers) < 2:
        raise DataError(f"{table.name}: every image is in fold {numbers[0]}; there is no other to compare with")
    sides = [(NAMES.get(number, f"fold {number}"), _rows(table, frame["fold"] == number)) for number in numbers]
    return _audit(sides, group_by, threshold, progress)


def _rows(table: Table, which: "pd.Series[bool]") -> Table:
    return Table(table.frame[which], table.root, table.path)


def _audit(
    sides: list[tuple[str, Table]], group_by: Sequence[str], threshold: int, progress: Callable[[int], None] | None
) -> Audit:
    check_threshold(threshold)
    for table in {table.name: table for _, table in sides}.values():
        check_columns(table, group_by)
    names = [name for name, _ in sides]
    ordered = [table.frame.iloc[row_order(table.frame)] for _, table in sides]
    frame = pd.concat(ordered, ignore_index=True)
    side = np.repeat(np.arange(len(sides)), [len(part) for part in ordered])
    image = _images(ordered, [table.root for _, table in sides])
    hashes, warnings = _hashes([table for _, table in sides])
    entries = _entries(side, image if hashes is None else hashes)
    blocks = _equal(entries) if hashes is None else near_pairs(entries.values, threshold, progress)
    found = _across(entries, blocks)
    return Audit(
        sides={name: len(part) for name, part in zip(names, ordered, strict=True)},
        pairs=_listed(frame, np.array(names, dtype=object)[side], entries, found, image),
        count=found.count,
        same_content=_equal_over_sides(image, side),
        look_alikes={name: int(found.touched[side == number].sum()) for number, name in enumerate(names)},
        values={name: _shared(text_values(frame[name]), side) for name in group_by},
        classes=_shared(frame["label"], side),
        warnings=warnings,
    )


def _images(parts: Sequence[pd.DataFrame], roots: Sequence[Path]) -> Indices:
    """(N,) a number for each image: by the content of its file; of tables without contents, by the file."""
    if all("content" in part.columns and (part["content"] != "").all() for part in parts):
        keys = pd.concat([part["content"] for part in parts])
    else:
        roots = [root.resolve() for root in roots]
        keys = pd.concat([f"{root}/" + part["file_name"] for root, part in zip(roots, parts, strict=True)])
    codes: Indices = pd.factorize(keys)[0].astype(np.int64)
    return codes


def _hashes(tables: Sequence[Table]) -> tuple[Hashes | None, list[str]]:
    """(N,) in the order of names within each table; None, and why, where one of them has no hashes."""
    without = {table.name: table for table in tables if "hash" not in table.frame.columns}
    if without:
        return None, [without_hashes(table) for table in without.values()]
    kinds = {name: kind for table in tables for name, kind in _kinds(table)}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{kind!r} in {name}" for name, kind in kinds.items())
        raise DataError(f"hashes of different kinds cannot be compared: {told}. Run eml scan again with one kind")
    return np.concatenate([hash_values(table)[row_order(table.frame)] for table in tables]), []


def _kinds(table: Table) -> Iterator[tuple[str, str]]:
    """(table, kind), where the table says; several kinds in one table are refused by `hash_values`."""
    if "hash_kind" in table.frame.columns:
        yield table.name, str(table.frame["hash_kind"].iloc[0])


@dataclass(frozen=True)
class _Entries:
    """The distinct pairs of side and value: E of them, sorted by side. of: (N,) which one each row is."""

    side: Indices
    values: Hashes
    of: Indices
    size: Indices  # rows


def _entries(side: Indices, values: Any) -> _Entries:
    keys, of, size = np.unique(
        np.stack([side.astype(np.uint64), values.astype(np.uint64)]), axis=1, return_inverse=True, return_counts=True
    )
    return _Entries(keys[0].astype(np.int64), keys[1], of.reshape(-1), size)


def _equal(entries: _Entries) -> Iterator[Block]:
    """The pairs of entries with equal values: no two of them are on one side."""
    order = np.argsort(entries.values, kind="stable")
    for apart in range(1, int(entries.side.max()) + 1):
        first, second = order[:-apart], order[apart:]
        same = entries.values[first] == entries.values[second]
        yield first[same], second[same], np.zeros(int(same.sum()), dtype=np.uint8)


@dataclass(frozen=True)
class _Found:
    """pairs: (3, P) entries i and j, distance; the nearest `LISTED` at most. touched: (N,) rows that have a pair."""

    pairs: NDArray[np.int64]
    count: int
    touched: NDArray[np.bool_]


def _across(entries: _Entries, blocks: Iterable[Block]) -> _Found:
    """Of pairs of entries, those over two sides."""
    held, count = [np.empty((3, 0), dtype=np.int64)], 0
    touched = np.zeros(len(entries.side), dtype=bool)
    for i, j, distance in blocks:
        across = entries.side[i] != entries.side[j]
        i, j, distance = i[across], j[across], distance[across]
        touched[i] = touched[j] = True
        count += int((entries.size[i] * entries.size[j]).sum())
        held.append(np.stack([i, j, distance]).astype(np.int64))
        if sum(some.shape[1] for some in held) > 2 * LISTED:
            held = [_nearest(held)]
    return _Found(_nearest(held), count, touched[entries.of])


def _nearest(held: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    pairs = np.concatenate(held, axis=1)
    return pairs[:, np.lexsort((pairs[1], pairs[0], pairs[2]))[:LISTED]]


def _listed(frame: pd.DataFrame, side: NDArray[Any], entries: _Entries, found: _Found, image: Indices) -> pd.DataFrame:
    """The pairs of rows that the pairs of entries stand for."""
    i, j, distance = found.pairs
    ends = np.cumsum(entries.size[i] * entries.size[j])
    number = np.arange(min(LISTED, int(ends[-1]) if len(ends) else 0))
    pair = np.searchsorted(ends, number, side="right")
    within = number - (ends - entries.size[i] * entries.size[j])[pair]
    rows = np.argsort(entries.of, kind="stable")  # of the entries, one after the other
    start = np.cumsum(entries.size) - entries.size
    one = rows[start[i][pair] + within // entries.size[j][pair]]
    other = rows[start[j][pair] + within % entries.size[j][pair]]
    names, labels = frame["file_name"].to_numpy(object), frame["label"].to_numpy(object)
    facts = (side[one], names[one], labels[one], side[other], names[other], labels[other])
    return pd.DataFrame(dict(zip(COLUMNS, (*facts, distance[pair], image[one] == image[other]), strict=True)))


def _equal_over_sides(image: Indices, side: Indices) -> int:
    """Pairs of rows of one image on two sides."""
    all_pairs = _pairs(np.bincount(image))
    return all_pairs - _pairs(np.unique(np.stack([image, side]), axis=1, return_counts=True)[1])


def _pairs(sizes: Indices) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _shared(values: "pd.Series[str]", side: Indices) -> list[str]:
    """The values, blanks apart, that are on several sides; sorted."""
    codes, names = pd.factorize(values)
    on = np.bincount(np.unique(np.stack([codes, side]), axis=1)[0], minlength=len(names))
    return sorted(str(name) for name in names[on > 1] if name != "")
