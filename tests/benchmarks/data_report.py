"""Time, memory and size of `eml report` on a table of many images: see README.md.

    python tests/benchmarks/data_report.py grocery160/images --images 60000

The images of the folder are repeated under new names (hard links), in 200 classes, until there are `--images` of them.
Each hash gets 0 to 32 random bits flipped, so that some per cent are near-duplicates of another image of their class.
Prints one JSON line with the median times of `--repeat` runs.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table
from eml.reports.data import examine, write_page


def table_of(folder: Path, images: int, root: Path) -> Table:
    frame = scan_folder(folder).table
    random = np.random.default_rng(0)
    frame = frame.iloc[random.integers(0, len(frame), images)].reset_index(drop=True)
    bits = np.zeros((images, 64), dtype=bool)
    for row, count in enumerate(random.integers(0, 33, images)):
        bits[row, random.permutation(64)[:count]] = True
    flips = np.packbits(bits, axis=1).view(">u8").ravel()
    frame["hash"] = [f"{int(value, 16) ^ int(flip):016x}" for value, flip in zip(frame["hash"], flips, strict=True)]
    sources = frame["file_name"].tolist()
    class_of = {name: f"class {int(200 * random.random() ** 2)}" for name in sorted(set(sources))}  # a long tail
    frame["label"] = [class_of[name] for name in sources]
    frame["file_name"] = [f"{label}/{row}.jpg" for row, label in enumerate(frame["label"])]
    frame["content"] = [f"{row:032x}" for row in range(images)]
    for label in set(frame["label"]):
        (root / label).mkdir()
    for name, source in zip(frame["file_name"], sources, strict=True):
        (root / name).hardlink_to(folder / source)
    return Table(frame, root, root / "dataset_info.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder.resolve().parent) as place:
        root = Path(place)
        table = table_of(options.folder, options.images, root)
        examining, writing = [], []
        for _ in range(options.repeat):
            start = time.perf_counter()
            report = examine(table, dataset=root)
            examining.append(time.perf_counter() - start)
            start = time.perf_counter()
            write_page(report, root / "page.html", command="benchmark", overwrite=True)
            writing.append(time.perf_counter() - start)
        facts = {
            "images": len(table.frame),
            "examine_s": round(statistics.median(examining), 2),
            "page_s": round(statistics.median(writing), 2),
            "page_mb": round((root / "page.html").stat().st_size / 1e6, 2),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "look_alikes": report.to_json()["look_alikes"],
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
