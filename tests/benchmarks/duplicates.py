"""Time near pairs and removal of duplicates on random hashes, against imagededup in turns.

Hashes have 32 of 64 bits set, like a perceptual hash; one in twenty is a copy of another hash within four bits.
Every figure is the median of several runs, each in a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys

import numpy as np

from eml.dataset.duplicates.duplicates import twins
from eml.dataset.duplicates.hamming import near_pairs
from eml.threads import cores

THRESHOLD = 10

PEER = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from imagededup.methods import PHash
hashes = json.load(sys.stdin)
encodings = {f"{n}.jpg": value for n, value in enumerate(hashes)}
phash = PHash(verbose=False)
start = time.perf_counter()
gone = phash.find_duplicates_to_remove(encoding_map=encodings, max_distance_threshold=10)
print("RESULT", json.dumps({"seconds": time.perf_counter() - start, "found": len(gone)}))
"""


def hashes(count: int, seed: int = 0) -> np.ndarray:
    """Return (count,) uint64."""
    random = np.random.default_rng(seed)
    blocks = []
    for start in range(0, count, 50_000):
        numbers = random.random((min(50_000, count - start), 64))
        packed = np.packbits(numbers > np.median(numbers, axis=1, keepdims=True), axis=1)
        blocks.append(packed.view(">u8").ravel().astype(np.uint64))
    values = np.concatenate(blocks)
    copies = random.choice(count, count // 20, replace=False)
    flips = np.bitwise_or.reduce(np.uint64(1) << random.integers(0, 64, (len(copies), 4), dtype=np.uint64), axis=1)
    values[copies] = values[random.integers(0, count, len(copies))] ^ flips
    return values


def run(kind: str, count: int) -> None:
    """Run one kind of work in this process and print its time and memory as JSON."""
    import resource
    import time

    values = hashes(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    if kind == "pairs":
        number = sum(len(i) for i, _, _ in near_pairs(values, THRESHOLD))
    elif kind == "brute force":
        from eml.dataset.duplicates import hamming

        hamming._parts = lambda values, others, threshold: hamming.ALL
        number = sum(len(i) for i, _, _ in near_pairs(values, THRESHOLD))
    elif kind == "removal, one class":
        number = int((twins(values, np.zeros(count, dtype=np.int64), np.arange(count), THRESHOLD) >= 0).sum())
    else:  # removal, classes of ten
        number = int((twins(values, np.arange(count) // 10, np.arange(count), THRESHOLD) >= 0).sum())
    facts = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - busy, "found": number}
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("RESULT", json.dumps(facts | {"peak_mb": after // 1024, "more_mb": (after - before) // 1024}))


def result(command: list[str], text: str | None = None) -> dict[str, float]:
    """Run a process and return the result that it prints."""
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.rpartition("RESULT ")[2])


def ours(kind: str, count: int) -> dict[str, float]:
    """Run one kind of work in a process of its own."""
    return result([sys.executable, __file__, "--run", kind, "--sizes", str(count)])


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each value."""
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="numbers of hashes")
    parser.add_argument("--peer", help="a Python with imagededup, to compare the removal of the first size with")
    parser.add_argument("--runs", type=int, default=3, help="runs of each kind; one from half a million hashes on")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return run(options.run, options.sizes[0])
    print(f"{cores()} cores")
    if options.peer:
        count, both = options.sizes[0], ([], [])
        text = json.dumps([f"{value:016x}" for value in hashes(count)])
        for _ in range(options.runs):
            both[0].append(ours("removal, one class", count))
            both[1].append(result([options.peer, "-c", PEER], text))
        eml, peer = map(median, both)
        print(f"{count:,}: eml {eml}\n{count:,}: imagededup {peer}\nratio {peer['seconds'] / eml['seconds']:.0f}")
    for count in options.sizes:
        kinds = ["pairs", "removal, one class", "removal, classes of ten"]
        if count <= 200_000:
            kinds.insert(1, "brute force")
        runs = {kind: [] for kind in kinds}
        for _ in range(options.runs if count < 500_000 else 1):
            for kind in kinds:
                runs[kind].append(ours(kind, count))
        for kind in kinds:
            print(f"{count:,} {kind}: {median(runs[kind])}", flush=True)


if __name__ == "__main__":
    main()
