"""Loading processes that live through a run against ones that are started for each epoch and validation, in turns.

    python tests/benchmarks/kept_workers.py [--workers 2 --epochs 5 --rounds 3 --methods fork spawn]

Reads what a run of so many epochs reads: an epoch's batches, then a validation set's, at 64 px from files that it draws
itself. Processor time of this process and of those that it starts; each way of starting them is measured in a process
of its own. The processes of `forkserver` are not children of this one, so only its time is counted.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from PIL import Image

from eml.images.loading import EpochBatches, ImageDataset, InOrder, batches
from eml.images.loading_team import kept_workers
from eml.images.preprocess import Preprocess
from eml.images.source import FileSource

COUNT, BATCH, SIDE = 192, 32, 64


def processor_time() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def read_run(root: Path, names: list[str], workers: int, epochs: int) -> int:
    """Read epochs and validations, as a run does; return the sum of some pixels."""
    training, total = ImageDataset(FileSource(root, names), Preprocess(size=SIDE)), 0
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(COUNT).reshape(-1, BATCH)
        held_out = ImageDataset(FileSource(root, names[:BATCH]), Preprocess(size=SIDE))
        for images, sampler in ((training, EpochBatches(order, epoch + 1)), (held_out, InOrder(BATCH, BATCH // 2))):
            total += sum(int(pixels[:, 0, 0, 0].sum()) for pixels, _ in batches(images, sampler, workers))
    return total


def measure(method: str, workers: int, epochs: int, rounds: int) -> None:
    """Print what the two ways cost where processes are started by a method."""
    multiprocessing.set_start_method(method)
    ways = {"kept": kept_workers, "anew": nullcontext}
    used: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    sums = set()
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{number}.png" for number in range(COUNT)]
        for number, name in enumerate(names):
            Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(Path(folder) / name)
        for _ in range(rounds):
            for way, context in ways.items():
                started, clock = processor_time(), perf_counter()
                block: AbstractContextManager[None] = context()
                with block:
                    sums.add(read_run(Path(folder), names, workers, epochs))
                used[way].append((processor_time() - started, perf_counter() - clock))
    assert len(sums) == 1, "both ways read the same"
    cost = {way: [median(column) for column in zip(*rows, strict=True)] for way, rows in used.items()}
    ratio = median(kept[0] / anew[0] for kept, anew in zip(used["kept"], used["anew"], strict=True))
    print(
        f"{method:>10}: {cost['anew'][0]:.2f} s of processor time anew, {cost['kept'][0]:.2f} s kept ({ratio:.2f}); "
        f"{cost['anew'][1]:.1f} and {cost['kept'][1]:.1f} s of time",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["fork", "spawn"])
    parser.add_argument("--method", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.method:
        measure(options.method, options.workers, options.epochs, options.rounds)
        return
    print(f"{options.epochs} epochs of {COUNT} images with a validation after each, {options.workers} workers")
    for method in options.methods:
        sys.stdout.flush()
        command = [sys.executable, __file__, "--method", method, "--workers", str(options.workers)]
        subprocess.run([*command, "--epochs", str(options.epochs), "--rounds", str(options.rounds)], check=True)


if __name__ == "__main__":
    main()
