"""Listed pairs of images that are of the same class or not: a CSV, or LFW's pairs.txt."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from eml.dataset.columns import LARGEST, whole_number
from eml.dataset.problems import SHOWN, and_more, column_names, short_repr
from eml.dataset.table_files import CsvRows
from eml.errors import DataError, Problem
from eml.retrieval.arrays import Booleans, Integers

NAMES = (("file_name_1", "file_name_2"), ("a", "b"))
SAME = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True)
class Pairs:
    """P pairs of images. A pair that is in the file twice counts twice.

    Attributes:
        first: (P,) positions of the pairs' first images among all images.
        second: (P,) positions of the pairs' second images.
        same: (P,) whether the two are of one class.
        fold: (P,) integers from 0; None if the file has no folds.
    """

    first: Integers
    second: Integers
    same: Booleans
    fold: Integers | None


@dataclass(frozen=True)
class PairLine:
    """A pair as a file lists it. number: of the line."""

    number: int
    first: str
    second: str
    same: bool
    fold: int | None


def read_pairs(source: Path, file_names: Sequence[str], root: Path | None = None) -> Pairs:
    """Read the pairs of a CSV with the columns file_name_1, file_name_2 (or a, b), same (0 or 1) and, optionally, fold.

    A file whose name ends in .txt is read as LFW's pairs.txt: `10 300` (folds, pairs of a kind in each), then lines of
    `NAME 1 4` (the same person) and `NAME 1 OTHER 2`, of images NAME/NAME_0001 with any suffix (Huang 2007,
    University of Massachusetts, Technical Report 07-49).

    Args:
        source: The file.
        file_names: Names of the images, as in their table.
        root: The folder that these names are relative to. With it, names in the file may also be relative to the
            folder of the file itself, if all are.

    Raises:
        DataError: The file cannot be read, names images that are not among file_names, or pairs an image with itself;
            with the lines.
    """
    if not source.is_file():  # a device would have no end
        raise DataError(f"{source}: no such list of pairs", code="missing-file", parameter="pairs")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        text = f"{source}: cannot be read as a list of pairs: {error}"
        raise DataError(text, code="not-readable", parameter="pairs") from error
    problems: list[Problem] = []
    lfw = source.suffix.lower() == ".txt"
    lines = list((_lfw_lines if lfw else _csv_lines)(source, text, problems))
    if problems:
        raise DataError(_first_of(source, problems))
    if not lines:
        raise DataError(f"{source}: holds no pairs", code="empty-table", parameter="pairs")
    return _locate(source, lines, _look_up(source, lines, file_names, root, lfw))


def _problem(text: str, code: str) -> Problem:
    return Problem(text, code, "pairs")


def _first_of(source: Path, problems: Sequence[Problem]) -> list[str]:
    return [*problems[:SHOWN], *(_problem(text, problems[0].code) for text in and_more(source, len(problems)))]


def _locate(source: Path, lines: Sequence[PairLine], position: Callable[[str], int | None]) -> Pairs:
    """Return the pairs by position; position: name of an image → its position."""
    problems, first, second = [], [], []
    for line in lines:
        places = [position(name) for name in (line.first, line.second)]
        problems += [
            _problem(
                f"{source}:{line.number}: no image {short_repr(name)} among those that were embedded", "unknown-image"
            )
            for name, place in zip((line.first, line.second), places, strict=True)
            if place is None
        ]
        if places[0] is not None and places[0] == places[1]:
            problems.append(_problem(f"{source}:{line.number}: {line.first!r} is paired with itself", "invalid-value"))
        first.append(places[0])
        second.append(places[1])
    if problems:
        raise DataError(_first_of(source, problems))
    folds = None
    if lines[0].fold is not None:
        numbers = np.array([line.fold for line in lines], np.int64)
        folds = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    same = np.array([line.same for line in lines], bool)
    return Pairs(np.array(first, np.int64), np.array(second, np.int64), same, folds)


def _csv_lines(source: Path, text: str, problems: list[Problem]) -> Iterator[PairLine]:
    reader = CsvRows(source, text.splitlines())
    header = next(reader, [])
    names = next((pair for pair in NAMES if set(pair) <= set(header)), None)
    if names is None or "same" not in header:
        message = (
            f"{source}:1: needs the columns file_name_1, file_name_2, same (0 or 1) and, if there are folds, fold; "
            f"found {column_names(header)}"
        )
        problems.append(_problem(message, "missing-column"))
        return
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            message = f"{source}:{reader.line_num}: {len(row)} fields; the header has {len(header)}"
            problems.append(_problem(message, "not-a-table"))
        elif line := _csv_line(source, reader.line_num, dict(zip(header, row, strict=True)), names, problems):
            yield line


def _csv_line(
    source: Path, number: int, row: dict[str, str], names: tuple[str, str], problems: list[Problem]
) -> PairLine | None:
    same = SAME.get(row["same"].strip().lower())
    if same is None:
        message = f"{source}:{number}: same must be 0 or 1, got {short_repr(row['same'])}"
        problems.append(_problem(message, "out-of-range"))
    fold = _count(row["fold"].strip()) if "fold" in row else None
    if fold is None and "fold" in row:
        message = f"{source}:{number}: fold must be a whole number from 0 to {LARGEST:,}, got {short_repr(row['fold'])}"
        problems.append(_problem(message, "out-of-range"))
    elif same is not None:
        return PairLine(number, row[names[0]], row[names[1]], same, fold)
    return None


def _count(text: str) -> int | None:
    """Return a whole number of 0 or more, None where the text is none or beyond all that pairs need."""
    number = whole_number(text)
    return number if number is not None and 0 <= number <= LARGEST else None


def _lfw_lines(source: Path, text: str, problems: list[Problem]) -> Iterator[PairLine]:
    numbered = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    counts = [_count(word) for word in numbered[0][1]] if numbered else []
    if len(counts) != 2 or counts[0] is None or counts[1] is None:
        message = f"{source}:1: a .txt is read as LFW's pairs.txt, whose first line is FOLDS PAIRS, such as 10 300"
        problems.append(_problem(message, "not-a-table"))
        return
    folds, size = counts[0], counts[1]
    rows = numbered[1:]
    if not folds or not size or len(rows) != folds * size * 2:
        message = f"{source}: {len(rows):,} pairs follow; {folds} folds of {size} + {size} are {folds * size * 2:,}"
        problems.append(_problem(message, "not-a-table"))
        return
    for place, (number, words) in enumerate(rows):
        numbers = [_count(word) for word in (words[1::2] if len(words) == 4 else words[1:])]
        if len(words) not in (3, 4) or None in numbers:
            message = f"{source}:{number}: must be NAME N M or NAME N OTHER M, got {short_repr(' '.join(words))}"
            problems.append(_problem(message, "not-a-table"))
            continue
        names = (words[0], words[2] if len(words) == 4 else words[0])
        first, second = (f"{name}/{name}_{n:04d}" for name, n in zip(names, numbers, strict=True))
        yield PairLine(number, first, second, len(words) == 3, place // (2 * size))


def _look_up(
    source: Path, lines: Sequence[PairLine], file_names: Sequence[str], root: Path | None, lfw: bool
) -> Callable[[str], int | None]:
    """Return the function from a name to its position.

    Names are those of the table, without their suffix for LFW, or relative to the folder of the file.
    """
    names = [str(PurePosixPath(name).with_suffix("")) for name in file_names] if lfw else file_names
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        message = f"{source}: images are identified by name, and {len(twice):,} names belong to several images"
        raise DataError([_problem(f"{message}, first: {twice[0]!r}", "repeated-image")])
    if lfw:
        return {name: place for place, name in enumerate(names)}.get
    places = {name: place for place, name in enumerate(file_names)}
    if root is None or any(line.first in places or line.second in places for line in lines):
        return places.get
    images, folder = root.resolve(), source.parent.resolve()

    def relative(name: str) -> int | None:
        path = folder / name
        return places.get(path.relative_to(images).as_posix()) if path.is_relative_to(images) else None

    return relative
