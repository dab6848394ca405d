"""Which files of a folder are to be read as images: one class per first-level folder, nothing outside the folder."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eml.dataset.problems import LEAVES_ROOT
from eml.dataset.scanning.inspect_file import Problem
from eml.errors import DataError

# What systems leave in folders; besides names with a leading dot.
_LITTER = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"),
    *("$recycle.bin", "system volume information", "lost+found"),
}
_SIDECAR = ".eml.json"
_CONFIGS = (".yaml", ".yml")
_RUN = ("run.json", "config.yaml", "state.pt")
_FOLDS = "folds.json"  # of a training of every fold


@dataclass
class Listing:
    """The files of a dataset's folder, in the order of their names."""

    classes: list[str] = field(default_factory=list)
    """First-level folders."""
    files: list[str] = field(default_factory=list)
    """POSIX, relative to the root; all that lies in a class, image or not."""
    problems: list[Problem] = field(default_factory=list)


def list_files(root: Path) -> Listing:
    """Walks the folder. Raises DataError when it, or a folder in it, cannot be listed, and when it has no class.

    Passed over in silence: hidden files, what operating systems leave behind, eml's own tables, configs and run
    folders.
    Links to files within the folder are read, links that lead out of it are not; links to folders are not followed,
    since a folder within is read in its own place.
    """
    check_folder(root)
    listing, refused = Listing(), []
    real_root = os.path.realpath(root)
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(_entries(root, folder))
        except OSError as error:
            refused.append(
                f"{root / folder}: cannot be listed: {error.strerror}. Make it readable (chmod u+rx) or move it out"
            )
            continue
        for entry in entries:
            name = folder + entry.name
            problem = _problem(entry, name, real_root)
            if problem:
                listing.problems.append(problem)
            elif entry.is_dir():
                waiting.append(f"{name}/")
                if not folder:
                    listing.classes.append(name)
            else:
                listing.files.append(name)
    if refused:
        raise DataError(sorted(refused))
    listing.classes.sort()
    listing.files.sort()
    _check_content(root, listing)
    return listing


def _entries(root: Path, folder: str) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(root / folder) as scanned:
        entries = list(scanned)
    own = {entry.name.removesuffix(_SIDECAR) for entry in entries if entry.name.endswith(_SIDECAR)}
    for entry in entries:
        name = entry.name
        passed_over = name.startswith(".") or name.lower() in _LITTER or name in own or name.endswith(_SIDECAR)
        if not passed_over and not (folder == "" and _is_ours(entry)):
            yield entry


def _is_ours(entry: "os.DirEntry[str]") -> bool:
    """A config, or the folder that a training left beside the classes."""
    if entry.is_dir():
        # os.path, since a Path for each class is slow
        there = {name for name in (*_RUN, _FOLDS) if os.path.isfile(os.path.join(entry.path, name))}  # noqa: PTH118, PTH113
        return _FOLDS in there or there.issuperset(_RUN)
    return entry.name.endswith(_CONFIGS)


def _problem(entry: "os.DirEntry[str]", name: str, real_root: str) -> Problem | None:
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    if shown != name:
        return Problem(shown, "unusable_name", "its name is not valid UTF-8; rename it")
    if re.search(LEAVES_ROOT, name):
        return Problem(shown, "unusable_name", "its name reads like a path out of the dataset; rename it")
    if entry.is_symlink() and (problem := _link_problem(name, entry.path, real_root)):
        return problem
    if entry.is_dir():
        return None
    if not entry.is_file():
        return Problem(name, "not_an_image", "no file but a pipe, socket or device")
    if "/" not in name:
        return Problem(name, "not_in_a_class", "lies beside the class folders; move it into one to use it")
    return None


def _link_problem(name: str, path: str, real_root: str) -> Problem | None:
    target = Path(os.path.realpath(path))  # not Path.resolve, which fails on links in a circle
    if not target.is_relative_to(real_root):
        return Problem(name, "outside_dataset", "a link that leads out of the dataset; put a copy here to use it")
    if target.is_dir():
        where = target.relative_to(real_root).as_posix()
        return Problem(name, "linked_folder", f"a link to the folder {where}, which is read in its own place")
    if not target.exists():
        return Problem(name, "missing", "a link to nothing")
    return None


def check_folder(root: Path) -> None:
    """Raises DataError where `root` is no folder, saying what is there instead."""
    if root.is_dir():
        return
    if not root.exists():
        raise DataError(f"{root}: no such folder. Give the folder that holds one folder of images per class")
    if root.suffix in (".csv", ".parquet"):
        raise DataError(f"{root}: is a table; scan makes one from a folder. Tables go to eml filter, split and kfold")
    if root.suffix in (".tar", ".gz", ".tgz", ".zip", ".bz2", ".xz", ".7z", ".rar"):
        raise DataError(f"{root}: is an archive. Unpack it, then give the folder that holds one folder per class")
    raise DataError(f"{root}: is a file, not a folder. Give the folder that holds one folder of images per class")


def _check_content(root: Path, listing: Listing) -> None:
    layout = "A dataset has one folder per class: CLASS/image.jpg"
    reasons = [problem.reason for problem in listing.problems]
    if listing.files:
        return
    if outside := reasons.count("outside_dataset"):
        raise DataError(f"{root}: holds only links that lead out of it ({outside:,}), which are not followed. Copy the "
                        "images here, or scan the folder that they are in")  # fmt: skip
    if beside := reasons.count("not_in_a_class"):
        raise DataError(f"{root}: no class folder, only files ({beside:,}). {layout}. Sort the images into folders, "
                        "or give the folder above if this is one class")  # fmt: skip
    if listing.classes:
        raise DataError(f"{root}: no images found: only empty folders ({len(listing.classes):,}). {layout}")
    raise DataError(f"{root}: is empty. {layout}")
