"""The records of scans on disk: a stopped scan continues where it was, a later one reads only what changed.

They lie hidden beside the table NAME: `.NAME.eml-scan` holds the records of the last completed scan, and the work
folder `.NAME.eml-scan.parts` those of a scan that was stopped; it is removed when the scan is done. Both hold lines: a
digest of the rest of the line, and JSON of settings and records. A record is used only under the settings that it was
made with (hash kind, version of the reader, folder of the images) and only if the file's size and time (ns) are
unchanged.
"""

import hashlib
import json
import os
import shutil
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from eml.dataset.scanning.hashing import HashKind
from eml.dataset.scanning.inspect_file import FileRecord
from eml.dataset.scanning.records import ScanRecords
from eml.dataset.sidecar import from_folder
from eml.files import refuse_pipe, whole_file
from eml.images.packed.members import member_info, member_state
from eml.storage import RemotePath
from eml.storage.listing import known_info
from eml.units import MIB

_LINE = 10_000  # records; a line is parsed as a whole
_PROBLEM = ("file_name", "mtime", "bytes", "reason", "detail")  # fields of the record of an unusable file
_IMAGE = tuple(field.name for field in fields(FileRecord) if field.name not in ("reason", "detail"))
_LONGEST = 32 * MIB  # characters of a line
VERSION = 3
"""Raise it when the same file might be read with another result: records of other versions are not used."""


_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Side = Annotated[int, Field(ge=0, lt=2**31)]
_Hash = Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")]
_Content = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Record = (
    tuple[str, _Whole, _Count, _Content, _Side, _Side, str, str, _Hash, bool]  # as _IMAGE
    | tuple[str, _Whole, _Count, str, str]  # as _PROBLEM
)


@dataclass
class _RecordLine:
    """The content of a line."""

    settings: dict[str, Any]
    records: list[Any]
    """Each a `_Record`; of another version of the reader anything."""


@cache
def _content() -> TypeAdapter[_RecordLine]:
    return TypeAdapter(_RecordLine)


@cache
def _records() -> TypeAdapter[list[_Record]]:
    return TypeAdapter(list[_Record])


@dataclass(frozen=True)
class CacheHits:
    """Numbers of files that need not be read."""

    unchanged: int
    """Files that are unchanged since the last completed scan."""
    resumed: int
    """Files that a stopped scan has read."""


class ScanCache:
    """The records beside one table.

    Args:
        table: The table that the scan will write.
        root: The folder of the images.
        hash_kind: The hash of the scan.
        report: Receives a line where records cannot be used.
        shard: The file with the records of some of the files, and the folder of those of a stopped scan of them, in
            place of the usual ones, whose records are then used too. Such a file has the records of all its files.
    """

    def __init__(
        self,
        table: Path,
        root: Path,
        hash_kind: HashKind | None,
        report: Callable[[str], None],
        *,
        shard: tuple[Path, Path] | None = None,
    ) -> None:
        own = table.with_name(f".{table.name}.eml-scan")
        self.whole, self.parts = shard or (own, table.with_name(f"{own.name}.parts"))
        self._others = [own] if shard else []
        self._root, self._report = root, report
        self._settings = {
            "root": from_folder(root, table.parent),
            "hash_kind": hash_kind,
            "reader": reader_versions(hash_kind),
        }
        self._current = False  # whether `whole` has just the records it should have

    def load(self, records: ScanRecords, advance: Callable[[int], None]) -> CacheHits:
        """Put the records of unchanged files into `records`; `advance` is called with the number of records checked."""
        parts = sorted(self.parts.glob("[!.]*"), reverse=True) if self.parts.is_dir() else []
        resumed, _ = self._load(parts, records, advance)  # first, since they are newer
        wholes = [path for path in (self.whole, *self._others) if path.is_file()]
        unchanged, total = self._load(wholes, records, advance)
        self._current = not self._others and resumed == 0 and 0 < unchanged == total
        return CacheHits(unchanged, resumed)

    def add(self, records: ScanRecords, positions: Sequence[int]) -> None:
        """Write the records of these files as one more part, whole or not at all."""
        self._current = False
        with whole_file(self.parts / f"{time.time_ns():020}-{os.getpid()}") as temporary:
            self._write(temporary, records.settled(positions))

    def finish(self, records: ScanRecords, *, read: int) -> None:
        """Write the records of all files (read: the number that were not loaded), and remove the parts."""
        if read or not self._current:
            kept = records.all if self._others else records.settled
            with whole_file(self.whole) as temporary:
                self._write(temporary, kept(range(len(records.files))))
        shutil.rmtree(self.parts, ignore_errors=True)

    def load_shard(self, path: Path, records: ScanRecords) -> int:
        """Put the records of a shard's file into `records`, whether its files have changed since or not.

        Returns:
            The number of records.

        Raises:
            ValueError: The file is damaged, or of another scan.
        """
        count, position = 0, 0
        for line in self._lines(path):
            for values in line:
                position = bisect_left(records.files, values[0], position)
                if position == len(records.files) or records.files[position] != values[0]:
                    raise ValueError("it holds the record of a file that is not there")
                records.put(position, _from_json(values))
            count += len(line)
        return count

    def _write(self, path: Path, records: Iterator[FileRecord]) -> None:
        with path.open("w", encoding="ascii") as file:
            while line := [_as_json(record) for record in islice(records, _LINE)]:
                text = json.dumps({"settings": self._settings, "records": line}, separators=(",", ":"))
                file.write(f"{_digest(text.encode())} {text}\n")

    def _load(self, paths: Sequence[Path], records: ScanRecords, advance: Callable[[int], None]) -> tuple[int, int]:
        """Return the number of records that were used, and of all."""
        used = total = 0
        for path in paths:
            try:
                for line in self._lines(path):
                    total += len(line)
                    used += self._put_unchanged(line, records)
                    advance(len(line))
            except (OSError, ValueError, OverflowError) as error:
                self._report(f"warning: {path}: cannot be used, so more files are read than necessary ({error})")
        return used, total

    def _lines(self, path: Path) -> Iterator[list[_Record]]:
        refuse_pipe(path)
        with path.open(encoding="ascii") as file:
            while line := file.readline(_LONGEST):
                digest, _, text = line.rstrip("\n").partition(" ")
                if digest != _digest(text.encode()):
                    raise ValueError("it is damaged")
                try:
                    content = _content().validate_json(text)
                    if content.settings != self._settings:
                        return
                    records = _records().validate_python(content.records)
                except ValueError as error:  # pydantic's, of many lines
                    raise ValueError("it holds something else than records") from error
                yield records

    def _put_unchanged(self, line: list[_Record], records: ScanRecords) -> int:
        """Put the records whose files are unchanged; return their number."""
        files, used, position = records.files, 0, -1
        for values in line:
            name, mtime, size = values[:3]
            position += 1  # records are in the order of the files too
            if position >= len(files) or files[position] != name:
                position = bisect_left(files, name)
            if position == len(files) or files[position] != name or records.is_read(position):
                continue
            if self._is_unchanged(name, mtime, size):
                records.put(position, _from_json(values))
                used += 1
        return used

    def _is_unchanged(self, name: str, mtime: int, size: int) -> bool:
        """Return whether a file has the time or version and the size of its record."""
        if isinstance(self._root, RemotePath):
            return _is_unchanged_object(self._root / name, mtime, size)
        return _is_unchanged(f"{self._root}/{name}", mtime, size)


def _is_unchanged(path: str, mtime: int, size: int) -> bool:
    try:
        state = os.stat(path)  # noqa: PTH116 - a Path for each of a million is slow
        return (state.st_mtime_ns, state.st_size) == (mtime, size)
    except NotADirectoryError:
        return _is_unchanged_member(path, mtime, size)
    except OSError:
        return False


def _is_unchanged_member(path: str, mtime: int, size: int) -> bool:
    try:
        member = member_state(path)
    except OSError:
        return False
    return member is not None and member.mtime == mtime and member.size in (size, None)


def _is_unchanged_object(path: RemotePath, mtime: int, size: int) -> bool:
    if (info := known_info(path)) is not None:
        return (info.version, info.bytes) == (mtime, size)
    try:
        return (inside := member_info(path)) is not None and inside.version == mtime
    except OSError:
        return False


def _as_json(record: FileRecord) -> list[Any]:
    """Return the fields that the record sets: of an unusable file few, of an image all but the problem's."""
    names = _PROBLEM if record.reason else _IMAGE
    return [getattr(record, name) for name in names]


def _from_json(values: _Record) -> FileRecord:
    names = _IMAGE if len(values) == len(_IMAGE) else _PROBLEM
    facts: dict[str, Any] = dict(zip(names, values, strict=True))
    return FileRecord(**facts)


def reader_versions(hash_kind: HashKind | None) -> list[str]:
    """Return the versions that a record depends on; under others the same file might give another record."""
    packages = ["pillow", "imagehash"] if hash_kind == "phash-imagehash" else ["pillow"]
    return [*(f"{name} {version(name)}" for name in packages), f"reader {VERSION}"]


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
