"""Measure what bfloat16 changes in the metrics of several sets, and what it saves, in turns.

    OMP_NUM_THREADS=1 python tests/benchmarks/precision.py --weights FILE --images grocery160/images emoji/images …

Of each folder (one folder per class), some images of each class are embedded by the untouched network in float32 and in
bfloat16, batch by batch in turns. Prints R@1 and MAP@R in float32, their change in bfloat16 with 95 % intervals over
the classes, the lowest cosine between both embeddings of an image, and the median ratio of processor time.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

import eml
from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table
from eml.images.decode import decode
from eml.inference.model import Model
from eml.retrieval.metrics import summarise
from eml.retrieval.ranking import rank
from eml.retrieval.statistics.jackknife import paired

PRECISIONS = ("float32", "bfloat16")
METRICS = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}


def some_images(folder: Path, count: int) -> Table:
    """Return a table of about so many images, as many of each class as there are, two at least."""
    frame = scan_folder(folder, hashes=False, workers=1).table.reset_index(drop=True)
    each = max(2, count // frame["label"].nunique())
    return Table(frame.groupby("label").head(each).reset_index(drop=True), folder)


def embed(models: dict[str, Model], table: Table, batch: int) -> tuple[dict[str, torch.Tensor], float]:
    """Return the embeddings of all models and the median ratio of the second's processor time to the first's."""
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    ratios = []
    preprocess, names = models["float32"].preprocess, table.frame["file_name"]
    side = preprocess.size
    for number, first in enumerate(range(0, len(names), batch)):
        pixels = [preprocess(decode(table.root / name, at_least=(side, side))) for name in names[first : first + batch]]
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        seconds = {}
        for name in list(models)[:: 1 if number % 2 else -1]:
            started = time.process_time()
            parts[name].append(models[name].embed_pixels(images))
            seconds[name] = time.process_time() - started
        ratios.append(seconds["bfloat16"] / seconds["float32"])
    return {name: torch.cat(own) for name, own in parts.items()}, median(ratios)


def main() -> None:
    """Parse the command line and print a row for each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders, one folder per class in each")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--count", type=int, default=1000, help="images of a folder, about")
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    own = {"weights": str(options.weights), "image_size": options.side}
    models = {name: eml.load(f"timm:{options.backbone}", precision=name, **own) for name in PRECISIONS}
    for folder in options.images:
        table = some_images(folder, options.count)
        embeddings, ratio = embed(models, table, options.batch)
        labels = np.unique(table.frame["label"], return_inverse=True)[1].astype(np.int64)
        values = [dict(summarise(rank(own, labels)).per_query) for own in embeddings.values()]
        cosine = float((embeddings["float32"] * embeddings["bfloat16"]).sum(1).min())
        print(f"{folder}: {len(labels):,} images of {labels.max() + 1} classes, lowest cosine {cosine:.5f}", end="")
        differences = paired(*({name: own[name] for name in METRICS} for own in values), labels)
        for name, shown in METRICS.items():
            own_difference = differences[name]
            low, high = own_difference.interval.low, own_difference.interval.high
            change = own_difference.after - own_difference.before
            print(f", {shown} {own_difference.before:.4f} {change:+.4f} ({low:+.4f} to {high:+.4f})", end="")
        print(f", processor time x {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
