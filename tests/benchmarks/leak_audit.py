"""Time the audit of two tables against the search for near hashes that it needs, and say how both grow.

    OMP_NUM_THREADS=1 python tests/benchmarks/leak_audit.py [--rows 50000 100000 200000]

Random hashes, of which one in fifty is a copy of another but for one bit; half of the rows are on each side. Processor
time of one process, in turns; medians of ratios.
"""

import argparse
import math
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd

from eml.dataset.duplicates.hamming import near_pairs
from eml.dataset.splits.groups import THRESHOLD
from eml.dataset.splits.leak_audit import audit_tables
from eml.dataset.table import Table


def hashes(count: int) -> np.ndarray:
    """Return (count,) uint64."""
    random = np.random.default_rng(0)
    values = random.integers(0, 2**64, count, dtype=np.uint64)
    copies = random.choice(count, count // 50, replace=False)
    bits = np.uint64(1) << random.integers(0, 64, len(copies), dtype=np.uint64)
    values[copies] = values[random.choice(count, len(copies))] ^ bits
    return values


def table(name: str, values: np.ndarray) -> Table:
    """Return a table of that many images in 5,000 classes."""
    labels = [f"class{n % 5000:04d}" for n in range(len(values))]
    files = [f"{label}/{name}{n:07d}.jpg" for n, label in enumerate(labels)]
    columns = {"file_name": files, "label": labels, "hash": [f"{value:016x}" for value in values]}
    return Table(pd.DataFrame(columns, dtype="string"), Path("images"), Path(f"images/{name}.csv"))


def seconds(rows: int, repeat: int) -> tuple[float, float, float]:
    """Return the median processor seconds of the search and of the audit, and the median ratio."""
    values = hashes(rows)
    train, test = table("train", values[: rows // 2]), table("test", values[rows // 2 :])
    times = []
    for _ in range(repeat):
        started = time.process_time()
        for _ in near_pairs(values, THRESHOLD):
            pass
        between = time.process_time()
        audit_tables(train, test)
        times.append((between - started, time.process_time() - between))
    search, audit = (statistics.median(column) for column in zip(*times, strict=True))
    return search, audit, statistics.median(audit / search for search, audit in times)


def main() -> None:
    """Print the times at each number of rows, and the exponent between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    before: tuple[int, float] | None = None
    for rows in options.rows:
        search, audit, ratio = seconds(rows, options.repeat)
        growth = "" if before is None else f"   exponent {math.log(audit / before[1]) / math.log(rows / before[0]):.2f}"
        print(f"{rows:9,} rows   search {search:6.2f} s   audit {audit:6.2f} s   {ratio:.2f} times{growth}", flush=True)
        before = rows, audit


if __name__ == "__main__":
    main()
