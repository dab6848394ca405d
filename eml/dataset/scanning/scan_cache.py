"""What scans have read, kept on disk: a scan that was stopped goes on where it was, a later one reads what changed.

Beside the table NAME, and hidden: `.NAME.eml-scan`, what the last whole scan read, and the work folder
`.NAME.eml-scan.parts`, what one that was stopped has read; that goes when the scan is done. Both hold lines: a digest
of the rest, JSON of settings and records. A record is used only under the settings it was made with (hash kind, the
code that reads, the folder of the images) and only if the file's size and time (ns) are what they were.
"""

import hashlib
import json
import os
import shutil
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from eml.dataset.scanning.hashing import HashKind
from eml.dataset.scanning.records import Record, ScanRecords
from eml.dataset.sidecar import from_folder
from eml.files import whole_file

_LINE = 10_000  # records; a line is parsed as a whole
VERSION = 1
"""To be raised when the same file might be read with another result: records of other versions are not used."""


@dataclass(frozen=True)
class CacheHits:
    """Numbers of files that need not be read."""

    unchanged: int
    """Since the last whole scan."""
    resumed: int
    """Read by a scan that was stopped."""


class ScanCache:
    """The records beside one table. report: is told a line where they cannot be used."""

    def __init__(self, table: Path, root: Path, hash_kind: HashKind | None, report: Callable[[str], None]) -> None:
        self.whole = table.with_name(f".{table.name}.eml-scan")
        self.parts = table.with_name(f".{table.name}.eml-scan.parts")
        self._root, self._report = root, report
        self._settings = {
            "root": from_folder(root, table.parent),
            "hash_kind": hash_kind,
            "reader": _reader(hash_kind),
        }
        self._current = False  # whether `whole` has just the records it should have

    def take_over(self, collected: ScanRecords, advance: Callable[[int], None]) -> CacheHits:
        """Puts the records of unchanged files into `collected`. advance: told how many records are newly looked at."""
        parts = sorted(self.parts.glob("[!.]*"), reverse=True) if self.parts.is_dir() else []
        resumed, _ = self._take(parts, collected, advance)  # first, since they are newer
        unchanged, found = self._take([self.whole] if self.whole.is_file() else [], collected, advance)
        self._current = resumed == 0 and 0 < unchanged == found
        return CacheHits(unchanged, resumed)

    def add(self, collected: ScanRecords, positions: Sequence[int]) -> None:
        """Writes what was found in these files as one more part, whole or not at all."""
        self._current = False
        with whole_file(self.parts / f"{time.time_ns():020}-{os.getpid()}") as temporary:
            self._write(temporary, collected.records(positions))

    def finish(self, collected: ScanRecords, *, read: int) -> None:
        """Writes what was found in all files (read: how many were not taken over), and removes the parts."""
        if read or not self._current:
            with whole_file(self.whole) as temporary:
                self._write(temporary, collected.records(range(len(collected.files))))
        shutil.rmtree(self.parts, ignore_errors=True)

    def _write(self, path: Path, records: Iterator[Record]) -> None:
        with path.open("w", encoding="ascii") as file:
            while line := list(islice(records, _LINE)):
                text = json.dumps({"settings": self._settings, "records": line}, separators=(",", ":"))
                file.write(f"{_digest(text.encode())} {text}\n")

    def _take(self, paths: Sequence[Path], collected: ScanRecords, advance: Callable[[int], None]) -> tuple[int, int]:
        """How many records were taken and how many there were."""
        taken = found = 0
        for path in paths:
            try:
                for records in self._lines(path):
                    found += len(records)
                    taken += self._take_unchanged(records, collected)
                    advance(len(records))
            except (OSError, ValueError) as error:
                self._report(f"warning: {path}: cannot be used, so more is read than need be ({error})")
        return taken, found

    def _lines(self, path: Path) -> Iterator[list[Record]]:
        with path.open(encoding="ascii") as file:
            for line in file:
                digest, _, text = line.rstrip("\n").partition(" ")
                if digest != _digest(text.encode()):
                    raise ValueError("it is damaged")
                content: dict[str, Any] = json.loads(text)
                if content["settings"] != self._settings:
                    return
                yield content["records"]

    def _take_unchanged(self, records: list[Record], collected: ScanRecords) -> int:
        files, taken, position = collected.files, 0, -1
        for record in records:
            name, mtime, size = record[:3]
            position += 1  # records are in the order of the files too
            if position >= len(files) or files[position] != name:
                position = bisect_left(files, name)
            if position == len(files) or files[position] != name or collected.is_read(position):
                continue
            try:
                state = os.stat(f"{self._root}/{name}")  # noqa: PTH116 - a Path for each of a million is slow
            except OSError:
                continue
            if (state.st_mtime_ns, state.st_size) == (mtime, size):
                collected.put_record(position, record)
                taken += 1
        return taken


def _reader(hash_kind: HashKind | None) -> list[str]:
    """Changes whenever the same file might be read with another result."""
    packages = ["pillow", "imagehash"] if hash_kind == "phash-imagehash" else ["pillow"]
    made_with = [f"{name} {version(name)}" for name in packages]
    return [*made_with, f"reader {VERSION}"]


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
