"""Measure how much sooner two workers end a scan and an embedding than one does, a thread each, on Ray and on `local`.

    OMP_NUM_THREADS=1 python tests/benchmarks/executors.py --folder /tmp/executors [--rounds 5] [--weights FILE]
    OMP_NUM_THREADS=1 python tests/benchmarks/executors.py --folder /tmp/executors --executors local --commands scan

In each round one and two workers run in turns, in an order that changes, on the same images and the same shards, into
new outputs. Ray's processes are started and have imported what they need before the clock starts; those of `local` are
started anew each time, as in every command. All else counts: listing, shards, merging. The figure is the median of the
rounds' ratios of seconds by the clock. It needs two cores that do nothing else: the load average is printed, and with
other work on the machine the ratio says little. The outputs of all runs must have the same bytes.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))
GOALS = {"scan": 1.6, "embed": 1.4}
SHARDS = {"scan": 8, "embed": 4}
SIDE = 420  # pixels of the drawn images


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


@contextmanager
def workers(executor: str, count: int) -> Iterator[list[str]]:
    """Yield the options of an executor with so many workers; Ray runs as long as the block does."""
    if executor != "ray":
        yield [f"jobs={count}"]
        return
    from eml.sharding.executors.ray import QUIET

    os.environ.update(QUIET)
    import ray

    ray.init("local", num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield []
    finally:
        ray.shutdown()


def run(command: str, options: argparse.Namespace, executor: str, words: list[str], out: Path) -> float:
    """Run the command and return its seconds by the clock."""
    import eml

    images = options.folder / f"{command}-{options.scan if command == 'scan' else options.embed}"
    common = {"shards": SHARDS[command], "executor": executor, "executor_options": words}
    start = time.perf_counter()
    if command == "scan":
        eml.scan(images, out=out / "t.csv", **common)
    else:
        network = {"weights": options.weights or "none", "image_size": options.side, "device": "cpu"}
        eml.embed(f"timm:{options.backbone}", images, out=out / "e.npy", **network, **common)
    return time.perf_counter() - start


def digest(out: Path) -> str:
    """Return a digest of what a run wrote."""
    files = sorted(path for path in out.iterdir() if not path.name.endswith(".eml.json") and path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def measure(command: str, executor: str, options: argparse.Namespace) -> list[float]:
    """Return the ratio of each round."""
    ratios, digests = [], set[str]()
    for turn in range(options.rounds):
        seconds = {}
        for count in (1, 2) if turn % 2 else (2, 1):
            with workers(executor, count) as words:
                for _ in range(2 if executor == "ray" else 1):  # Ray's processes import in the first one
                    out = options.folder / "out"
                    shutil.rmtree(out, ignore_errors=True)
                    out.mkdir()
                    seconds[count] = run(command, options, executor, words, out)
                digests.add(digest(out))
        ratios.append(seconds[1] / seconds[2])
        load = os.getloadavg()[0]
        print(
            f"  {command}, {executor}: {seconds[1]:.1f} s, {seconds[2]:.1f} s, {ratios[-1]:.2f} (load {load:.1f})",
            flush=True,
        )
        assert len(digests) == 1, "the bytes differ"
    return ratios


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for images and outputs; is kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--executors", nargs="+", default=["ray", "local"])
    parser.add_argument("--commands", nargs="+", default=["scan", "embed"])
    parser.add_argument("--scan", type=int, default=6_000, help="images of the scan")
    parser.add_argument("--embed", type=int, default=1_024, help="images of the embedding")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--side", type=int, default=128, help="pixels as the network sees them")
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    for command in options.commands:
        count = options.scan if command == "scan" else options.embed
        draw(options.folder / f"{command}-{count}", count)
    results = {
        (command, executor): measure(command, executor, options)
        for command in options.commands
        for executor in options.executors
    }
    print("\n| command | executor | two workers over one, median (least to most) | goal |\n|---|---|---|---|")
    for (command, executor), ratios in results.items():
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {command} | {executor} | {statistics.median(ratios):.2f} ({spread}) | ≥ {GOALS[command]} |")


if __name__ == "__main__":
    main()
