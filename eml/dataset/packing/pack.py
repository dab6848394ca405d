"""Packed files of a table: written one by one beside their place, taken up again after a kill, put in place as one."""

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from eml.dataset.packing.place import README, TABLES, PackedShard, check_place, is_work
from eml.dataset.packing.plan import FOLDER, IMAGE, OWN_NAME, PackPlan
from eml.dataset.packing.shard_files import Images, write_parquet, write_tar
from eml.dataset.recorded_content import has_content
from eml.dataset.scanning.packed_listing import MANIFEST
from eml.dataset.sidecar import sidecar_path
from eml.dataset.table import write_tables
from eml.dataset.unknown_label import unknown_label_notes
from eml.errors import DataError, OutputError, Problem
from eml.files import (
    bytes_digest,
    digest,
    exchange,
    is_temporary,
    not_writable,
    real_path,
    remove_temporaries,
    sync,
    whole_file,
    write_json,
    write_text,
)
from eml.images.decode import ImageError, read
from eml.images.identify import identify, quiet_pillow
from eml.images.locate import image_path
from eml.json_files import read_json
from eml.threads import in_order
from eml.units import MIB

_DONE = ".done"
"""The folder of what is known of the packed files that are written."""
_PLAN = "plan.json"
_MOST_LISTED = 20

Advance = Callable[[int], None]


@dataclass(frozen=True)
class _DoneRecord:
    """A packed file that is written, and the time of its last change (ns), by which one that changed is noticed."""

    shard: PackedShard
    mtime_ns: int


class PackWork:
    """The folder beside the final one in which packed files are written until all are there.

    Args:
        plan: What goes where.
        out: The final folder.
        leave_out: Whether images that cannot be read are left out and listed; else they are an error.
    """

    def __init__(self, plan: PackPlan, out: Path, *, leave_out: bool = False) -> None:
        self.plan, self.out, self.leave_out = plan, out, leave_out
        self.place = real_path(out)  # that a link leads to, there or not
        self.folder = self.place.with_name(f".{self.place.name}.eml-pack")
        self.already: list[PackedShard] | None = None

    def begin(self) -> None:
        """Make the folder; one that was begun with another plan is emptied.

        Raises:
            OutputError: It cannot be made, or is none that `eml pack` made.
        """
        facts = {"plan": self.plan.digest, "leave_out": self.leave_out}
        record = self.folder / _PLAN
        try:
            if os.path.lexists(self.folder) and _read(record) != facts and not self._is_bare():
                if not is_work(self.folder, _PLAN, set(facts)):
                    text = f"{self.folder}: is where eml pack would write, and was not made by it. Move it away, or "
                    raise OutputError(f"{text}give another `out`", code="folder-not-empty", parameter="out")
                self._remove()
            (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
            (self.folder / _DONE).mkdir(exist_ok=True)
            if not record.exists():
                write_json(record, facts)
        except OSError as error:
            raise not_writable(self.folder, error) from error

    def _is_bare(self) -> bool:
        """Return whether the folder has been made and nothing is in it yet."""
        if not self.folder.is_dir() or self.folder.is_symlink():
            return False
        names = {path.name for path in self.folder.iterdir() if not is_temporary(path.name)}
        return names <= {FOLDER, _DONE} and not any(next((self.folder / name).iterdir(), None) for name in names)

    def _remove(self) -> None:
        """Remove the folder, its record last, by which a run after a kill knows that it may remove the rest."""
        record = self.folder / _PLAN
        if not record.exists():
            write_json(record, {"plan": "", "leave_out": self.leave_out})
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != record:
                path.unlink()
        shutil.rmtree(self.folder)

    def done(self, number: int) -> PackedShard | None:
        """Return what is known of a packed file that is written and whole; None for one that is still to be written."""
        path = self.folder / self.plan.file(number)
        try:
            record: _DoneRecord = read_json(self._record(number), _DoneRecord)
            state = path.stat()
            shard, time = record.shard, state.st_mtime_ns
            whole = shard.file == self.plan.file(number) and state.st_size == shard.bytes
            if whole and time != record.mtime_ns:  # it was copied, restored or written since: its bytes decide
                whole = digest(path) == shard.digest
                write_json(self._record(number), asdict(_DoneRecord(shard, time))) if whole else None
        except (ValueError, OSError):
            return None
        return shard if whole else None

    def _record(self, number: int) -> Path:
        return self.folder / _DONE / f"{number:05d}.json"

    def write(self, number: int, advance: Advance = lambda images: None) -> PackedShard:
        """Write a packed file whole, then the record that it is done.

        Raises:
            DataError: Images cannot be read, or are not what the table says.
            OutputError: The file cannot be written.
        """
        path = self.folder / self.plan.file(number)
        left_out: list[tuple[str, str, str]] = []
        write = write_tar if self.plan.format_ == "tar" else write_parquet
        with whole_file(path) as temporary:
            write(self.plan, self._images(number, left_out, advance), temporary)
        first, last = self.plan.shards[number]
        file = self.plan.file(number)
        shard = PackedShard(file, last - first - len(left_out), path.stat().st_size, digest(path), left_out)
        write_json(self._record(number), asdict(_DoneRecord(shard, path.stat().st_mtime_ns)))
        return shard

    def _images(self, number: int, left_out: list[tuple[str, str, str]], advance: Advance) -> Images:
        """Yield the images of a packed file; collect those that cannot be read, and raise for them at the end."""
        first, last = self.plan.shards[number]
        frame = self.plan.columns.iloc[first:last]
        expected = frame["content"].where(has_content(frame), "").tolist() if "content" in frame.columns else None
        load = partial(_load, self.plan.table.root)
        tasks = [(self.plan.names[row], expected[row - first] if expected else "") for row in range(first, last)]
        for row, loaded in zip(range(first, last), in_order(load, tasks), strict=True):
            advance(1)
            if isinstance(loaded, bytes):
                yield row, loaded
            else:
                left_out.append((self.plan.names[row], loaded.reason, loaded.detail))
        if left_out and not self.leave_out:
            raise _unreadable(self.plan, left_out)

    def finish(self, shards: Sequence[PackedShard], command: str, *, replace: bool) -> list[Path]:
        """Write the table, the manifest and a page for the hub, and put the folder in its place; return its files.

        replace: Put it in the place of a folder that an earlier pack wrote.
        """
        left_out = {name for shard in shards for name, _, _ in shard.left_out}
        frame = self.plan.table.frame
        names = self.plan.packed_names()
        rows = frame[~frame["file_name"].isin(left_out)] if left_out else frame
        if rows.empty:
            raise DataError(f"{self.plan.table.name}: no image of it can be read", code="no-images")
        packed = rows.assign(file_name=[names[name] for name in rows["file_name"]])
        if self.plan.numbered is not None:
            packed[OWN_NAME] = rows["file_name"]
        table = self.folder / self.table_name
        tables = {table: packed.reset_index(drop=True)}
        if left_out:
            tables[self.folder / "pack_errors.csv"] = _errors(shards)
        notes = unknown_label_notes(self.plan.table)
        write_tables(tables, command=command, root=self.folder, overwrite=True, notes=notes)
        for path in tables:
            _moved(sidecar_path(path), self.out)
        if self.plan.format_ == "parquet":
            write_text(self.folder / README, _page(self.plan))
        write_json(self.folder / MANIFEST, self._manifest(shards))
        self._put_in_place(replace)
        files = [self.out / self.table_name, *(self.out / path.name for path in [*tables][1:])]
        return [*files, *(self.out / shard.file for shard in shards), self.out / MANIFEST]

    @property
    def table_name(self) -> str:
        """The name of the table in the folder: that of the table that is packed, where a later command looks for it."""
        source = self.plan.table.path
        stem = source.stem if source is not None and source.stem in TABLES else TABLES[0]
        return stem + self.plan.table.suffix if source is not None else f"{stem}.csv"

    def _manifest(self, shards: Sequence[PackedShard]) -> dict[str, Any]:
        return {
            "format": self.plan.format_,
            "plan": self.plan.digest,
            "images": sum(shard.images for shard in shards),
            "classes": len(self.plan.classes),
            "left_out": sum(len(shard.left_out) for shard in shards),
            "files": {
                shard.file: {"images": shard.images, "bytes": shard.bytes, "digest": shard.digest} for shard in shards
            },
            "pages": {README: digest(self.folder / README)} if self.plan.format_ == "parquet" else {},
        }

    def _put_in_place(self, replace: bool) -> None:
        check_place(self.place, overwrite=replace)  # again: packing can take hours
        try:
            if self.place.is_dir() and not any(self.place.iterdir()):
                self.place.rmdir()
            for folder in (self.folder / FOLDER, self.folder):
                remove_temporaries(folder)  # of processes that were killed while they wrote
            shutil.rmtree(self.folder / _DONE)
            (self.folder / _PLAN).unlink()
            for folder in (self.folder / FOLDER, self.folder):
                sync(folder)
            if not self.place.exists():
                os.replace(self.folder, self.place)  # noqa: PTH105
            elif not exchange(self.folder, self.place):
                shutil.rmtree(self.place)
                os.replace(self.folder, self.place)  # noqa: PTH105
            sync(self.place.parent)
        except OSError as error:
            raise not_writable(self.out, error) from error
        with suppress(OSError):
            if self.folder.exists():
                self._remove()  # what was exchanged


def check_room(work: PackWork) -> None:
    """Raise OutputError where the packed files would not fit on the disk."""
    missing = [number for number in range(len(work.plan.shards)) if work.done(number) is None]
    needed = sum(sum(work.plan.sizes[slice(*work.plan.shards[number])]) for number in missing)
    free = shutil.disk_usage(work.folder).free
    if needed > free:
        text = f"{work.out}: the packed images take about {needed / MIB:,.0f} MiB, and {free / MIB:,.0f} MiB are free"
        raise OutputError(f"{text}. Make room, or give another `out`", code="disk-full", parameter="out")


def _load(root: Path, task: tuple[str, str]) -> bytes | ImageError:
    """Return the bytes of an image, or why they cannot be used."""
    name, content = task
    try:
        path = image_path(root, name)
        data = read(path)
        with quiet_pillow:
            identify(io.BytesIO(data), path)
    except ImageError as error:
        return error
    if content and bytes_digest(data) != content:
        return ImageError(path, "unreadable", "its bytes are not those that the table says; run eml scan again")
    return data


def _unreadable(plan: PackPlan, rows: Sequence[tuple[str, str, str]]) -> DataError:
    problems = [
        Problem(f"{plan.table.root / name}: {detail} ({reason})", "unreadable-image")
        for name, reason, detail in rows[:_MOST_LISTED]
    ]
    more = f"{len(rows):,} images cannot be packed. Mend them, or set `leave_out` to pack the others and list these"
    return DataError([*problems, Problem(more, "unreadable-image", "leave_out")])


def _errors(shards: Sequence[PackedShard]) -> pd.DataFrame:
    rows = [row for shard in shards for row in shard.left_out]
    return pd.DataFrame(rows, columns=["file_name", "reason", "detail"], dtype=str)


def _moved(sidecar: Path, out: Path) -> None:
    """Let a sidecar say that it was written in the final folder."""
    facts = json.loads(sidecar.read_text(encoding="utf-8"))
    write_json(sidecar, facts | {"folder": real_path(out).as_posix()})


def _page(plan: PackPlan) -> str:
    """Return the page by which Hugging Face's `datasets` finds the packed files beside the table."""
    return f"""---
configs:
- config_name: default
  data_files:
  - split: {plan.split}
    path: {FOLDER}/*.{plan.format_}
---

{len(plan.names):,} images of {len(plan.classes):,} classes, packed by eml pack: the column {IMAGE} has their bytes.
"""


def _read(path: Path) -> Any:
    """Return a record of this module, None where it is missing or is none."""
    try:
        return read_json(path)
    except (ValueError, OSError):
        return None
