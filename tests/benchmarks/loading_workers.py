"""Batches from eml's loading processes against torch's DataLoader over the same dataset, in turns.

    python tests/benchmarks/loading_workers.py --images grocery160/images [--workers 2 --count 2000 --rounds 5]

Both read the same images by the same code at 160 px in batches of 64 and with as many processes; they differ in how a
batch comes from them. DataLoader puts it into /dev/shm. Time to the last batch and processor time, of this process and
its workers; the start of the processes is included.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from eml.images.loading import ImageDataset, InOrder, batches
from eml.images.preprocess import Preprocess
from eml.images.source import FileSource

BATCH = 64


def with_loader(images: ImageDataset, sampler: InOrder, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of torch's DataLoader."""
    yield from DataLoader(images, batch_sampler=sampler, num_workers=workers, collate_fn=lambda batch: batch)


def processor_time() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [path.relative_to(options.images).as_posix() for path in sorted(options.images.glob("*/*.jpg"))]
    names = (names * (options.count // len(names) + 1))[: options.count]
    images = ImageDataset(FileSource(options.images, names), Preprocess(size=160))
    ways = {"eml": batches, "DataLoader": with_loader}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            started, used = time.perf_counter(), processor_time()
            sampler = InOrder(len(names), BATCH)
            total = sum(int(pixels[:, 0, 0, 0].sum()) for pixels, _ in way(images, sampler, options.workers))
            wall[name].append(time.perf_counter() - started)
            processor[name].append(processor_time() - used)
    print(f"{len(names)} images, {options.workers} workers, sum of first pixels {total}")
    for name in ways:
        rate, cost = len(names) / median(wall[name]), 1e6 * median(processor[name]) / len(names)
        print(f"{name:>10}: {rate:,.0f} images/s, {cost:,.0f} µs of processor time an image")
    for kind, values in (("time", wall), ("processor time", processor)):
        ratio = median(a / b for a, b in zip(values["eml"], values["DataLoader"], strict=True))
        print(f"{kind}: eml / DataLoader {ratio:.2f}")


if __name__ == "__main__":
    main()
