"""The rate of a scan and of reading in epochs: a local folder, and a store whose requests take a while, in one run.

    python tests/benchmarks/remote.py --images grocery160/images --count 500 --milliseconds 30

The store is fsspec's in this process with a wait before each answer, so that the time is that of waiting and of eml,
and not of a network. Cut the machine's other work; the ratios of one run are worth more than the rates.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from eml.dataset.scanning.scan import scan_folder
from eml.images.source import FileSource
from eml.storage import RemotePath, file_systems

BATCH = 64


class SlowStore(MemoryFileSystem):
    """The store of `memory://`, whose requests take a while."""

    cachable = False
    seconds = 0.0

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **settings: Any) -> bytes:
        time.sleep(self.seconds)
        data: bytes = super().cat_file(path, start, end, **settings)
        return data

    def info(self, path: str, **settings: Any) -> dict[str, Any]:
        time.sleep(self.seconds)
        facts: dict[str, Any] = super().info(path, **settings)
        return facts


def rate(work: Callable[[], object], count: int) -> float:
    """Return the images per second of one piece of work."""
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def epoch(root: Path, names: list[str]) -> None:
    """Read all images as a loader does: batch by batch."""
    source = FileSource(root, names)
    for first in range(0, len(names), BATCH):
        rows = range(first, min(first + BATCH, len(names)))
        source.fetch(rows)
        for row in rows:
            source.whole(row, (160, 160))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--milliseconds", type=float, default=30.0)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.images.glob("*/*") if path.is_file())
    files = files[:: max(1, len(files) // arguments.count)][: arguments.count]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EML_REMOTE_CACHE"], os.environ["EML_REMOTE_CACHE_SIZE"] = f"{folder}/cache", "2GB"
        store, local, remote = SlowStore(), Path(folder) / "photos", RemotePath("memory://photos")
        names = [path.relative_to(arguments.images).as_posix() for path in files]
        for path, name in zip(files, names, strict=True):
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_bytes(path.read_bytes())
            store.pipe(f"/photos/{name}", path.read_bytes())
        file_systems._opened[os.getpid(), "memory"] = store
        store.seconds = arguments.milliseconds / 1000
        epoch(local, names)  # the disk's own cache is warm
        near, far = rate(lambda: epoch(local, names), len(names)), rate(lambda: epoch(remote, names), len(names))
        again = rate(lambda: epoch(remote, names), len(names))
        os.environ["EML_REMOTE_CACHE_SIZE"] = "0"
        scan_near = rate(lambda: scan_folder(local, workers=1), len(names))
        scan_far = rate(lambda: scan_folder(remote, workers=1), len(names))
        one_by_one = 1 / store.seconds
    print(
        f"{len(names)} images, {arguments.milliseconds:g} ms a request; one request after the other: {one_by_one:.0f}/s"
    )
    print(f"reading: local {near:.0f}/s, remote {far:.0f}/s, remote again (cached) {again:.0f}/s ({again / near:.2f})")
    print(f"scan: local {scan_near:.0f}/s, remote {scan_far:.0f}/s ({scan_far / scan_near:.2f})")


if __name__ == "__main__":
    main()
