"""Draw docs/duplicates.png: recall and precision on dirty.tar, and pairs over classes against those of chance."""

import csv
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from eml.dataset.duplicates.chance_collisions import expected_by_chance
from eml.dataset.duplicates.duplicates import hash_values
from eml.dataset.duplicates.same_images import same_images
from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table
from eml.files import whole_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.dataset.dirty_truth import copies, images
from tests.dataset.duplicates.test_duplicates_real import near, verified

THRESHOLDS = np.arange(0, 17, 2)


def scanned(data: Path, name: str, folder: Path) -> Table:
    """Unpack an archive of test images and return its table."""
    with tarfile.open(data / f"{name}.tar") as tar:
        tar.extractall(folder, filter="data")
    inside = folder / name / "images"
    scan = scan_folder(inside if inside.is_dir() else folder / name)
    return Table(scan.table, scan.root)


def draw_recall(axes, table: Table) -> None:
    """Draw recall and precision over the threshold, by the hash alone and after verification."""
    with (table.root / "labels.csv").open(newline="", encoding="utf-8") as file:
        shown = images(csv.DictReader(file))
    right = copies(shown, table.frame["file_name"])
    print(f"dirty: {len(right)} pairs of copies; threshold, (recall, precision) by hash and after verification")
    rates = []
    for threshold in THRESHOLDS:
        both = [{tuple(sorted(p)) for p in f(table, threshold) if set(p) <= shown.keys()} for f in (near, verified)]
        rates.append([(len(pairs & right) / len(right), len(pairs & right) / len(pairs)) for pairs in both])
        print(threshold, rates[-1])
    rates = np.array(rates)  # (T, way, measure)
    for way, (name, style) in enumerate((("hash", "-"), ("verified", "--"))):
        axes.plot(THRESHOLDS, rates[:, way, 0], f"C0o{style}", label=f"recall, {name}", markersize=4)
        axes.plot(THRESHOLDS, rates[:, way, 1], f"C1s{style}", label=f"precision, {name}", markersize=4)
    axes.set(ylim=(0.9, 1.005), title="dirty.tar: copies", ylabel="share of pairs")


def draw_across(axes, tables: dict[str, Table]) -> None:
    """Draw the pairs with different labels: near, expected by chance, verified."""
    for colour, (name, table) in enumerate(tables.items()):
        labels = pd.factorize(table.frame["label"])[0]
        rows = []
        for threshold in THRESHOLDS:
            same = same_images(table, int(threshold), "across")
            chance = expected_by_chance(hash_values(table), labels, int(threshold))[0]
            rows.append((same.near_across, chance, same.count_across()))
            print(f"{name} {threshold}: near {rows[-1][0]}, by chance {chance:.1f}, the same {rows[-1][2]}")
        near_pairs, chance, same = (np.where(np.array(row) < 0.1, np.nan, row) for row in zip(*rows, strict=True))
        axes.plot(THRESHOLDS, near_pairs, f"C{colour}o-", markersize=4, label=f"{name}: near")
        axes.plot(THRESHOLDS, chance, f"C{colour}:", label=f"{name}: expected by chance")
        axes.plot(THRESHOLDS, same, f"C{colour}x--", markersize=5, label=f"{name}: the same image")
    axes.set(yscale="log", ylim=(0.1, 1e6), title="pairs with different labels", ylabel="pairs")


def main(data: Path, out: Path) -> None:
    """Unpack, measure, print, draw."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("dirty", "grocery160", "omniglot", "emoji")
        tables = {name: scanned(data, name, Path(folder) / name) for name in names}
        figure = Figure(figsize=(11, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_recall(left, tables.pop("dirty"))
        draw_across(right, tables)
    for axes in (left, right):
        axes.axvline(10, color="0.85", zorder=0)
        axes.set(xlabel="threshold (bits of 64)", xticks=THRESHOLDS)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8, loc="lower right")
    right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    with whole_file(out) as temporary:
        figure.savefig(temporary, dpi=90, format="png", metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
