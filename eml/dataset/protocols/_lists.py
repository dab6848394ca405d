"""Readers of the lists that downloads bring: words in lines, numbers, files in a folder."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from eml.dataset.problems import SHOWN, short_repr
from eml.dataset.protocols.base import Protocol, place
from eml.errors import DataError, Problem

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def required(root: Path, alternatives: Sequence[str]) -> Path:
    """Return the file or folder of a layout that was checked."""
    path = place(root, alternatives)
    assert path is not None, alternatives
    return path


def located(protocol: type[Protocol], root: Path) -> list[Path]:
    """Return the files and folders of a protocol's layout, in its order."""
    return [required(root, alternatives) for alternatives in protocol.layout]


def read_text(source: Path) -> str:
    """Return the text of a list. Raises DataError where it is no UTF-8 text."""
    try:
        return source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        text = f"{source}: is not UTF-8 text ({error.reason} at byte {error.start:,}); fetch it again"
        raise DataError(text, code="not-utf-8", parameter="dataset") from error
    except OSError as error:
        text = f"{source}: cannot be read: {error.strerror}"
        raise DataError(text, code="not-readable", parameter="dataset") from error


def read_words(source: Path, names: Sequence[str], *, skip: int = 0) -> list[tuple[str, ...]]:
    """Return the words of each line that is not empty.

    Args:
        source: A list; words are separated by blanks or tabs.
        names: What each word is, for the error.
        skip: Lines at the beginning that hold a count or a header.

    Raises:
        DataError: Lines have another number of words, or there is none.
    """
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for number, line in enumerate(read_text(source).splitlines(), 1):
        words = line.split()
        if number <= skip or not words:
            continue
        if len(words) == len(names):
            rows.append(tuple(words))
        else:
            text = f"{source}:{number}: must be {' '.join(names)}, got {short_repr(line.strip())}"
            problems.append(Problem(text, "not-a-table", "dataset"))
    refuse(source, problems)
    if not rows:
        text = f"{source}: has no line of {' '.join(names)}"
        raise DataError(text, code="empty-table", parameter="dataset")
    return rows


def refuse(source: Path, problems: Sequence[Problem]) -> None:
    """Raise a DataError with the first problems of a list, if there are any."""
    if len(problems) > SHOWN:
        more = Problem(f"{source}: and {len(problems) - SHOWN:,} more lines", "more-problems", "dataset")
        problems = [*problems[:SHOWN], more]
    if problems:
        raise DataError(problems)


def by_id(source: Path, rows: Sequence[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return first word → the others. Raises DataError where an id stands twice."""
    table: dict[str, tuple[str, ...]] = {}
    for first, *others in rows:
        if first in table:
            text = f"{source}: the id {first!r} stands in it more than once"
            raise DataError(text, code="not-a-table", parameter="dataset")
        table[first] = tuple(others)
    return table


def whole(source: Path, text: str, meaning: str) -> int:
    """Return a whole number of a list. Raises DataError where it is none."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        message = f"{source}: {meaning} must be a whole number, got {short_repr(text)}"
        raise DataError(message, code="not-a-table", parameter="dataset")
    return int(text)


def image_files(folder: Path) -> Iterator[str]:
    """Yield the names of the images in a folder, sorted; other files, such as Thumbs.db, are left out."""
    names = (path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    yield from sorted(name for name in names if not name.startswith("."))


def frame_of(rows: Sequence[dict[str, Any]], source: Path) -> pd.DataFrame:
    """Return rows as a table. Raises DataError where there is none, or an image stands in several."""
    frame = pd.DataFrame(list(rows))
    if frame.empty:
        raise DataError(f"{source}: names no image", code="empty-table", parameter="dataset")
    again = frame["file_name"][frame["file_name"].duplicated()]
    if len(again):
        text = f"{source}: {len(again):,} images stand in it more than once, the first: {again.iloc[0]!r}"
        raise DataError(text, code="repeated-image", parameter="dataset")
    return frame
