"""Leaks between two tables, or the folds of a table: look-alikes, contents, values and classes on both sides."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import ALWAYS_TEST, ALWAYS_TRAIN
from eml.dataset.duplicates.blank import blank_rows
from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.duplicates import hash_values
from eml.dataset.duplicates.hamming import Advance, Block, Hashes, near_pairs
from eml.dataset.recorded_content import current_content
from eml.dataset.similar_labels import composed
from eml.dataset.splits.folds import row_order
from eml.dataset.splits.groups import THRESHOLD, check_columns, check_threshold, missing_hashes, text_values
from eml.dataset.table import Table
from eml.errors import DataError
from eml.progress import Report

MAX_LISTED = 1_000_000  # pairs, the nearest first; all are counted
COLUMNS = ("side", "file_name", "label", "other_side", "other_file_name", "other_label", "distance", "same_content")
FOLD_NAMES = {ALWAYS_TRAIN: "fold -1 (always train)", ALWAYS_TEST: "fold -2 (always test)"}


@dataclass(frozen=True)
class LeakAudit:
    """The leaks between sides: two tables, or the folds of a table."""

    images: dict[str, int]
    """Images of each side."""
    pairs: pd.DataFrame
    """`COLUMNS`: images of two sides that look alike, the nearest first; distance in bits; at most `MAX_LISTED`."""
    num_pairs: int
    """All such pairs."""
    pairs_of_same_content: int
    """Pairs whose files have the same bytes."""
    images_with_pair: dict[str, int]
    """Images of each side that look like an image of another side."""
    shared_values: dict[str, list[str]]
    """For each column of `group_by`: the values on more than one side, sorted."""
    shared_classes: list[str]
    """Classes on more than one side, sorted; the unknown label is none."""
    warnings: list[str]
    """Comparisons that were not possible."""

    @property
    def clean(self) -> bool:
        """Whether there is no pair and no shared value; shared classes may be intended, and do not count."""
        return self.num_pairs == 0 and not any(self.shared_values.values())


def audit_tables(
    train: Table,
    test: Table,
    *,
    group_by: Sequence[str] = (),
    threshold: int = THRESHOLD,
    progress: Advance | None = None,
) -> LeakAudit:
    """Compare two tables. Rows of `train` in fold −2 are left out: they are never trained on.

    Equal contents, and one file in both tables, count as pairs, with or without hashes.

    Args:
        train: The table to train on.
        test: The table to test on.
        group_by: Columns whose values should be on one side.
        threshold: Look-alikes are within so many bits of 64.
        progress: Called with the number of images newly compared.

    Raises:
        DataError: Hashes are of different kinds, or a column is not in both tables.
    """
    frame = train.frame
    if "fold" in frame.columns:
        train = replace(train, frame=frame[frame["fold"] != ALWAYS_TEST].reset_index(drop=True))
    if train.frame.empty:
        text = f"{train.name}: every row is in fold -2, never trained on; there is nothing to compare"
        raise DataError(text, code="too-few-images", parameter="train")
    if train.source.resolve() == test.source.resolve():
        text = f"{train.name}: is the same table on both sides. Give two tables, or one that has a column 'fold'"
        raise DataError(text, code="same-table", parameter="test")
    return _audit([("train", train), ("test", test)], group_by, threshold, progress)


def audit_folds(
    table: Table,
    *,
    group_by: Sequence[str] = (),
    threshold: int = THRESHOLD,
    progress: Advance | None = None,
) -> LeakAudit:
    """Compare the folds of a table with one another, −1 and −2 too.

    Raises:
        DataError: There is only one fold, or the errors of `audit_tables`.
    """
    frame = table.frame
    if "fold" not in frame.columns:
        text = f"{table.name}: has no column 'fold' whose folds could be compared"
        advice = "Run eml kfold, or give two tables: eml audit TRAIN TEST"
        raise DataError(f"{text}. {advice}", code="missing-column", parameter="test")
    numbers = sorted(frame["fold"].unique(), key=lambda number: (number < 0, abs(number)))
    if len(numbers) < 2:
        text = f"{table.name}: every image is in fold {numbers[0]}; there is no second fold to compare with"
        raise DataError(text, code="too-few-folds")
    sides = [(FOLD_NAMES.get(number, f"fold {number}"), _rows(table, frame["fold"] == number)) for number in numbers]
    return _audit(sides, group_by, threshold, progress)


def _rows(table: Table, mask: "pd.Series[bool]") -> Table:
    return replace(table, frame=table.frame[mask])


def _audit(
    sides: list[tuple[str, Table]], group_by: Sequence[str], threshold: int, progress: Advance | None
) -> LeakAudit:
    check_threshold(threshold)
    for table in {table.name: table for _, table in sides}.values():
        check_columns(table, group_by)
    names = [name for name, _ in sides]
    tables = [replace(table, frame=table.frame.iloc[row_order(table.frame)]) for _, table in sides]
    ordered = [table.frame for table in tables]
    frame = pd.concat(ordered, ignore_index=True)
    side = np.repeat(np.arange(len(sides)), [len(part) for part in ordered])
    unknown = np.concatenate([table.is_unknown[row_order(table.frame)] for _, table in sides])
    misfits: list[str] = []
    image = _images(tables, misfits.append)
    hashes, warnings = _hashes([table for _, table in sides])
    warnings += [line.removeprefix("warning: ") for line in dict.fromkeys(misfits)]
    shown = ~blank_rows(frame)  # a blank image looks like no other
    image, on = image[shown], side[shown]
    entries = _entries(on, image if hashes is None else hashes[shown])
    blocks = _equal(entries) if hashes is None else near_pairs(entries.values, threshold, progress)
    across = _pairs_across(entries, blocks)
    return LeakAudit(
        images={name: len(part) for name, part in zip(names, ordered, strict=True)},
        pairs=_pair_table(frame[shown], np.array(names, dtype=object)[on], entries, across.pairs, image),
        num_pairs=across.count,
        pairs_of_same_content=_equal_over_sides(image, on),
        images_with_pair={name: int(across.touched[on == number].sum()) for number, name in enumerate(names)},
        shared_values={name: _shared(text_values(frame[name]), side) for name in group_by},
        shared_classes=_shared(composed(frame["label"].mask(unknown, "")), side),
        warnings=warnings,
    )


def _images(tables: Sequence[Table], report: Report) -> Indices:
    """(N,) a number for each image: by the content of its file, or by the file where tables have no contents."""
    if all("content" in table.frame.columns and (table.frame["content"] != "").all() for table in tables):
        keys = [_contents(table, report) for table in tables]
    else:
        keys = [(f"{table.root.resolve()}/" + table.frame["file_name"]).to_numpy(object) for table in tables]
    codes: Indices = pd.factorize(np.concatenate(keys))[0].astype(np.int64)
    return codes


def _contents(table: Table, report: Report) -> NDArray[np.object_]:
    """Return (N,) the content of each file as it is now; a value that is no hash of a file, as the table has it."""
    now = current_content(table, table.frame, report)
    return np.where(now != "", now, table.frame["content"].to_numpy(object))


def _hashes(tables: Sequence[Table]) -> tuple[Hashes | None, list[str]]:
    """Return (N,) hashes in the order of names within each table; None, with warnings, where a table has none."""
    without = {table.name: table for table in tables if "hash" not in table.frame.columns}
    if without:
        return None, [missing_hashes(table) for table in without.values()]
    kinds = {name: kind for table in tables for name, kind in _kinds(table)}
    if len(set(kinds.values())) > 1:
        text = ", ".join(f"{kind!r} in {name}" for name, kind in kinds.items())
        text = f"hashes of different kinds cannot be compared: {text}. Run eml scan again with one kind"
        raise DataError(text, code="mixed-hash-kinds")
    return np.concatenate([hash_values(table)[row_order(table.frame)] for table in tables]), []


def _kinds(table: Table) -> Iterator[tuple[str, str]]:
    """Yield (table, kind) where the table has the column; `hash_values` refuses several kinds in one table."""
    if "hash_kind" in table.frame.columns:
        yield table.name, str(table.frame["hash_kind"].iloc[0])


@dataclass(frozen=True)
class _Entries:
    """The E distinct pairs of side and value, sorted by side."""

    side: Indices
    values: Hashes
    of: Indices
    """(N,) the entry of each row."""
    size: Indices
    """The number of rows of each entry."""


def _entries(side: Indices, values: Hashes | Indices) -> _Entries:
    distinct, place = np.unique(values.astype(np.uint64), return_inverse=True)
    keys, of, size = np.unique(_pair_codes(side, place, len(distinct)), return_inverse=True, return_counts=True)
    number, place = np.divmod(keys, max(1, len(distinct)))
    return _Entries(number, distinct[place], of, size)


def _pair_codes(numbers: Indices, codes: Indices, count: int) -> Indices:
    """Return one integer for each pair of a number and a code below count, in the order of the pairs."""
    paired: Indices = numbers * count + codes
    return paired


def _equal(entries: _Entries) -> Iterator[Block]:
    """Yield the pairs of entries with equal values: no two of them are on one side."""
    order = np.argsort(entries.values, kind="stable")
    for apart in range(1, int(entries.side.max()) + 1):
        first, second = order[:-apart], order[apart:]
        same = entries.values[first] == entries.values[second]
        yield first[same], second[same], np.zeros(int(same.sum()), dtype=np.uint8)


@dataclass(frozen=True)
class _PairsAcrossSides:
    """The pairs of entries on two sides."""

    pairs: NDArray[np.int64]
    """(3, P) entries i and j, distance; the nearest `MAX_LISTED` at most."""
    count: int
    """All pairs of rows."""
    touched: NDArray[np.bool_]
    """(N,) whether a row has a pair."""


def _pairs_across(entries: _Entries, blocks: Iterable[Block]) -> _PairsAcrossSides:
    """Select the pairs of entries that are on two sides."""
    held, num_held, count = [np.empty((3, 0), dtype=np.int64)], 0, 0
    touched = np.zeros(len(entries.side), dtype=bool)
    for i, j, distance in blocks:
        across = entries.side[i] != entries.side[j]
        if not across.any():
            continue
        i, j, distance = i[across], j[across], distance[across]
        touched[i] = touched[j] = True
        count += int((entries.size[i] * entries.size[j]).sum())
        held.append(np.stack([i, j, distance]).astype(np.int64))
        num_held += len(i)
        if num_held > 2 * MAX_LISTED:
            held = [_nearest(held)]
            num_held = held[0].shape[1]
    return _PairsAcrossSides(_nearest(held), count, touched[entries.of])


def _nearest(held: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    pairs = np.concatenate(held, axis=1)
    return pairs[:, np.lexsort((pairs[1], pairs[0], pairs[2]))[:MAX_LISTED]]


def _pair_table(
    frame: pd.DataFrame, side: NDArray[Any], entries: _Entries, pairs: NDArray[np.int64], image: Indices
) -> pd.DataFrame:
    """Return the pairs of rows for pairs of entries (3, P); side, image: (N,)."""
    i, j, distance = pairs
    ends = np.cumsum(entries.size[i] * entries.size[j])
    number = np.arange(min(MAX_LISTED, int(ends[-1]) if len(ends) else 0))
    pair = np.searchsorted(ends, number, side="right")
    within = number - (ends - entries.size[i] * entries.size[j])[pair]
    rows = np.argsort(entries.of, kind="stable")  # of the entries, one after the other
    start = np.cumsum(entries.size) - entries.size
    a = rows[start[i][pair] + within // entries.size[j][pair]]
    b = rows[start[j][pair] + within % entries.size[j][pair]]
    names, labels = frame["file_name"].to_numpy(object), frame["label"].to_numpy(object)
    columns = (side[a], names[a], labels[a], side[b], names[b], labels[b], distance[pair], image[a] == image[b])
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _equal_over_sides(image: Indices, side: Indices) -> int:
    """Count the pairs of rows of one image on two sides."""
    pairs = _pair_codes(side, image, int(image.max(initial=0)) + 1)
    return _count_pairs(np.bincount(image)) - _count_pairs(np.unique(pairs, return_counts=True)[1])


def _count_pairs(sizes: Indices) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _shared(values: "pd.Series[str]", side: Indices) -> list[str]:
    """Return the values on several sides, sorted; blanks do not count."""
    codes, names = pd.factorize(values)
    on = np.bincount(np.unique(_pair_codes(side, codes, len(names))) % max(1, len(names)), minlength=len(names))
    return sorted(str(name) for name in names[on > 1] if name != "")
