"""Measure what post-processing of rankings adds: the table of docs/reranking.md. See README.md.

    python tests/benchmarks/reranking.py --data DIR --weights FILE [--only NAME …] [--cache FOLDER]

DIR holds grocery160, omniglot and orl_faces unpacked, each with images/CLASS/…. The features are those of an untrained
network (ImageNet weights). Half of the classes (of omniglot every second alphabet) is measured leave-one-out, and
whitening is learnt from the other half. Prints a row for each way with MAP@R and R@1, their differences and 95 %
intervals over classes, and seconds. `--memory N` instead prints the time and the peak memory of re-ranking N random
images.
"""

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table
from eml.evaluation.evaluate import Evaluation, evaluate_embeddings
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.postprocessing import postprocess
from eml.evaluation.whitening import Whitening
from eml.inference.embed import Batching, embed_table
from eml.inference.load import load
from eml.retrieval.metrics import summarise
from eml.retrieval.pca import fit_pca
from eml.retrieval.reranking import rank_reciprocal

DATASETS = {"grocery160": (10, 20), "omniglot": (10, 20), "orl_faces": (3, 10)}
"""Name → neighbours of the means, and of the lists of re-ranking."""


def embedded(name: str, options: argparse.Namespace) -> tuple[Table, torch.Tensor]:
    """Return the images of a set and their embeddings, from the cache where they are there."""
    cached = options.cache / f"{name}.npz" if options.cache else None
    images = options.data / name / "images"
    images = images if images.is_dir() else options.data / name / name / "images"
    if cached is not None and cached.is_file():
        with np.load(cached) as arrays:
            frame = pd.DataFrame({key: arrays[key].astype(object) for key in ("file_name", "label")})
            return Table(frame, images), torch.tensor(arrays["embeddings"])
    scan = scan_folder(images, hashes=False)
    table = Table(scan.table, scan.root)
    model = load("timm:mobilenetv2_100", weights=options.weights, image_size=options.side)
    embeddings = embed_table(model, table, table.frame, batching=Batching(64, options.workers))
    if cached is not None:
        columns = {key: table.frame[key].to_numpy(str) for key in ("file_name", "label")}
        np.savez(cached, embeddings=embeddings.numpy(), **columns)
    return table, embeddings


def halves(name: str, labels: "pd.Series[str]") -> np.ndarray:
    """Return whether an image is of a class that is measured."""
    groups = labels.str.partition("__")[0] if name == "omniglot" else labels
    return groups.isin(sorted(set(groups))[1::2]).to_numpy()


def measure(name: str, options: argparse.Namespace) -> None:
    table, embeddings = embedded(name, options)
    test = halves(name, table.frame["label"])
    part = Table(table.frame[test].reset_index(drop=True), table.root)
    evaluation: Evaluation = evaluate_embeddings(name, embeddings[test], part)
    values = evaluation.summary.values
    count, classes = len(part.frame), part.frame["label"].nunique()
    plain = f"{values['map_at_r']:.3f} | | {values['recall_at_1']:.3f} | |"
    print(f"| {name}: {count:,} images of {classes} classes | {plain}")
    whitening = Whitening(fit_pca(embeddings[~test]), name, int((~test).sum()))
    mean, lists = DATASETS[name]
    single = [
        (whitening, {}),
        (None, {"augment_database": mean}),
        (None, {"query_expansion": mean}),
        (None, {"rerank": lists}),
        (whitening, {"augment_database": mean, "query_expansion": mean, "rerank": lists}),
    ]
    for white, steps in single:
        started = time.monotonic()
        ways = postprocess(replace(evaluation, whitening=white), EvaluationOptions(**steps))
        for way in ways if len(steps) < 2 else ways[2:]:
            cells = []
            for metric in ("map_at_r", "recall_at_1"):
                change = way.differences[metric]
                cells += [
                    f"{change.after:.3f}",
                    f"{change.value:+.3f} ({change.interval.low:+.3f} to {change.interval.high:+.3f})",
                ]
            print(f"| {way.name} | {' | '.join(cells)} |", flush=True)
        print(f"  {time.monotonic() - started:.1f} s", flush=True)


def measure_memory(count: int, size: int) -> None:
    """Re-rank random images of classes of 10, as one query set and gallery, and print what it takes."""
    random = torch.Generator().manual_seed(0)
    labels = np.arange(count) % (count // 10)
    centres = torch.randn(count // 10, size, generator=random)
    rows = torch.nn.functional.normalize(centres[torch.from_numpy(labels)] + torch.randn(count, size, generator=random))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic()
    summary = summarise(rank_reciprocal(rows, labels, rows, labels, itself=np.arange(count)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count:,} images of {size} numbers: {time.monotonic() - started:.0f} s, peak {peak:.0f} MiB, of which "
        f"{before:.0f} MiB before, MAP@R {summary.values['map_at_r']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--side", type=int, default=128, help="of the images (pixels)")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(DATASETS))
    parser.add_argument("--cache", type=Path, help="a folder that keeps the embeddings")
    parser.add_argument("--memory", type=int, metavar="N")
    parser.add_argument("--size", type=int, default=128, help="of random embeddings, with --memory")
    options = parser.parse_args()
    if options.memory:
        return measure_memory(options.memory, options.size)
    print("| | MAP@R | difference (95 % interval) | R@1 | difference (95 % interval) |")
    print("|---|---|---|---|---|")
    for name in options.only:
        measure(name, options)
    return None


if __name__ == "__main__":
    main()
