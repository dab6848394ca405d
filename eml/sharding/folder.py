"""The folder of the shards of one command, hidden beside the file or folder that the command writes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from eml.errors import OutputError
from eml.files import not_writable, real_path
from eml.progress import Report
from eml.sharding.marker import Marker, read_marker
from eml.sharding.shard import MOST_SHARDS, WorkShard

ENDING = ".eml-shards"
POLL_SECONDS = 0.2  # between two attempts to lock a shard
_MARKER = re.compile(r"(\d{5})-of-(\d{5})\.json")


@dataclass(frozen=True)
class ShardFolder:
    """Results and completion markers.

    `00003-of-00016.result` and, written after it, `00003-of-00016.json`; while a shard is made, its lock and what a
    command keeps to go on from after a stop. Hidden, so that no listing of the folder takes it for images.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def of(cls, target: Path) -> "ShardFolder":
        """Return the folder beside what a command writes: `.dataset_info.csv.eml-shards`."""
        place = target if target.name not in ("", "..") else real_path(target)  # "." has no name of its own
        if not place.name:
            text = f"{target}: is a whole disk, beside which nothing can be written. Give a folder in it"
            raise OutputError(text, code="not-writable", parameter="out")
        return cls(place.with_name(f".{place.name}{ENDING}"))

    def marker(self, shard: WorkShard) -> Path:
        """Return the path of a completion marker."""
        return self.path / f"{shard.name}.json"

    def result(self, shard: WorkShard) -> Path:
        """Return the path of a result."""
        return self.path / f"{shard.name}.result"

    def partial(self, shard: WorkShard) -> Path:
        """Return the path of what is kept while a shard is made."""
        return self.path / f"{shard.name}.partial"

    def read(self, shard: WorkShard) -> Marker | None:
        """Return a shard's marker; None where it is not done."""
        return read_marker(self.marker(shard))

    def counts(self) -> list[int]:
        """Return the numbers of shards of which a marker is here."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        matches = [match for name in names if (match := _MARKER.fullmatch(name))]
        return sorted({count for match in matches if 0 < (count := int(match[2])) <= MOST_SHARDS})

    def done(self, count: int) -> int:
        """Return how many of `count` shards have a marker, whether it is of the present images or not."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        return sum(1 for name in names if (match := _MARKER.fullmatch(name)) and int(match[2]) == count)

    def any_marker(self) -> Marker | None:
        """Return the first marker that can be read; None where there is none."""
        paths = sorted(self.path.glob("*.json")) if self.path.is_dir() else []
        return next((marker for path in paths if (marker := read_marker(path)) is not None), None)

    @contextmanager
    def locked(self, shard: WorkShard, report: Report) -> Iterator[None]:
        """Hold the lock of a shard; report and wait while another process makes it. A killed process holds none."""
        path = self.path / f"{shard.name}.lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                report(f"{shard} is being made by another process; waiting for its end")
                lock.acquire(poll_interval=POLL_SECONDS)
        except OSError as error:
            raise not_writable(path, error) from error
        try:
            yield
        finally:
            lock.release()


def shard_folders(place: Path) -> list[ShardFolder]:
    """Return the folders of shards that a path means: of the file or folder itself, its own, or those inside it."""
    if place.name.endswith(ENDING) and place.is_dir():
        return [ShardFolder(place)]
    if real_path(place).name and (beside := ShardFolder.of(place)).path.is_dir():
        return [beside]
    return [ShardFolder(path) for path in sorted(place.glob(f".*{ENDING}"))] if place.is_dir() else []
