"""The rate of a scan and of shuffled epochs: loose and packed images, local and in a slow store, in one run.

    python tests/benchmarks/remote.py --images grocery160/images --count 500 --milliseconds 30

The store is fsspec's in this process with a wait before each answer, so that the time is that of waiting and of eml,
and not of a network. Cut the machine's other work; the ratios of one run are worth more than the rates.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fsspec.implementations.memory import MemoryFileSystem

import eml
from eml.dataset.scanning.scan import scan_folder
from eml.images.packed.opened_files import opened_files
from eml.images.source import FileSource
from eml.storage import RemotePath, file_systems, listing, object_blocks

BATCH = 64


class SlowStore(MemoryFileSystem):
    """The store of `memory://`, whose requests take a while."""

    cachable = False
    seconds, requests = 0.0, 0

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **settings: Any) -> bytes:
        self.requests += 1
        time.sleep(self.seconds)
        data: bytes = super().cat_file(path, start, end, **settings)
        return data

    def info(self, path: str, **settings: Any) -> dict[str, Any]:
        self.requests += 1
        time.sleep(self.seconds)
        facts: dict[str, Any] = super().info(path, **settings)
        return facts


def rate(work: Callable[[], object], count: int) -> float:
    """Return the images per second of one piece of work."""
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def epoch(root: Path, names: Sequence[str]) -> None:
    """Read all images as a loader does: shuffled, batch by batch."""
    order = np.random.default_rng(0).permutation(len(names))
    source = FileSource(root, names)
    for first in range(0, len(names), BATCH):
        rows = order[first : first + BATCH].tolist()
        source.fetch(rows)
        for row in rows:
            source.whole(row, (160, 160))


def forget() -> None:
    """Forget what this process knows and has read, as a new one does not know it."""
    listing.forget_all()
    opened_files._reset()
    object_blocks._memory._reset()


@dataclass(frozen=True)
class Rates:
    """Images per second of a place."""

    scan: float
    first: float
    second: float
    """In the same process."""
    later: float
    """In another process, with a cache that is full."""

    def beside(self, name: str, near: "Rates", requests: int) -> str:
        """Return a line: the rates, and in parentheses their shares of another place's."""
        pairs = [(getattr(self, kind), getattr(near, kind)) for kind in ("scan", "first", "second", "later")]
        cells = " | ".join(f"{own:,.0f} ({own / other:.2f})" for own, other in pairs)
        return f"| {name} | {cells} | {requests} |"


def measure(root: Path, names: Sequence[str], cache: Path) -> Rates:
    """Return the rates of a scan and of shuffled epochs; the scan and the first epoch begin with an empty cache."""
    shutil.rmtree(cache, ignore_errors=True)
    forget()
    scan = rate(lambda: scan_folder(root, workers=1), len(names))
    shutil.rmtree(cache, ignore_errors=True)
    forget()
    first = rate(lambda: epoch(root, names), len(names))
    second = rate(lambda: epoch(root, names), len(names))
    forget()
    return Rates(scan, first, second, rate(lambda: epoch(root, names), len(names)))


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
        store = SlowStore()
        file_systems._opened[os.getpid(), "memory"] = store
        loose = Path(folder) / "loose"
        for path in files:
            (loose / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, loose / path.parent.name)
        places = {"loose": loose}
        for kind in ("tar", "parquet"):
            places[kind] = Path(folder) / kind
            eml.pack(loose, places[kind], format=kind)
        size = sum(path.stat().st_size for path in files)
        print(f"{len(files)} images, {size / 2**20:.0f} MiB, {arguments.milliseconds:g} ms a request")
        print("| place | scan | first epoch | second | in a new process | requests in all |\n|---|--:|--:|--:|--:|--:|")
        for name, local in places.items():
            for path in filter(Path.is_file, local.rglob("*")):
                store.pipe(f"/{name}/{path.relative_to(local).as_posix()}", path.read_bytes())
            names = scan_folder(local, workers=1).table["file_name"].tolist()
            near = measure(local, names, Path(folder) / "cache")
            store.seconds, store.requests = arguments.milliseconds / 1000, 0
            far = measure(RemotePath(f"memory://{name}"), names, Path(folder) / "cache")
            store.seconds = 0.0
            print(near.beside(f"{name}, local", near, 0))
            print(far.beside(f"{name}, remote", near, store.requests))


if __name__ == "__main__":
    main()
