"""Folds that keep groups together: eml's against scikit-learn's StratifiedGroupKFold, in one run, on the same rows.

    python tests/benchmarks/folds_balance.py [TABLE.csv ...] [--million]

For each table (as written by eml scan) and for drawn long tails it prints seconds (medians of 3, in turns), the mean
and the largest distance of a class's share in a fold from an even distribution (in shares of the class), and the
difference between the largest and the smallest fold (in images). --million: eml's time alone on a million drawn rows.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from eml.dataset.splits.folds import add_folds
from eml.dataset.splits.groups import group_rows
from eml.dataset.table import Table, read_table

K, ROUNDS = 5, 3


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[Table, np.ndarray]:
    """Draw a long tail of classes (1/rank); half of the images in groups of 2 or more, one group in 20 over classes."""
    random = np.random.default_rng(seed)
    share = 1 / np.arange(1, classes + 1)
    labels = np.sort(random.choice(classes, rows, p=share / share.sum()))
    groups = np.cumsum(random.random(rows) < 0.7)
    moved = random.choice(rows, rows // 20, replace=False)
    groups[moved] = groups[random.permutation(moved)]
    frame = pd.DataFrame({"label": labels.astype(str), "file_name": [f"{n:07}.jpg" for n in range(rows)]})
    return Table(frame, Path()), groups


def unevenness(labels: np.ndarray, fold: np.ndarray) -> str:
    used = fold >= 0
    count = np.zeros((labels.max() + 1, K))
    np.add.at(count, (labels[used], fold[used]), 1)
    count = count[(size := count.sum(axis=1)) >= K] / size[size >= K, None]
    total = np.bincount(fold[used], minlength=K)
    off = np.abs(count - 1 / K)
    return f"class distance from even: mean {off.mean():.4f}, most {off.max():.3f}; folds differ by {np.ptp(total)}"


def compare(name: str, table: Table, groups: np.ndarray) -> None:
    labels = pd.factorize(table.frame["label"])[0]
    fold = np.empty(0)
    theirs = np.empty(0)

    def ours() -> None:
        nonlocal fold
        fold = add_folds(table, K, groups=groups)["fold"].to_numpy()

    def sklearns() -> None:
        nonlocal theirs
        theirs = np.full(len(groups), -1)
        used = np.flatnonzero(fold >= 0)  # neither uses classes that are too small for k folds
        splitter = StratifiedGroupKFold(K, shuffle=True, random_state=28)
        for number, (_, held) in enumerate(splitter.split(used, labels[used], groups[used])):
            theirs[used[held]] = number

    times: dict[Callable[[], None], list[float]] = {ours: [], sklearns: []}
    for _ in range(ROUNDS):
        for way, seconds in times.items():
            start = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - start)
    eml_time, sklearn_time = (statistics.median(seconds) for seconds in times.values())
    print(f"{name}: {len(groups):,} images, {labels.max() + 1:,} classes, {groups_of_several(groups):,} groups")
    print(f"  eml      {eml_time:7.2f} s  {unevenness(labels, fold)}")
    print(f"  sklearn  {sklearn_time:7.2f} s  {unevenness(labels, theirs)}")
    print(f"  eml is {sklearn_time / eml_time:.0f} times as fast")


def groups_of_several(groups: np.ndarray) -> int:
    return int((np.unique(groups, return_counts=True)[1] > 1).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn warns about classes smaller than k
    for path in options.tables:
        table = read_table(path)
        compare(path.name, table, group_rows(table).ids)
    for rows, classes in ((3000, 100), (20_000, 500)):
        compare("long tail", *drawn(rows, classes))
    if options.million:
        table, groups = drawn(1_000_000, 20_000)
        start, cpu = time.perf_counter(), time.process_time()
        add_folds(table, K, groups=groups)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        several = f"long tail of 1,000,000 images, {groups_of_several(groups):,} groups of several"
        print(f"{several}: eml {seconds:.1f} s ({cpu:.1f} s of one core)")


if __name__ == "__main__":
    main()
