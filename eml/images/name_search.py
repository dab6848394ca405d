"""Find the images under a root whose paths differ from a name only in slashes, case or suffix."""

import os
import re
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath

from eml.images.locate import is_image_name, stays_within

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif"),
    *(".jp2", ".jxl", ".ppm", ".pgm", ".pbm", ".tga", ".mpo"),
}
"""Suffixes of images, in lower case."""

_SLASHES = re.compile(r"[\\/]+")


class _Folder:
    """The files and folders of a folder, by their names in one case and form."""

    def __init__(self, root: Path, folder: str) -> None:
        self.names: set[str] = set()
        self.folders: dict[str, list[str]] = defaultdict(list)
        self.files: dict[str, list[str]] = defaultdict(list)
        self.stems: dict[str, list[str]] = defaultdict(list)
        if folder and not stays_within(root, f"{folder}/."):
            return
        try:
            with os.scandir(root / folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    self._add(entry)
        except (OSError, ValueError):
            return

    def _add(self, entry: "os.DirEntry[str]") -> None:
        if not is_image_name(entry.name):
            return
        if entry.is_dir():
            self.folders[_key(entry.name)].append(entry.name)
        elif entry.is_file():
            self.names.add(entry.name)
            self.files[_key(entry.name)].append(entry.name)
            path = PurePosixPath(entry.name)
            if path.suffix.lower() in SUFFIXES:
                self.stems[_key(path.stem)].append(entry.name)

    def fitting(self, name: str) -> list[str]:
        """Return the files that the name may mean: itself, else in another case, else with another suffix or one."""
        if name in self.names:
            return [name]
        path = PurePosixPath(name)
        stem = path.stem if path.suffix.lower() in SUFFIXES else name
        return self.files.get(_key(name)) or self.stems.get(_key(stem)) or []


class ImageFinder:
    """Finds images under a root, and reads each folder once."""

    def __init__(self, root: Path) -> None:
        """Keep the root; nothing is read yet."""
        self.root = root
        self._folders: dict[str, _Folder] = {}

    def exact(self, name: str) -> list[str]:
        """Return the name where there is such a file under the root, and nothing else."""
        folder, _, last = name.rpartition("/")
        if ".." in name.split("/") or name.startswith("/") or not is_image_name(name):
            return []
        return [name] if last in self._read(folder).names and stays_within(self.root, name) else []

    def similar(self, name: str) -> list[str]:
        """Return the files under the root that the name may mean, several where it is not clear."""
        if files := self.exact(name):
            return files
        parts = [part for part in _SLASHES.split(name) if part != "."]
        if not parts or ".." in parts or not is_image_name(name):
            return []
        *parents, last = parts
        folders = [""]
        for part in parents:
            folders = [_join(folder, child) for folder in folders for child in self._children(folder, part)]
        files = [_join(folder, file) for folder in folders for file in self._read(folder).fitting(last)]
        return [file for file in files if stays_within(self.root, file)]

    def _children(self, folder: str, name: str) -> list[str]:
        """Return the folders in a folder that the name may mean: itself, else in another case."""
        children = self._read(folder).folders.get(_key(name), [])
        return [name] if name in children else children

    def folders(self, most: int) -> list[str]:
        """Return the folders under the root, the nearest first, at most so many."""
        folders = [""]
        for folder in folders:  # grows meanwhile
            for children in self._read(folder).folders.values():
                folders += [_join(folder, child) for child in children if not child.startswith(".")]
            if len(folders) > most:
                break
        return folders[1 : most + 1]

    def _read(self, folder: str) -> _Folder:
        if folder not in self._folders:
            self._folders[folder] = _Folder(self.root, folder)
        return self._folders[folder]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
