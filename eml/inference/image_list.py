"""Images to embed, as their user names them: folders, a table, patterns, files, or a list on stdin."""

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.columns import BOX
from eml.dataset.pipeline import read_current_table
from eml.dataset.scanning.class_level import FIRST, ClassLevel, class_of
from eml.dataset.scanning.listing import FileProblem, list_unsorted_files
from eml.dataset.table import Table
from eml.dataset.table_names import is_csv, is_parquet
from eml.errors import DataError, Problem
from eml.files import is_within
from eml.images.flatten import Background
from eml.images.locate import LEAVES_ROOT, image_path, is_image_name
from eml.images.source import FileSource
from eml.progress import Report
from eml.storage import as_place, common_place, is_remote, is_url

STDIN = "-"
"""Stands for a list of paths on stdin: one a line, or with NUL between them."""

UNUSABLE = list(FileProblem._fields)
"""Columns of the files that cannot be read."""

_SEVERAL = "the images"  # the name of a list of several names


@dataclass(frozen=True)
class ImageList:
    """Images and what is known of them.

    Attributes:
        frame: A row for each image or box: `file_name` (POSIX, relative to the root), `label` ("" = none), and in a
            table `x_1, y_1, x_2, y_2` and all of its other columns.
        root: The folder that the file names are relative to.
        name: The name for messages.
        unusable: Files of a folder that are not read at all: `file_name, reason, detail`.
        table: The table that the rows are of, None where there is none.
        follow_links: Whether links that lead out of the root are read, since their user named each file.
    """

    frame: pd.DataFrame
    root: Path
    name: str = _SEVERAL
    unusable: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=UNUSABLE, dtype=object))
    table: Table | None = None
    follow_links: bool = False

    def __len__(self) -> int:
        """Return the number of images and boxes."""
        return len(self.frame)

    def locate(self, row: int) -> Path:
        """Return the path of a row's image. Raises ImageError for a table's image outside of the root."""
        name = str(self.frame["file_name"].iloc[row])
        return self.root / name if self.follow_links else image_path(self.root, name)

    def files(self, background: Background = "contrast") -> FileSource:
        """Return the image files, with their boxes, in the order of the rows; background: under transparency."""
        frame = self.frame
        boxes = frame[list(BOX)].fillna(-1).to_numpy(np.int64) if set(BOX) <= set(frame.columns) else None
        names = frame["file_name"].tolist()
        return FileSource(self.root, names, boxes, background=background, follow_links=self.follow_links)


def list_images(
    names: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    root: Path | None = None,
    columns: ColumnMap = AS_NAMED,
    class_level: ClassLevel | None = None,
    label: str | None = None,
    report: Report = lambda line: None,
) -> ImageList:
    """Return the images that names mean; each file once, in the order of the names.

    Args:
        names: A table (CSV or Parquet) alone; or folders, which are walked and need no scan, patterns such as
            `photos/*.jpg`, files, and `-` for a list of paths on stdin.
        root: The folder that file names are relative to. None: of a table as it says; of a folder itself, of several
            the folder that holds them; else the current folder where it holds all images, or the folder that does.
        columns: Says how a table of the user's own is read. It needs no labels.
        class_level: Which folder of an image's path is its label. None: of images in packed files what these say, of
            others in named folders the first one below these, else none.
        label: The label of all images, in place of their own.
        report: Receives what is odd about a table.

    Raises:
        DataError: A name fits nothing, no image is there, or a table cannot be read.
    """
    texts = [_text(name) for name in ([names] if isinstance(names, str | os.PathLike) else names)]
    tables = [text for text in texts if _is_table(text)]
    if tables:
        if len(texts) > 1:
            text = f"{tables[0]}: is a table, which is named alone; leave it out, or leave out the others"
            raise DataError(text, code="conflicting-settings", parameter="images")
        images = _of_table(_place(tables[0]), root, columns, class_level, report)
    elif parameters := columns.parameters:
        first = next(iter(parameters))
        text = f"`{first}` goes with a table, and {texts[0] if texts else 'an empty list'} is none"
        raise DataError(text, code="conflicting-settings", parameter=first)
    else:
        images = _of_names(texts, root, class_level)
    return images if label is None else _labelled(images, label)


def _text(name: str | os.PathLike[str]) -> str:
    return str(name) if is_remote(name) else os.fspath(name)


def _place(text: str) -> Path:
    """Return the path of a name. Raises DataError for a URL that is not read."""
    try:
        return as_place(text) if is_url(text) else Path(text)
    except ValueError as error:
        raise DataError(f"`images` {error}", code="invalid-value", parameter="images") from error


def _labelled(images: ImageList, label: str) -> ImageList:
    images.frame["label"] = label
    return images


def _is_table(text: str) -> bool:
    path = _place(text)
    return text != STDIN and (is_csv(path) or is_parquet(path)) and path.is_file()


def _of_table(
    path: Path, root: Path | None, columns: ColumnMap, class_level: ClassLevel | None, report: Report
) -> ImageList:
    if class_level is not None:
        text = f"`class_level` goes with a folder, and {path} is a table, which has the labels"
        raise DataError(text, code="conflicting-settings", parameter="class_level")

    def tell(line: str) -> None:
        if not line.endswith(": embedding"):  # a file of embeddings has them in a column that is no text, as it should
            report(line)

    table = read_current_table(path, root, columns=columns, check_files=False, needs_labels=False, report=tell)
    return ImageList(table.frame, table.root, str(path), table=table)


@dataclass(frozen=True)
class _Named:
    """The folders to walk and the files that names mean; all are absolute."""

    folders: list[Path]
    files: list[Path]


def _of_names(texts: Sequence[str], root: Path | None, class_level: ClassLevel | None) -> ImageList:
    named = _expanded(texts)
    top = _common(named.folders) if named.folders else None
    base = _root(root, named, top)
    rows: dict[str, str] = {}  # name → label; each once, in order
    unusable: list[FileProblem] = []
    for folder in named.folders:
        listing = list_unsorted_files(folder)
        for name in listing.files:
            path = folder / name
            label = listing.packed.labels.get(name) if class_level is None else None
            if label is None:
                label = class_of(_relative(path, top or folder), class_level or FIRST)
            rows.setdefault(_relative(path, base), label)
        unusable += [
            problem._replace(file_name=_relative(folder / problem.file_name, base)) for problem in listing.problems
        ]
    for path in named.files:
        name = _relative(path, base)
        if problem := _name_problem(name):
            unusable.append(problem)
        else:
            rows.setdefault(name, class_of(name, class_level) if class_level is not None else "")
    if not rows and not unusable:
        where = str(texts[0]) if len(texts) == 1 and texts[0] != STDIN else "the list"
        raise DataError(f"{where}: holds no images", code="no-images", parameter="images")
    frame = pd.DataFrame({"file_name": list(rows), "label": list(rows.values())}, dtype=object)
    single = len(named.folders) == 1 and not named.files
    return ImageList(
        frame,
        base,
        str(texts[0]) if len(texts) == 1 and texts[0] != STDIN else _SEVERAL,
        pd.DataFrame(unusable, columns=UNUSABLE, dtype=object),
        follow_links=not single,
    )


def _expanded(texts: Sequence[str]) -> _Named:
    """Return the folders and files of the names. Raises DataError with a problem for each that fits nothing."""
    named = _Named([], [])
    problems = []
    for text in texts:
        if text == STDIN:
            named.files.extend(_absolute(name) for name in _names_on_stdin())
        elif (problem := _expand(text, named)) is not None:
            problems.append(problem)
    if problems:
        raise DataError(problems)
    return _Named(list(dict.fromkeys(named.folders)), list(dict.fromkeys(named.files)))


def _expand(text: str, named: _Named) -> Problem | None:
    """Add what a name means to the folders or files; return the problem where it means nothing."""
    path = _absolute(text)
    if path.is_dir():
        named.folders.append(path)
    elif path.is_file() if is_remote(path) else os.path.lexists(path):
        named.files.append(path)
    elif glob.has_magic(text) and is_remote(path):
        advice = "patterns are not looked for in remote places; give a folder, a table or the files"
        return Problem(f"{text}: {advice}", "remote-place", "images")
    elif glob.has_magic(text):
        pattern = os.path.expanduser(text)  # noqa: PTH111
        matches = [_absolute(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
        if not matches:
            return Problem(f"{text}: the pattern fits no file", "missing-file", "images")
        named.files.extend(match for match in matches if not match.is_dir())
        if "**" not in pattern:  # which gives what is in the folders too
            named.folders.extend(match for match in matches if match.is_dir())
    else:
        return Problem(f"{text}: no such file or folder", "missing-file", "images")
    return None


def _names_on_stdin() -> Iterator[str]:
    """Yield the paths on stdin: with NUL between them if there is one, else one a line."""
    stream = getattr(sys.stdin, "buffer", None)
    text = os.fsdecode(stream.read()) if stream is not None else sys.stdin.read()
    for name in text.split("\0") if "\0" in text else text.replace("\r\n", "\n").split("\n"):
        if name.strip():
            yield name


def _absolute(text: str) -> Path:
    return _place(text) if is_url(text) else Path(os.path.abspath(text))  # noqa: PTH100 - it follows no links


def _common(folders: Sequence[Path]) -> Path:
    """Return the folder that holds all, itself where it is one."""
    try:
        return common_place(folders)
    except ValueError as error:  # drives, on Windows; a bucket and a folder
        text = (
            f"no folder holds all of {', '.join(map(str, folders[:3]))}: give images of one drive or bucket at a time"
        )
        raise DataError(text, code="no-common-folder") from error


def _root(root: Path | None, named: _Named, top: Path | None) -> Path:
    """Return the folder that all names are relative to.

    Raises:
        DataError: The root is no folder, or an image is not under it.
    """
    places = [*named.folders, *(path.parent for path in named.files)]
    if root is None:
        if top is not None and not named.files:
            return top
        here = Path.cwd()
        return here if all(place.is_relative_to(here) for place in places) else _common(places)
    if not root.is_dir():
        raise DataError(f"`root` {root}: no such folder", code="missing-folder", parameter="root")
    outside = [place for place in places if not is_within(place, root)]
    if outside:
        text = f"{outside[0]}: is not under {root}, the `root` that file names are relative to"
        raise DataError(text, code="path-outside-root", parameter="root")
    return _absolute(str(root))


def _relative(path: Path, root: Path) -> str:
    """Return a path relative to the root, as a table has it."""
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return (Path(os.path.realpath(path.parent)) / path.name).relative_to(os.path.realpath(root)).as_posix()


def _name_problem(name: str) -> FileProblem | None:
    """Return why no table can hold the name of a file, None where one can."""
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    if shown != name or not is_image_name(name):
        return FileProblem(shown, "unusable_name", "its name is not valid UTF-8, or too long; rename it")
    if re.search(LEAVES_ROOT, name):
        return FileProblem(name, "unusable_name", "its name reads like a path out of its folder; rename it")
    return None


def unusable_rows(problems: Iterable[FileProblem]) -> pd.DataFrame:
    """Return the rows of X_errors.csv."""
    return pd.DataFrame(list(problems), columns=UNUSABLE, dtype=object)
