"""Sort photos into a folder per class: nothing is overwritten, and a kill loses nothing.

What is to go where is written to a hidden list first, then the images are moved or copied, then the list becomes part
of `sorted_images.csv`. A later call finishes a list that a killed process has left.
"""

import csv
import errno
import filecmp
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from eml.errors import OutputError
from eml.files import LONGEST_NAME, digest, not_writable, sync, temporary_path, unwritable, whole_file
from eml.images.packed.members import member_digest, read_member, split_member

LIST = "sorted_images.csv"
PENDING = ".eml-sorting.csv"
UNKNOWN_FOLDER = "unknown"
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)
"""Codes of a file system that cannot give a file a second name, or not across two of them."""

Action = Literal["move", "copy"]


@dataclass(frozen=True)
class SortedImage:
    """A line of the list.

    Attributes:
        file_name: Where the image was, as an absolute path.
        sorted_to: Where it is, relative to the folder of the list.
        label: The answer; the best class too where it is unknown.
        unknown: true, false, or empty without a calibration.
        action: move or copy.
    """

    file_name: str
    sorted_to: str
    label: str
    unknown: str
    action: str


COLUMNS = [field.name for field in fields(SortedImage)]


@dataclass(frozen=True)
class ImageToSort:
    """An image and its answer. unknown: None without a calibration."""

    path: Path
    label: str
    unknown: bool | None


@dataclass(frozen=True)
class Sorting:
    """The outcome.

    Attributes:
        path: The list of what went where.
        placed: Images that were moved or copied now.
        in_place: Images that were there already.
        problems: A line for each image that stays where it is, with the reason.
    """

    path: Path
    placed: int
    in_place: int
    problems: tuple[str, ...] = ()


def check_sorting(folder: Path) -> None:
    """Raise an OutputError if images cannot be sorted into a folder, or its lists are not eml's."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, not a folder to sort images into", code="not-a-folder")
    if reason := unwritable(folder):
        raise OutputError(f"{reason}. Give another folder", code="not-writable")
    for name in (LIST, PENDING):
        _read(folder / name)


def sort_images(
    folder: Path, images: Iterable[ImageToSort], action: Action, advance: Callable[[int], None] = lambda done: None
) -> Sorting:
    """Move or copy images into a folder per class, `unknown` for those that are of none.

    Args:
        folder: The folder of the classes' folders; made where it is missing.
        images: The images, each once.
        action: move or copy.
        advance: Called with 1 after each image.

    Raises:
        OutputError: The folder cannot be written.
    """
    finish_sorting(folder)
    pending, in_place = _plan(folder, list(images), action)
    if pending:
        _write(folder / PENDING, pending)
    finished = finish_sorting(folder, advance)
    return Sorting(finished.path, finished.placed, in_place + finished.in_place, finished.problems)


def finish_sorting(folder: Path, advance: Callable[[int], None] = lambda done: None) -> Sorting:
    """Move or copy what a list says that is not done, which a killed process may have left, and keep the list."""
    pending = _read(folder / PENDING)
    problems, done = [], []
    placed = 0
    for entry in pending:
        try:
            placed += _place(Path(entry.file_name), folder / entry.sorted_to, entry.action)
            done.append(entry)
        except FileExistsError:
            problems.append(f"{entry.file_name}: stays, since {folder / entry.sorted_to} exists now")
        except OSError as error:
            problems.append(f"{entry.file_name}: stays: {error.strerror or error}")
        advance(1)
    if pending:
        _write(folder / LIST, list(dict.fromkeys([*_read(folder / LIST), *done])))
        (folder / PENDING).unlink(missing_ok=True)  # another process may have finished it too
    return Sorting(folder / LIST, placed, len(done) - placed, tuple(problems))


def class_folders(labels: Iterable[str], earlier: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return label → a name that a folder can have, different for each label, from the unknown ones' and the lists'.

    Args:
        labels: The classes.
        earlier: The folders that classes have already.
    """
    names = dict(earlier)
    used = {_spelling(name) for name in (UNKNOWN_FOLDER, LIST, PENDING, *earlier.values())}
    for label in sorted(set(labels) - earlier.keys()):
        plain = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", label).strip(" ") or "_"
        plain = re.sub(r"^\.+|\.+$", lambda dots: "_" * len(dots[0]), plain)
        plain = plain.encode()[: LONGEST_NAME - 10].decode(errors="ignore")
        numbered = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(used) + 2))
        names[label] = next(name for name in numbered if _spelling(name) not in used)
        used.add(_spelling(names[label]))
    return names


def _spelling(name: str) -> str:
    """Return what is equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class _Earlier:
    """The list of earlier calls: the folders of classes, and the copies of images."""

    def __init__(self, folder: Path) -> None:
        entries = _read(folder / LIST)
        known = {entry.label: Path(entry.sorted_to).parts[0] for entry in entries if entry.unknown != "true"}
        self.folder, self.folders = folder, known
        self.copies: dict[str, list[str]] = {}
        for entry in entries:
            self.copies.setdefault(entry.file_name, []).append(entry.sorted_to)

    def has(self, path: Path, place: Path, action: Action) -> bool:
        """Return whether an image lies in the folder of its class, or a copy of it where copies are made."""
        if os.path.realpath(path.parent) == os.path.realpath(self.folder / place):
            return True
        own = [name for name in self.copies.get(str(path), []) if Path(name).parent == place]
        copies = [self.folder / name for name in dict.fromkeys([*own, (place / path.name).as_posix()])]
        return action == "copy" and any(copy.is_file() and _is_same(path, copy) for copy in copies)


def _plan(folder: Path, images: Sequence[ImageToSort], action: Action) -> tuple[list[SortedImage], int]:
    """Return where each image goes, and how many are there already."""
    earlier, places = _Earlier(folder), _FreePlaces(folder)
    names = class_folders((image.label for image in images), earlier.folders)
    entries = []
    in_place = 0
    for image in images:
        path = image.path.absolute()
        place = Path(UNKNOWN_FOLDER if image.unknown else names[image.label])
        if earlier.has(path, place, action):
            in_place += 1
            continue
        unknown = "" if image.unknown is None else str(image.unknown).lower()
        entries.append(SortedImage(str(path), places.take(place / path.name), image.label, unknown, action))
    return entries, in_place


class _FreePlaces:
    """Gives places in a folder where nothing is, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[str] = set()
        self._numbers: dict[Path, int] = {}

    def take(self, place: Path) -> str:
        """Return the place, or `name-2.jpg`, …, where there is nothing and no other image goes."""
        number = self._numbers.get(place, 1)
        while True:
            candidate = place if number == 1 else place.with_name(f"{place.stem}-{number}{place.suffix}")
            number += 1
            spelling = _spelling(candidate.as_posix())
            if spelling not in self._used and not os.path.lexists(self.folder / candidate):
                break
        self._numbers[place] = number
        self._used.add(spelling)
        return candidate.as_posix()


def _place(source: Path, target: Path, action: str) -> bool:
    """Move or copy a file to where nothing is; return False if that is done already.

    Raises:
        OSError: It cannot be done; FileExistsError if another file is there.
    """
    is_there, is_packed = os.path.lexists(target), split_member(source) is not None
    if not os.path.lexists(source) and not is_packed and is_there:
        return False
    if is_packed and action == "move":
        raise OSError(errno.EROFS, "it lies inside a packed file, of which it can only be copied")
    if is_there and not _is_same(source, target):
        raise FileExistsError(target)
    if not is_there:
        _make_folder(target.parent)
        if action == "copy" or source.is_symlink() or not _link(source, target):
            _copy(source, target)
    elif action == "copy":
        return False
    if action == "move":
        source.unlink()
    return True


def _is_same(source: Path, copy: Path) -> bool:
    """Return whether a file has the bytes of an image, which may lie inside a packed file."""
    content = member_digest(source)
    return filecmp.cmp(source, copy, shallow=False) if content is None else content == digest(copy)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file") from error


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name; return False where the file systems cannot."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a file whole or not at all, to where nothing is."""
    temporary = temporary_path(target)
    try:
        if (member := split_member(source)) is None:
            shutil.copy2(source, temporary)
        else:
            temporary.write_bytes(read_member(member, source))
        sync(temporary)
        if not _link(temporary, target):
            if os.path.lexists(target):
                raise FileExistsError(target)
            temporary.rename(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _read(path: Path) -> list[SortedImage]:
    """Return the lines of a list; none where there is no list.

    Raises:
        OutputError: The file is not a list that eml wrote.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error) as error:
        raise OutputError(f"{path}: cannot be read: {error}", code="damaged-file") from error
    is_list = header == COLUMNS and all(len(row) == len(COLUMNS) for row in rows)
    entries = [SortedImage(*row) for row in rows] if is_list else []
    if not is_list or not all(_is_place(entry.sorted_to) for entry in entries):
        text = f"{path}: exists and is not the list that eml classify keeps of sorted images. Give another folder"
        raise OutputError(text, code="file-exists")
    return entries


def _is_place(name: str) -> bool:
    """Return whether this is a file in the folder of a class, and nothing outside."""
    parts = name.split("/")
    return len(parts) == 2 and not {"", ".", ".."} & set(parts) and "\0" not in name


def _write(path: Path, entries: Sequence[SortedImage]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            whole_file(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(map(astuple, entries))
    except OSError as error:
        raise not_writable(path, error) from error
