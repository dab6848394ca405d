"""Measure what an image costs each command: seconds, peak memory and bytes on disk, at three sizes, with a check.

    OMP_NUM_THREADS=1 python tests/benchmarks/sizes.py --folder /tmp/sizes [--only scan embed …]
    python tests/benchmarks/sizes.py --folder /tmp/sizes --images 1000 5000 20000 --rows 30000 100000 300000
    python tests/benchmarks/sizes.py --folder /tmp/sizes --report

Each command runs once at each size in a process of its own. From the two smaller sizes follows a straight line (a fixed
part and a part for each image); the largest size is predicted by it, and the table has the error. Seconds are of the
processor, of the process and all that it started; memory is the most that the process and its children held together,
looked at ten times a second. Commands that read images get drawn images of 48 × 48 pixels, 20 of a class and no two
the same, and a network of a few layers: what the network and the decoding of larger images cost comes on top
(docs/benchmarks_speed.md, docs/benchmarks_images.md). Commands on tables get larger tables whose images are links to a
few files. Results are kept in FOLDER/results.json, those of an item replace its earlier ones.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = os.sysconf("SC_PAGE_SIZE")
PER_CLASS, SIDE = 20, 48
QUERIES = 200
NETWORK = ("timm:test_resnet", "--weights", "none", "--image-size", "32")
LINKED = 40  # files that the rows of large tables are links to; ext4 allows 65,000 links of a file


@dataclass(frozen=True)
class Item:
    """A command, and what it leaves.

    Attributes:
        name: For --only and the table.
        words: After `eml`; {at} is the folder of a size, {queries} a folder of queries.
        files: What it writes, relative to {at}: files and folders whose bytes count.
        on_rows: Whether it runs on the large tables, else on images.
    """

    name: str
    words: tuple[str, ...]
    files: tuple[str, ...] = ()
    on_rows: bool = False


TABLE, FILTERED = "{at}/images/dataset_info.csv", "{at}/images/dataset_info_filtered.csv"
FOLDS = "{at}/images/folds.csv"
TRAIN, TEST = "{at}/images/dataset_train.csv", "{at}/images/dataset_test.csv"
ALONE = ("--one-network", "--top", "0", "--root", "{at}/images")


def table_items(on_rows: bool) -> list[Item]:
    """Return the commands that read a table and write tables."""
    name = "{} (large tables)" if on_rows else "{}"
    return [
        Item(
            name.format("filter"),
            ("filter", TABLE, "--dedup"),
            ("images/dataset_info_filtered.csv", "images/dataset_removed.csv"),
            on_rows,
        ),
        Item(
            name.format("split"),
            ("split", FILTERED, "--by", "ratio"),
            ("images/dataset_train.csv", "images/dataset_test.csv"),
            on_rows,
        ),
        Item(name.format("kfold"), ("kfold", TRAIN), ("images/folds.csv",), on_rows),
        Item(name.format("audit"), ("audit", TRAIN, TEST), (), on_rows),
        Item(
            name.format("merge"),
            ("merge", f"a={TRAIN}", f"b={TEST}", "--out", "{at}/merged.csv", "--overwrite"),
            ("merged.csv",),
            on_rows,
        ),
    ]


ITEMS = [
    Item(
        "scan",
        ("scan", "{at}/images", "--workers", "1"),
        ("images/dataset_info.csv", "images/.dataset_info.csv.eml-scan"),
    ),
    Item("scan again", ("scan", "{at}/images", "--workers", "1")),
    *table_items(on_rows=False),
    Item("report", ("report", FILTERED, "--out", "{at}/report.html"), ("report.html",)),
    Item("cache", ("cache", FILTERED, "--side", "32", "--folder", "{at}/cache"), ("cache",)),
    Item("embed", ("embed", *NETWORK[:1], FILTERED, *NETWORK[1:], "--out", "{at}/e.npz"), ("e.npz",)),
    Item("embed (parquet)", ("embed", *NETWORK[:1], FILTERED, *NETWORK[1:], "--out", "{at}/e.parquet"), ("e.parquet",)),
    Item("evaluate (file)", ("evaluate", "{at}/e.npz", "--out", "{at}/evaluation", "--no-report"), ("evaluation",)),
    Item(
        "evaluate (file, --queries 1000)",
        ("evaluate", "{at}/e.npz", "--queries", "1000", "--out", "{at}/evaluation_1000", "--no-report"),
        ("evaluation_1000",),
    ),
    Item("suspects", ("suspects", "{at}/e.npz", *ALONE, "--out", "{at}/suspects"), ("suspects",)),
    Item("index build", ("index", "build", "{at}/index", *NETWORK[:1], FILTERED, *NETWORK[1:]), ("index",)),
    Item("index info", ("index", "info", "{at}/index")),
    Item(f"search, {QUERIES} queries", ("search", "{at}/index", "{queries}", "--csv", "{at}/answers.csv", "--json")),
    Item(
        f"search, {QUERIES} queries, usearch",
        ("search", "{at}/index", "{queries}", "--engine", "usearch", "--csv", "{at}/approximate.csv", "--json"),
    ),
    Item(f"classify, {QUERIES} queries", ("classify", "{at}/index", "{queries}", "--out", "{at}/labels.csv", "--json")),
    *table_items(on_rows=True),
]
AGAIN = {"scan again"}
"""Items that are to find what the item before left."""


# -- inputs ------------------------------------------------------------------------------------------------------------


def draw_images(folder: Path, count: int) -> None:
    """Write so many different images, in classes."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"class {number // PER_CLASS:06}" / f"{number:08}.jpg"
        if number % PER_CLASS == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        grid = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(grid).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=85)


def link_rows(folder: Path, count: int) -> None:
    """Write a table of so many images with hashes, a twentieth of which have a look-alike, and links as its images."""
    import pandas as pd

    own = folder.parent / "linked"
    draw_images(own, LINKED)
    files, random = sorted(own.rglob("*.jpg")), np.random.default_rng(0)
    hashes = random.integers(0, 2**64, count, dtype=np.uint64)
    near = random.choice(count, count // 20, replace=False)
    hashes[near] = hashes[near - 1] ^ (np.uint64(1) << random.integers(0, 64, len(near), dtype=np.uint64))
    labels = [f"class {row // PER_CLASS:06}" for row in range(count)]
    names = [f"{label}/{row:08}.jpg" for row, label in enumerate(labels)]
    for row, name in enumerate(names):
        if row % PER_CLASS == 0:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(files[row % LINKED], f"{folder}/{name}")
    columns = {"label": labels, "file_name": names, "width": SIDE, "height": SIDE}
    columns |= {"hash": [f"{value:016x}" for value in hashes], "hash_kind": "phash-luma256"}
    columns |= {"bytes": [files[row % LINKED].stat().st_size for row in range(count)], "format": "JPEG", "mode": "RGB"}
    pd.DataFrame(columns | {"is_blank": False}).to_csv(folder / "dataset_info.csv", index=False)


def prepare(options: argparse.Namespace, count: int, on_rows: bool) -> Path:
    """Return the folder of a size, made unless it is there."""
    at: Path = options.folder / f"{'rows' if on_rows else 'images'}-{count}"
    if not (at / "ready").exists():
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir(parents=True)
        (link_rows if on_rows else draw_images)(at / "images", count)
        (at / "ready").touch()
    return at


# -- measuring ---------------------------------------------------------------------------------------------------------


def family(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    processes = [process]
    for pid in processes:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                processes += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return processes


def resident(process: int) -> int:
    """Return the resident bytes of a process and its children; pages that they share count once, in the parent."""
    total = 0
    for number, pid in enumerate(family(process)):
        try:
            pages = Path(f"/proc/{pid}/statm").read_text().split()
            total += (int(pages[1]) - (int(pages[2]) if number else 0)) * PAGE
        except (OSError, IndexError):
            continue
    return total


def run(words: list[str], log: Path) -> dict[str, float]:
    """Run a command of eml, and return processor seconds, seconds by the clock and peak bytes.

    Raises:
        RuntimeError: It failed; the message has the end of what it wrote.
    """
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    started, peak = time.monotonic(), 0
    with log.open("w", encoding="utf-8") as text:
        child = subprocess.Popen([sys.executable, "-m", "eml", *words], env=os.environ | one, stdout=text, stderr=text)
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, resident(child.pid))
            time.sleep(0.1)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"eml {' '.join(words)} ended with {child.returncode}: {log.read_text()[-600:]}")
    seconds = usage.ru_utime + usage.ru_stime
    return {
        "processor": seconds,
        "clock": time.monotonic() - started,
        "peak": max(peak, usage.ru_maxrss * 1024),
    }


def bytes_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


def remove(path: Path) -> None:
    """Remove what an earlier measurement left."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def measure(item: Item, at: Path, queries: Path, count: int) -> dict[str, float]:
    """Return what the command took and left at a size."""
    for name in item.files:
        remove(at / name)
        remove(at / f"{name}.eml.json")
    words = [word.replace("{at}", str(at)).replace("{queries}", str(queries)) for word in item.words]
    facts = run(words, at / "log")
    return facts | {"count": count, "disk": sum(bytes_of(at / name) for name in item.files)}


# -- the table ---------------------------------------------------------------------------------------------------------


def line_of(points: list[dict[str, float]], key: str) -> tuple[float, float, float]:
    """Return fixed part, part for each image (of the two smaller sizes) and relative error at the largest size."""
    first, second, last = points
    each = (second[key] - first[key]) / (second["count"] - first["count"])
    fixed = first[key] - each * first["count"]
    predicted = fixed + each * last["count"]
    return fixed, each, predicted / last[key] - 1 if last[key] else 0.0


def slope(points: list[dict[str, float]], key: str) -> float:
    """Return what an image costs between the middle and the largest size."""
    _, second, last = points
    return (last[key] - second[key]) / (last["count"] - second["count"])


def growth(points: list[dict[str, float]], key: str) -> float:
    """Return the cost of an image above the middle size over that below it; 1 is linear, 4 (of 1, 4, 16) squares."""
    _, each, _ = line_of(points, key)
    return slope(points, key) / each if each > 0 else float("nan")


def report(results: dict[str, list[dict[str, float]]]) -> None:
    """Print the table as Markdown."""
    columns = ["command", "sizes", "fixed s", "ms/image", "error", "growth"]
    columns += ["fixed MB", "B/image", "error", "growth", "disk B/image"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, points in results.items():
        if len(points) != 3:
            continue
        sizes = ", ".join(f"{point['count']:,.0f}" for point in points)
        fixed, _, wrong = line_of(points, "processor")
        base, _, amiss = line_of(points, "peak")
        print(
            f"| {name} | {sizes} | {fixed:.1f} | {1e3 * slope(points, 'processor'):.3f} | {wrong:+.0%} "
            f"| {growth(points, 'processor'):.1f} | {base / 1e6:,.0f} | {slope(points, 'peak'):,.0f} | {amiss:+.0%} "
            f"| {growth(points, 'peak'):.1f} | {slope(points, 'disk'):,.0f} |"
        )


def main() -> None:
    """Measure the items and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for inputs and results; is kept")
    parser.add_argument("--images", type=int, nargs=3, default=[1_000, 5_000, 20_000], help="sizes of the folders")
    parser.add_argument("--rows", type=int, nargs=3, default=[30_000, 100_000, 300_000], help="sizes of the tables")
    parser.add_argument("--only", nargs="+", default=[], help="names of items, or their beginnings")
    parser.add_argument("--report", action="store_true", help="print what was measured before")
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "results.json"
    results: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if not options.report:
        queries = options.folder / "queries"
        if not queries.exists():
            draw_images(queries, QUERIES)
        for item in ITEMS:
            if options.only and not any(item.name.startswith(name) for name in options.only):
                continue
            points = []
            for count in options.rows if item.on_rows else options.images:
                try:
                    points.append(measure(item, prepare(options, count, item.on_rows), queries, count))
                except RuntimeError as error:
                    print(f"{item.name} at {count:,}: {error}", file=sys.stderr, flush=True)
                    break
                point = points[-1]
                print(
                    f"{item.name}, {count:,}: {point['processor']:.1f} s, {point['peak'] / 1e6:,.0f} MB, "
                    f"{point['disk'] / 1e6:,.1f} MB on disk",
                    flush=True,
                )
            results[item.name] = points
            kept.write_text(json.dumps(results, indent=1), encoding="utf-8")
    report({item.name: results[item.name] for item in ITEMS if item.name in results})


if __name__ == "__main__":
    main()
