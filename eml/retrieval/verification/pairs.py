"""Pairs of images that are said to be of the same class or not: a CSV, or LFW's pairs.txt."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from eml.dataset.problems import SHOWN, and_more
from eml.errors import DataError

NAMES = (("file_name_1", "file_name_2"), ("a", "b"))
SAME = {"1": True, "true": True, "0": False, "false": False}

Line = tuple[int, str, str, bool, int | None]
"""(line of the file, first name, second name, whether same, fold)."""


@dataclass(frozen=True)
class Pairs:
    """first, second: (P,) positions among the images; same: (P,) bool; fold: (P,) from 0, None where none is given.

    A pair that stands in the file twice counts twice, as in the file.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64] | None


def read_pairs(source: Path, file_names: Sequence[str], root: Path | None = None) -> Pairs:
    """The pairs of a CSV with the columns file_name_1, file_name_2 (or a, b), same (0 or 1) and, if it likes, fold.

    A file whose name ends in .txt is read as LFW's pairs.txt: `10 300` (folds, pairs of a kind in each), then lines of
    `NAME 1 4` (the same person) and `NAME 1 OTHER 2`, of images NAME/NAME_0001 with any suffix (Huang 2007,
    University of Massachusetts, Technical Report 07-49).

    file_names: of the images, as the table has them. root: the folder they are relative to; with it the file's names
    may also be relative to the folder of the file itself, if all of them are.
    Raises DataError, with the lines, for names that are not among the images, an image paired with itself, and
    what cannot be read.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{source}: there is no such list of pairs") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source}: cannot be read as a list of pairs: {error}") from error
    problems: list[str] = []
    lfw = source.suffix.lower() == ".txt"
    lines = list((_lfw_lines if lfw else _csv_lines)(source, text, problems))
    if problems:
        raise DataError(_some(source, problems))
    if not lines:
        raise DataError(f"{source}: holds no pairs")
    return _placed(source, lines, _look_up(source, lines, file_names, root, lfw))


def _placed(source: Path, lines: Sequence[Line], position: Callable[[str], int | None]) -> Pairs:
    problems, first, second = [], [], []
    for line, one, other, _, _ in lines:
        places = [position(name) for name in (one, other)]
        problems += [
            f"{source}:{line}: no image {name!r} among those that were embedded"
            for name, place in zip((one, other), places, strict=True)
            if place is None
        ]
        if places[0] is not None and places[0] == places[1]:
            problems.append(f"{source}:{line}: {one!r} is paired with itself")
        first.append(places[0])
        second.append(places[1])
    if problems:
        raise DataError(_some(source, problems))
    folds = [fold for *_, fold in lines]
    return Pairs(
        np.array(first, np.int64),
        np.array(second, np.int64),
        np.array([same for *_, same, _ in lines], bool),
        None if folds[0] is None else np.unique(np.array(folds, np.int64), return_inverse=True)[1].astype(np.int64),
    )


def _csv_lines(source: Path, text: str, problems: list[str]) -> Iterator[Line]:
    reader = csv.reader(text.splitlines())
    header = next(reader, [])
    names = next((pair for pair in NAMES if set(pair) <= set(header)), None)
    if names is None or "same" not in header:
        problems.append(
            f"{source}:1: needs the columns file_name_1, file_name_2, same (0 or 1) and, if there are folds, fold; "
            f"found {', '.join(header) or 'none'}"
        )
        return
    column = {name: place for place, name in enumerate(header)}
    for row in reader:
        if not row:
            continue
        where = f"{source}:{reader.line_num}"
        if len(row) != len(header):
            problems.append(f"{where}: {len(row)} fields; the header has {len(header)}")
            continue
        same = SAME.get(row[column["same"]].strip().lower())
        if same is None:
            problems.append(f"{where}: same must be 0 or 1, got {row[column['same']]!r}")
        fold = row[column["fold"]].strip() if "fold" in column else None
        if fold is not None and not fold.isdecimal():
            problems.append(f"{where}: fold must be a whole number from 0, got {fold!r}")
        elif same is not None:
            first, second = (row[column[name]] for name in names)
            yield reader.line_num, first, second, same, None if fold is None else int(fold)


def _lfw_lines(source: Path, text: str, problems: list[str]) -> Iterator[Line]:
    numbered = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not numbered or len(numbered[0][1]) != 2 or not all(word.isdecimal() for word in numbered[0][1]):
        problems.append(
            f"{source}:1: a .txt is read as LFW's pairs.txt, whose first line is FOLDS PAIRS, such as 10 300"
        )
        return
    folds, each = map(int, numbered[0][1])
    rows = numbered[1:]
    if not folds or not each or len(rows) != folds * each * 2:
        problems.append(
            f"{source}: {len(rows):,} pairs follow; {folds} folds of {each} + {each} are {folds * each * 2:,}"
        )
        return
    for place, (number, words) in enumerate(rows):
        numbers = words[1::2] if len(words) == 4 else words[1:]
        if len(words) not in (3, 4) or not all(word.isdecimal() for word in numbers):
            problems.append(f"{source}:{number}: must be NAME N M or NAME N OTHER M, got {' '.join(words)!r}")
            continue
        names = (words[0], words[2] if len(words) == 4 else words[0])
        first, second = (f"{name}/{name}_{int(n):04d}" for name, n in zip(names, numbers, strict=True))
        yield number, first, second, len(words) == 3, place // (2 * each)


def _look_up(
    source: Path, lines: Sequence[Line], file_names: Sequence[str], root: Path | None, lfw: bool
) -> Callable[[str], int | None]:
    """Where a name stands: as the table has it, without its suffix for LFW, or relative to the folder of the file."""
    names = [str(PurePosixPath(name).with_suffix("")) for name in file_names] if lfw else file_names
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise DataError(
            f"{source}: tells images by their names, and {len(twice):,} names are of several images, first: "
            f"{twice[0]!r}"
        )
    if lfw:
        return {name: place for place, name in enumerate(names)}.get
    here = {name: place for place, name in enumerate(file_names)}
    if root is None or any(one in here or other in here for _, one, other, _, _ in lines):
        return here.get
    beside, folder = root.resolve(), source.parent.resolve()

    def relative(name: str) -> int | None:
        path = folder / name
        return here.get(path.relative_to(beside).as_posix()) if path.is_relative_to(beside) else None

    return relative


def _some(source: Path, problems: Sequence[str]) -> list[str]:
    return [*problems[:SHOWN], *and_more(source, len(problems))]
