"""Train with a million classes within 6 GB: `eml train` with a sampled head, ended twice and resumed each time.

    python tests/benchmarks/million_classes.py --out DIR

Creates a long tail in DIR: an image per class, and 200 more of each of the first thousand (a class is a pattern of 20
bits; 5 GB of small files). Trains one epoch, ends it with SIGTERM and later with SIGKILL, resumes each time, and prints
losses, time and peak memory. A step that knows nothing of its images has a loss of about ln n, for n compared classes.
Only the classes with many images, a sixth of all images, are shown often enough to be learned.
"""

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
from PIL import Image

from eml.dataset.table import write_table

PER_FOLDER = 1000
CONFIG = """output: run
data: {table: dataset.csv, fold: null}
image: {size: 16, interpolation: bilinear, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
augment: {type: none}
model: {backbone: test_resnet, weights: none, neck: {type: linear, size: 128}}
margin: {type: cosface, m: 0.1}
head: {scale: 24, mode: {type: sampled, fraction: 0.01}}
optimizer: {lr: {backbone: 2.0e-3, neck: 2.0e-3, class_weights: 2.0e-2}, clip: 5.0}
schedule: {warmup_epochs: 0.05, final: 0.2}
epochs: 1
batch_size: 1000
"""


def make(folder: Path, classes: int) -> None:
    """Write images of 5×4 black and white fields with a little noise, and the table."""
    random, rows = np.random.default_rng(0), []
    for number in [*range(classes), *(list(range(classes // 1000)) * 200)]:
        bits = (number >> np.arange(20)) & 1
        pixels = (bits.reshape(5, 4) * 200 + random.integers(0, 40, (5, 4))).astype(np.uint8)
        name = f"{len(rows) // PER_FOLDER:04d}/{len(rows):07d}.png"
        if len(rows) % PER_FOLDER == 0:
            (folder / name).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / name, compress_level=0)
        rows.append((f"{number:07d}", name))
    frame = pd.DataFrame(rows, columns=["label", "file_name"])
    write_table(frame, folder / "dataset.csv", command="benchmark", root=folder)
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")


def train(folder: Path, *options: str, end_after: float | None = None, by: signal.Signals = signal.SIGTERM) -> float:
    """Run `eml train`, ended by the signal `by` after `end_after` seconds if given, and return its seconds."""
    command = [sys.executable, "-m", "eml", "train", str(folder / "config.yaml"), *options]
    started = time.monotonic()
    process = subprocess.Popen(command)
    try:
        code = process.wait(end_after)
    except subprocess.TimeoutExpired:
        process.send_signal(by)
        code = process.wait()
    print(f"eml train {' '.join(options)}: exit code {code}, {time.monotonic() - started:.0f} s", flush=True)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--term-after", type=float, default=240, help="seconds")
    parser.add_argument("--kill-after", type=float, default=120, help="seconds")
    options = parser.parse_args()
    if not (options.out / "config.yaml").exists():
        make(options.out, options.classes)
    os.environ.setdefault("COLUMNS", "100")
    train(options.out, "--dry-run")
    train(options.out, "--overwrite", end_after=options.term_after)
    train(options.out, "--resume", end_after=options.kill_after, by=signal.SIGKILL)
    train(options.out, "--resume")
    lines = [json.loads(line) for line in (options.out / "run" / "steps.jsonl").read_text().splitlines()]
    for name, part in {"first 20 steps": lines[:20], "last 20 steps": lines[-20:]}.items():
        loss, cosine = mean(line["loss"] for line in part), mean(line["target_cosine"] for line in part)
        accuracy = mean(line["accuracy"] for line in part)
        print(f"{name}: loss {loss:.2f}, target cosine {cosine:.3f}, batch accuracy {accuracy:.1%}")
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1)), "every step must be logged once"
    print(f"ln n = {math.log(max(0.01 * options.classes, 1000)):.2f}, steps {len(lines)}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"peak memory of the training process: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
