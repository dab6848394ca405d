"""The order of an epoch of millions of images: seconds, peak memory, and the share of the data that it shows.

    python tests/benchmarks/samplers.py [--images 2000000] [--classes 200000] [--batch 256] [--peers]

Two sets of labels: classes of equal size, and a long tail (sizes ∝ rank^-0.9, plus two images each). Every sampler runs
in a process of its own, `--rounds` times: median of the seconds, largest peak of the resident set beyond labels and
imports (Linux). `--peers` adds, once, MPerClassSampler of pytorch-metric-learning and BalanceSampler of
open-metric-learning with the batch size and the K of per_class, for an epoch of their own length.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from eml.images.samplers import Classes, Sampler
from eml.images.samplers.balanced import Balanced
from eml.images.samplers.per_category import PerCategory
from eml.images.samplers.per_class import PerClass
from eml.images.samplers.shuffle import Shuffle

K = 4
OURS: dict[str, Sampler] = {
    "shuffle": Shuffle(),
    "per_class": PerClass(per_class=K),
    "per_class, max_per_class 64": PerClass(per_class=K, max_per_class=64),
    "balanced": Balanced(),
    "per_category": PerCategory(per_class=K),
    "per_category, max_per_class 64": PerCategory(per_class=K, max_per_class=64),
}
PEERS = ["pytorch-metric-learning MPerClassSampler", "open-metric-learning BalanceSampler"]


def labels_of(shape: str, images: int, classes: int) -> NDArray[np.int64]:
    """Return (images,) labels, at least two of every class."""
    random = np.random.default_rng(0)
    if shape == "equal":
        return random.permutation(np.arange(images) % classes)
    weights = 1 / np.arange(1, classes + 1) ** 0.9
    further = random.choice(classes, images - 2 * classes, p=weights / weights.sum())
    return random.permutation(np.concatenate([np.arange(2 * classes) % classes, further]))


def sampler_of(way: str, labels: NDArray[np.int64], batch: int) -> Callable[[], Iterable[int]]:
    """Return a function that gives an epoch's rows; a thousand classes share a category."""
    if way in OURS:
        classes = Classes(labels, labels % 200)
        return lambda: OURS[way].epoch(classes, batch, seed=0, epoch=1)
    if "MPerClass" in way:
        from pytorch_metric_learning.samplers import MPerClassSampler

        return lambda: list(MPerClassSampler(labels, m=K, batch_size=batch, length_before_new_iter=len(labels)))
    from oml.samplers.balance import BalanceSampler

    return lambda: [row for rows in BalanceSampler(labels.tolist(), batch // K, K) for row in rows]


def resident(field: str) -> float:
    """Return the MiB of a field of /proc/self/status: VmRSS, the resident set, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def measure(way: str, shape: str, images: int, classes: int, batch: int) -> dict[str, float]:
    """Measure one epoch in this process, including the setup of the sampler."""
    labels = labels_of(shape, images, classes)
    make = sampler_of(way, labels, batch)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, started = resident("VmRSS"), time.perf_counter()
    rows = np.asarray(make())
    seconds, memory = time.perf_counter() - started, resident("VmHWM") - before
    numbers = np.bincount(rows.reshape(-1), minlength=images)
    return {
        "seconds": seconds,
        "mib": memory,
        "batches": rows.size // batch,
        "coverage": float((numbers > 0).mean()),
        "repeats": 1 - float((numbers > 0).sum() / rows.size),
        "most": float(numbers.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_000_000)
    parser.add_argument("--classes", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SHAPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = options.images, options.classes, options.batch
    if options.one:
        print(json.dumps(measure(*options.one, *sizes)))
        return
    arguments = ["--images", str(sizes[0]), "--classes", str(sizes[1]), "--batch", str(sizes[2])]
    for shape in ("equal", "long tail"):
        print(f"\n| {shape} | seconds | extra MiB | batches | images shown | repeats | most often shown |")
        print("|---|---|---|---|---|---|---|")
        ways = [*OURS, *(PEERS if options.peers else [])]
        results: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for turn in range(options.rounds):
            for way in ways if turn == 0 else OURS:
                command = [sys.executable, str(Path(__file__)), *arguments, "--one", way, shape]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results[way].append(json.loads(done.stdout.splitlines()[-1]))
        for way, runs in results.items():
            last = runs[-1]
            print(
                f"| {way} | {median(run['seconds'] for run in runs):.2f} | {max(run['mib'] for run in runs):,.0f} | "
                f"{last['batches']:,.0f} | {last['coverage']:.1%} | {last['repeats']:.0%} | {last['most']:,.0f}× |"
            )


if __name__ == "__main__":
    main()
