"""Sixteen searches of a server's index, one call each or all in one call: is joining the searches of requests worth it?

    PYTHONPATH=. python tests/benchmarks/joined_searches.py --images 10000 --size 128

Random vectors; five neighbours of each query. Prints the milliseconds of sixteen calls and of one, medians of rounds in
turns, and how far their cosines differ.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eml.indexing.answers import NOWHERE
from eml.indexing.queries import Queries
from eml.indexing.searching import find_neighbours
from eml.indexing.store import IndexStore
from eml.retrieval.answer_calibration import AnswerCalibration
from tests.indexing.shop import calibration

QUERIES = 16


def queries(vectors: torch.Tensor) -> Queries:
    count = len(vectors)
    names = [str(number) for number in range(count)]
    return Queries(
        names=names, places=[NOWHERE] * count, embeddings=vectors, rows=[*range(count)], problems={}, are_texts=False
    )


def search(store: IndexStore, vectors: torch.Tensor, own: AnswerCalibration) -> list[float]:
    with store.snapshot():
        answers = find_neighbours(store, queries(vectors), 5, per_class=False, where=None, calibration=own)
    return [image.cosine for answer in answers for image in answer]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    vectors = torch.from_numpy(random.normal(size=(options.images + QUERIES, options.size)).astype(np.float32))
    vectors = torch.nn.functional.normalize(vectors)
    own = calibration()
    with tempfile.TemporaryDirectory() as folder, IndexStore.create(Path(folder) / "i", size=options.size) as store:
        labels = [str(number % 500) for number in range(options.images)]
        names = [f"{number}.jpg" for number in range(options.images)]
        store.add(vectors[QUERIES:], pd.DataFrame({"label": labels, "file_name": names}), duplicates="keep")
        asked = vectors[:QUERIES]
        singly, together = list[float](), list[float]()
        for _ in range(options.rounds):
            begun = time.perf_counter()
            alone = [cosine for vector in asked for cosine in search(store, vector[None], own)]
            between = time.perf_counter()
            joined = search(store, asked, own)
            singly.append(between - begun)
            together.append(time.perf_counter() - between)
    difference = max(abs(one - other) for one, other in zip(alone, joined, strict=True))
    print(f"{options.images:,} × {options.size}: {QUERIES} calls {1000 * statistics.median(singly):.1f} ms, ", end="")
    print(f"one call {1000 * statistics.median(together):.1f} ms; cosines differ by {difference:.1e} at most")


if __name__ == "__main__":
    main()
