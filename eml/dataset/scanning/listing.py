"""The files of a folder to read as images: one class per folder of a level, nothing outside the folder."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eml.dataset.scanning.class_level import FIRST, LAST, ClassLevel, class_of
from eml.dataset.scanning.file_problem import FileProblem as FileProblem
from eml.dataset.scanning.packed_listing import PackedImages, is_of_packed, missing_files
from eml.dataset.scanning.remote_entries import RemoteEntry, RemoteTree
from eml.errors import DataError, Problem
from eml.images.identify import reason_code
from eml.images.locate import LEAVES_ROOT, OUTSIDE
from eml.images.packed.members import PACKED_SUFFIXES
from eml.storage import RemotePath

# Files that operating systems leave in folders, besides those with a leading dot.
_LITTER = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"),
    *("$recycle.bin", "system volume information", "lost+found"),
}
_SIDECAR = ".eml.json"
_CONFIGS = (".yaml", ".yml")
_RUN = ("run.json", "config.yaml", "state.pt")
_OF_RUNS = ("folds.json", "sweep.json")  # of a training of every fold, of a sweep
_PROBE = "probe.json"
_COPY = "eml-upload.json"  # the list of a copy that eml upload made
_TABLES = (".csv", ".tsv", ".parquet")
_GIVE_CLASS_FOLDERS = "Give the folder that holds one folder of images per class"


Entry = os.DirEntry[str] | RemoteEntry


@dataclass
class Listing:
    """The files of a dataset's folder, in the order of their names."""

    classes: list[str] = field(default_factory=list)
    """Folders of the level, or folders without another one in them."""
    files: list[str] = field(default_factory=list)
    """POSIX, relative to the root; every file in a class, image or not."""
    problems: list[FileProblem] = field(default_factory=list)
    packed: PackedImages = field(default_factory=PackedImages)
    """Those of `files` that lie inside packed files, with their labels and other columns."""


def list_files(root: Path, class_level: ClassLevel = FIRST) -> Listing:
    """Walk the folder and list its files. class_level: which folders are the classes; files above them have none.

    Of a packed file the images inside are listed, each with the label that the packed file says, else by its folders.

    Hidden files, files that operating systems leave behind, and eml's own tables, configs and run folders are ignored
    without a message. Links to files within the folder are read, links that lead out of it are not. Links to folders
    are not followed, since a folder within is read in its own place.

    Raises:
        DataError: The folder, or a folder in it, cannot be listed, or it has no class.
    """
    check_folder(root)
    listing, folders = _walk(root, 1 if class_level == LAST else int(class_level), class_level)
    outer = {name.rpartition("/")[0] for name in folders} if class_level == LAST else set()
    listing.classes = sorted(
        name
        for name in folders
        if class_of(f"{name}/", class_level) == name
        and name not in outer
        and not any(file.startswith(f"{name}/") for file in listing.packed.files)
    )
    _check_content(root, listing, class_level)
    return listing


def list_unsorted_files(root: Path) -> Listing:
    """Walk a folder as `list_files` does, without classes: files beside and above class folders are listed too.

    Raises:
        DataError: A folder in it cannot be listed.
    """
    return _walk(root, 0, None)[0]


def _walk(root: Path, least: int, level: ClassLevel | None) -> tuple[Listing, list[str]]:
    """Return the files, and all folders.

    Args:
        root: The folder.
        least: Folders that must lie above a file.
        level: Which folders are the classes; None: images need none.
    """
    listing, refused, folders = Listing(), list[str](), list[str]()
    tree = RemoteTree(root) if isinstance(root, RemotePath) else None
    real_root = "" if tree else os.path.realpath(root)
    for name in tree.unusable if tree else ():
        listing.problems.append(FileProblem(name, "unusable_name", "its name is no path of a file; rename it"))
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(_entries(root, folder, tree))
        except OSError as error:
            text = f"{root / folder}: cannot be listed: {error.strerror}. Make it readable (chmod u+rx) or move it out"
            refused.append(Problem(text, "not-readable"))
            continue
        packed = {folder + entry.name for entry in entries if _is_packed(entry, folder + entry.name, real_root)}
        if tree is not None:
            listing.packed.read_ahead(root, sorted(packed))
        for entry in entries:
            name = folder + entry.name
            if name in packed and entry.is_file() and listing.packed.add(root, name, level):
                continue
            problem = _problem(entry, name, real_root, least)
            if problem:
                listing.problems.append(problem)
            elif entry.is_dir():
                waiting.append(f"{name}/")
                folders.append(name)
            else:
                listing.files.append(name)
    if refused:
        raise DataError(sorted(refused))
    if listing.packed.files:
        listing.files = [name for name in listing.files if not is_of_packed(name)]
        listing.problems = [problem for problem in listing.problems if not is_of_packed(problem.file_name)]
        listing.files += listing.packed.labels
    listing.problems += [*listing.packed.problems, *missing_files(root, listing.packed.files)]
    listing.files.sort()
    return listing, folders


def _entries(root: Path, folder: str, tree: RemoteTree | None) -> Iterator[Entry]:
    entries: Sequence[Entry]
    if tree is not None:
        entries = tree.entries(folder)
    else:
        with os.scandir(root / folder) as scanned:
            entries = list(scanned)
    own = {entry.name.removesuffix(_SIDECAR) for entry in entries if entry.name.endswith(_SIDECAR)}
    for entry in entries:
        name = entry.name
        ignored = name.startswith(".") or name.lower() in _LITTER or name in own or name.endswith(_SIDECAR)
        if not ignored and not (folder == "" and _is_ours(entry)):
            yield entry


def _is_ours(entry: Entry) -> bool:
    """Return whether it is a config, what a probe found, or a folder of runs beside the classes."""
    try:
        is_folder = entry.is_dir()
    except OSError:  # a link in a circle, which is listed as a link to nothing
        is_folder = False
    if is_folder:
        names = {name for name in (*_RUN, *_OF_RUNS) if _holds(entry, name)}
        return not names.isdisjoint(_OF_RUNS) or names.issuperset(_RUN)
    return entry.name.endswith(_CONFIGS) or entry.name in (_PROBE, _COPY)


def _is_packed(entry: Entry, name: str, real_root: str) -> bool:
    """Return whether a file may have images inside, by its name; links out of the root are not followed."""
    if not name.lower().endswith(PACKED_SUFFIXES) or os.fsencode(name).decode("utf-8", "replace") != name:
        return False
    return _problem(entry, name, real_root, 0) is None and entry.is_file()


def _holds(folder: Entry, name: str) -> bool:
    """Return whether a file of this name is in a folder."""
    if isinstance(folder, RemoteEntry):
        return name in folder.files
    return os.path.isfile(os.path.join(folder.path, name))  # noqa: PTH118, PTH113 - a Path for each class is slow


def _problem(entry: Entry, name: str, real_root: str, least: int) -> FileProblem | None:
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    if shown != name:
        return FileProblem(shown, "unusable_name", "its name is not valid UTF-8; rename it")
    if re.search(LEAVES_ROOT, name):
        return FileProblem(shown, "unusable_name", "its name reads like a path out of the dataset; rename it")
    if entry.is_symlink() and (problem := _link_problem(name, entry.path, real_root)):
        return problem
    if entry.is_dir():
        return None
    if not entry.is_file():
        return FileProblem(name, "not_an_image", "a pipe, socket or device, not a file")
    if "/" not in name and least:
        return FileProblem(name, "not_in_a_class", "lies beside the class folders; move it into one to use it")
    if name.count("/") < least:
        return FileProblem(name, "not_in_a_class", f"lies above the class folders, which are those of level {least}")
    return None


def _link_problem(name: str, path: str, real_root: str) -> FileProblem | None:
    target = Path(os.path.realpath(path))  # not Path.resolve, which fails on links in a circle
    if not target.is_relative_to(real_root):
        return FileProblem(name, "outside_dataset", OUTSIDE)
    if target.is_dir():
        where = target.relative_to(real_root).as_posix()
        return FileProblem(name, "linked_folder", f"a link to the folder {where}, which is read in its own place")
    if not target.exists():
        return FileProblem(name, "missing", "a link to nothing")
    return None


def check_folder(root: Path) -> None:
    """Raise a DataError where `root` is not a folder; the message says what it is."""
    if root.is_dir():
        return
    if not root.exists():
        text, code = f"{root}: no such folder. {_GIVE_CLASS_FOLDERS}", "missing-folder"
    elif root.suffix in (".csv", ".parquet"):
        advice = "scan makes a table from a folder. Tables go to eml filter, split and kfold"
        text, code = f"{root}: is a table; {advice}", "not-a-folder"
    elif root.suffix in (".tar", ".gz", ".tgz", ".zip", ".bz2", ".xz", ".7z", ".rar"):
        advice = "Unpack it, then give the folder that holds one folder per class"
        text, code = f"{root}: is an archive. {advice}", "not-a-folder"
    else:
        text, code = f"{root}: is a file, not a folder. {_GIVE_CLASS_FOLDERS}", "not-a-folder"
    raise DataError(text, code=code, parameter="dataset")


def nothing_usable(root: Path, problems: Sequence[FileProblem]) -> list[str]:
    """Return the lines of the error for a folder without a usable image: the reasons, and the first files."""
    counts = Counter(problem.reason for problem in problems).most_common()
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts)
    lines: list[str] = [f"{root}: no file in it is a usable image: {reasons}. The first:"]
    for problem in problems[:5]:
        text = f"{root / problem.file_name}: {problem.detail} ({problem.reason})"
        lines.append(Problem(text, reason_code(problem.reason)))
    return lines


def _check_content(root: Path, listing: Listing, class_level: ClassLevel) -> None:
    if listing.files:
        return
    files = [file.file_name for file in listing.problems if file.reason == "not_in_a_class"]
    tables = [name for name in files if name.lower().endswith(_TABLES)]
    layout = "A dataset has one folder per class: CLASS/image.jpg"
    reasons = [problem.reason for problem in listing.problems]
    if listing.packed.problems:
        raise DataError(nothing_usable(root, listing.packed.problems), code="no-images", parameter="dataset")
    deepest = max((name.count("/") for name in files), default=0)
    if class_level not in (FIRST, LAST) and deepest:
        text = f"{root}: no file lies {class_level} folders deep, the deepest {deepest}"
        raise DataError(f"{text}. Give `class_level={deepest}`", code="no-classes", parameter="class_level")
    if outside := reasons.count("outside_dataset"):
        text = f"holds only links that lead out of it ({outside:,}), which are not followed. Copy the images here, or "
        text, code = text + "scan the folder that they are in", "no-images"
    elif beside := reasons.count("not_in_a_class"):
        advice = "Sort the images into folders, or give the folder above if this is one class"
        if tables:
            advice = f"If {tables[0]} is a table of your images, eml split, kfold and train take it: {root / tables[0]}"
        text, code = f"no class folder, only files ({beside:,}). {layout}. {advice}", "no-classes"
    elif listing.classes:
        text, code = f"no images found: only empty folders ({len(listing.classes):,}). {layout}", "no-images"
    else:
        text, code = f"is empty. {layout}", "no-images"
    raise DataError(f"{root}: {text}", code=code, parameter="dataset")
