"""Measure how much sooner two workers end a scan and an embedding than one does, a thread each, on Ray and on `local`.

    OMP_NUM_THREADS=1 python tests/benchmarks/executors.py --folder /tmp/executors [--rounds 3] [--weights FILE]
    OMP_NUM_THREADS=1 python tests/benchmarks/executors.py --folder /tmp/executors --executors local --commands scan

In each round one and two workers run in turns, in an order that changes, on the same images and the same shards, into
new outputs. Two ratios are printed, each the median over the rounds of the seconds of one worker over those of two:

- **whole command**: from the call to its return, with listing, shards and merging. The processes of `local` are started
  in it, and import what they need, as in every command. A Ray is started once, before, and its processes have imported
  what they need in a run that is not counted: a cluster runs already.
- **steady part**: the rate at which the bar of all shards advances between a fifth and four fifths of the work, when
  all processes are at work. Starting, importing, listing and merging lie outside.

It needs two cores that do nothing else: the load average is printed, and with other work on the machine the ratios say
little. The outputs of all runs must have the same bytes.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))
GOALS = {"scan": 1.6, "embed": 1.4}
SHARDS = {"scan": 16, "embed": 8}
SIDE = 420  # pixels of the drawn images
STEADY = (0.2, 0.8)  # of the work


def draw(folder: Path, count: int) -> Path:
    """Draw noise that takes a JPEG decoder as long as a photo, unless an earlier call did."""
    from PIL import Image

    if not (folder / "ready").exists():
        random = np.random.default_rng(0)
        for number in range(count):
            path = folder / f"class {number % 20}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            small = random.integers(0, 256, (SIDE // 6, SIDE // 6, 3), np.uint8)
            Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=90)
        (folder / "ready").touch()
    return folder


@dataclass
class Clock:
    """The seconds of a run, and how far the bar of all shards was when."""

    whole: float = 0.0
    points: list[tuple[float, int]] = field(default_factory=list)
    total: int = 0

    @contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Be the progress of a command: keep the times of the bar of all shards, and pass over the others."""
        if " shards" not in description or total is None or "checking" in description:
            yield lambda count: None
            return
        self.total, done = total, 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.points.append((time.perf_counter(), done))

        yield advance

    @property
    def steady(self) -> float:
        """Seconds for the whole work at the rate between a fifth and four fifths of it."""
        first, last = (next(point for point in self.points if point[1] >= share * self.total) for share in STEADY)
        return (last[0] - first[0]) / max(1, last[1] - first[1]) * self.total


Workers = Callable[[int], list[str]]
"""Takes how many workers are to make shards, and returns the options of the executor."""


@contextmanager
def workers(executor: str) -> Iterator[Workers]:
    """Yield what sets how many workers there are. Ray runs as long as the block does, with two cores."""
    if executor != "ray":
        yield lambda count: [f"jobs={count}"]
        return
    from eml.sharding.executors.ray import QUIET

    os.environ.update(QUIET)
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    idle: list[Any] = []

    class Idle:
        """Takes a core and does nothing with it, so that one is left."""

        def ready(self) -> None:
            """Return when it has the core."""

    def set_workers(count: int) -> list[str]:
        for actor in idle:
            ray.kill(actor)
        idle.clear()
        if count == 1:
            idle.append(ray.remote(Idle).options(num_cpus=1).remote())
            ray.get(idle[0].ready.remote())
        return []

    try:
        yield set_workers
    finally:
        ray.shutdown()


def run(command: str, images: Path, options: argparse.Namespace, executor: str, words: list[str]) -> Clock:
    """Run the command on a folder of images, and return its times."""
    import eml

    clock, out = Clock(), options.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    common = {"shards": SHARDS[command], "executor": executor, "executor_options": words, "progress": clock.progress}
    start = time.perf_counter()
    if command == "scan":
        eml.scan(images, out=out / "t.csv", **common)
    else:
        network = {"weights": options.weights or "none", "image_size": options.side, "device": "cpu"}
        eml.embed(f"timm:{options.backbone}", images, out=out / "e.npy", **network, **common)
    clock.whole = time.perf_counter() - start
    return clock


def digest(out: Path) -> str:
    """Return a digest of what a run wrote."""
    files = sorted(path for path in out.iterdir() if not path.name.endswith(".eml.json") and path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@dataclass(frozen=True)
class Ratio:
    """One round: the seconds of one worker over those of two."""

    whole: float
    steady: float


def measure(command: str, executor: str, options: argparse.Namespace) -> list[Ratio]:
    """Return the ratios of each round."""
    ratios, digests = [], set[str]()
    images = options.folder / f"{command}-{options.scan if command == 'scan' else options.embed}"
    with workers(executor) as set_workers:
        run(command, options.folder / "few", options, executor, set_workers(2))  # so that imports are not counted
        for turn in range(options.rounds):
            clocks = {}
            for count in (1, 2) if turn % 2 else (2, 1):
                clocks[count] = run(command, images, options, executor, set_workers(count))
                digests.add(digest(options.folder / "out"))
            one, two = clocks[1], clocks[2]
            ratios.append(Ratio(one.whole / two.whole, one.steady / two.steady))
            print(
                f"  {command}, {executor}: whole {one.whole:.1f} s and {two.whole:.1f} s, {ratios[-1].whole:.2f}; "
                f"steady {one.steady:.1f} s and {two.steady:.1f} s, {ratios[-1].steady:.2f} "
                f"(load {os.getloadavg()[0]:.1f})",
                flush=True,
            )
            assert len(digests) == 1, "the bytes differ"
    return ratios


def shown(values: list[float]) -> str:
    """Return the median, and the least and the most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for images and outputs; is kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--executors", nargs="+", default=["local", "ray"])
    parser.add_argument("--commands", nargs="+", default=["scan", "embed"])
    parser.add_argument("--scan", type=int, default=4_000, help="images of the scan")
    parser.add_argument("--embed", type=int, default=1_280, help="images of the embedding")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--side", type=int, default=128, help="pixels as the network sees them")
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    began = time.perf_counter()
    draw(options.folder / "few", 64)
    for command in options.commands:
        count = options.scan if command == "scan" else options.embed
        draw(options.folder / f"{command}-{count}", count)
    print(f"images are there after {time.perf_counter() - began:.0f} s", flush=True)
    results = {
        (command, executor): measure(command, executor, options)
        for command in options.commands
        for executor in options.executors
    }
    print("\nTwo workers over one, median (least to most):\n")
    print("| command | executor | whole command | steady part | goal |\n|---|---|---|---|---|")
    for (command, executor), ratios in results.items():
        whole, steady = shown([ratio.whole for ratio in ratios]), shown([ratio.steady for ratio in ratios])
        print(f"| {command} | {executor} | {whole} | {steady} | ≥ {GOALS[command]} |")
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
