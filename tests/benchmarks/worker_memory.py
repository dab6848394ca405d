"""Memory of a worker process that reads images, with a table of two thousand rows and of two million.

    python tests/benchmarks/worker_memory.py --images grocery160/images [--rows 2000 2000000] [--method fork spawn]

Rows are drawn over the images of the folder, in a table as a run holds it (pandas, in the parent). Prints, per worker
and after --batches batches, its private memory (pages that fork shares count once they are written to) and its resident
memory, in which shared pages count in full. Linux only (/proc).
"""

import argparse
import itertools
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from eml.images.augment.standard import Standard
from eml.images.loading import ImageDataset
from eml.images.preprocess import Preprocess
from eml.images.source import FileSource

MIB = 2**20


def memory(process: int) -> tuple[float, float]:
    """Return (private, resident) MiB."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        sizes[name.rstrip(":")] = int(size) * 1024
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) / MIB, sizes["Rss"] / MIB


class Drawn:
    """Endless batches of random rows."""

    def __init__(self, rows: int, batch_size: int) -> None:
        self.rows, self.batch_size = rows, batch_size

    def __iter__(self):  # type: ignore[no-untyped-def]
        random = np.random.default_rng(0)
        for step in itertools.count():
            rows = random.integers(0, self.rows, self.batch_size).tolist()
            yield [(1, step * self.batch_size + place, row) for place, row in enumerate(rows)]


def measure(
    folder: Path, names: list[str], rows: int, method: str, workers: int, count: int
) -> list[tuple[float, float]]:
    frame = pd.DataFrame({"file_name": [f"./{names[row % len(names)]}" for row in range(rows)]})
    frame["label"] = [f"class {row % 50_000}" for row in range(rows)]
    preprocess = Preprocess(size=160)
    source = FileSource(folder, frame["file_name"].tolist())
    photos = ImageDataset(source, preprocess, augmenter=Standard().build(preprocess))
    loader = DataLoader(
        photos,
        batch_sampler=Drawn(rows, 32),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=as_it_is,
        multiprocessing_context=method,
    )
    iterator = iter(loader)
    for _ in range(count):
        next(iterator)
    return [memory(worker.pid) for worker in iterator._workers]  # type: ignore[attr-defined]


def as_it_is(batch: object) -> object:
    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="*", default=[2_000, 2_000_000])
    parser.add_argument("--method", nargs="*", default=["fork", "spawn"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = sorted(str(path.relative_to(options.images)) for path in options.images.rglob("*.jpg"))
    print("| workers started by | rows | private MiB per worker | resident MiB per worker |\n|---|---|---|---|")
    for method in options.method:
        for rows in options.rows:
            memories = measure(options.images, names, rows, method, options.workers, options.batches)
            private, resident = (statistics.median(column) for column in zip(*memories, strict=True))
            print(f"| {method} | {rows:,} | {private:.0f} | {resident:.0f} |", flush=True)


if __name__ == "__main__":
    main()
