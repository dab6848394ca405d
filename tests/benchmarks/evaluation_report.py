"""Time, memory and size of the report of an evaluation of many images, and time of the evaluation: see README.md.

    python tests/benchmarks/evaluation_report.py grocery160/images --images 60502 --classes 11316

Embeddings are random around the centre of their class; the images of the folder are repeated under their own names.
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
import pandas as pd
import torch

from eml.dataset.table import Table
from eml.evaluation.analysis import EvaluationAnalysis
from eml.evaluation.evaluate import Evaluation, evaluate_embeddings
from eml.reports.evaluation import write_report


def evaluation(folder: Path, images: int, classes: int, size: int) -> Evaluation:
    random = np.random.default_rng(0)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.[jp][pn]g"))
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, images - classes)])
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, size, generator=generator)
    embeddings = centres[labels] + 3 * torch.randn(images, size, generator=generator)
    frame = pd.DataFrame({"label": [f"class {label}" for label in labels]})
    frame["file_name"] = [files[i] for i in random.integers(0, len(files), images)]
    return evaluate_embeddings("random", embeddings, Table(frame, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=60_502)
    parser.add_argument("--classes", type=int, default=11_316)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    start = time.perf_counter()
    evaluated = evaluation(options.folder, options.images, options.classes, options.size)
    evaluating = time.perf_counter() - start
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writing = []
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "report.html"
        for _ in range(options.repeat):
            start = time.perf_counter()
            write_report(EvaluationAnalysis(evaluated), page, command="benchmark")
            writing.append(time.perf_counter() - start)
        facts = {
            "images": options.images,
            "classes": options.classes,
            "recall_at_1": round(evaluated.summary.values["recall_at_1"], 3),
            "evaluation_s": round(evaluating, 1),
            "page_s": round(statistics.median(writing), 1),
            "page_mb": round(page.stat().st_size / 1e6, 2),
            "more_memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
