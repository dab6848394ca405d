"""Processor time of the slices of an evaluation, and of the intervals of the whole set: see README.md.

    OMP_NUM_THREADS=1 python tests/benchmarks/slices.py --queries 60502 --classes 11316

Four kinds of slices: class size, shorter side, near-duplicates (random, not searched for), a column of 12 values.
Answers and metrics are random. Prints one JSON line with the medians of `--repeat` runs, in turns.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from eml.dataset.table import Table
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set
from eml.evaluation.slices import Partition, Parts, by_column, measure_slices, partition
from eml.retrieval.metrics import QueryAnswers, Summary, all_metrics
from eml.retrieval.statistics import intervals_of_summary

GAP = "global_average_precision"


def random_evaluation(queries: int, classes: int) -> tuple[RetrievalSet, Summary, Partition]:
    random = np.random.default_rng(0)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, queries - classes)])
    frame = pd.DataFrame({"label": labels.astype(str), "file_name": [f"{row}.jpg" for row in range(queries)]})
    frame["width"], frame["height"] = random.integers(20, 800, queries), 800
    retrieval = build_retrieval_set(frame, "random")
    counted = np.bincount(retrieval.labels)[retrieval.labels] > 1
    right = counted & (random.random(queries) < 0.7)
    answers = QueryAnswers(random.integers(0, queries, queries), random.random(queries), right, counted)
    shown = {name: text for metric in all_metrics() for name, text in metric.shown().items()}
    per_query = {name: np.where(counted, random.random(queries), np.nan) for name in shown if name != GAP}
    values = {name: float(np.nanmean(metric)) for name, metric in per_query.items()} | {GAP: 0.5}
    summary = Summary(values, shown, int(counted.sum()), int((~counted).sum()), queries, per_query, answers)
    parts = partition(Table(frame, Path()), retrieval).parts
    parts.append(Parts("near-duplicates", ["with", "without"], random.integers(0, 2, queries)))
    parts.append(by_column("column", pd.Series([f"value {value}" for value in random.integers(0, 12, queries)])))
    return retrieval, summary, Partition(parts, {})


def processor_time(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=60_502)
    parser.add_argument("--classes", type=int, default=11_316)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    retrieval, summary, parts = random_evaluation(options.queries, options.classes)
    classes = retrieval.labels[retrieval.queries]
    whole, slices = [], []
    for _ in range(options.repeat):
        whole.append(processor_time(lambda: intervals_of_summary(summary, classes)))
        slices.append(processor_time(lambda: measure_slices(parts, retrieval, summary)))
    facts = {
        "queries": options.queries,
        "classes": options.classes,
        "kinds": [part.title for part in parts.parts],
        "intervals_s": round(statistics.median(whole), 2),
        "slices_s": round(statistics.median(slices), 2),
        "ratio": round(statistics.median(slices) / statistics.median(whole), 2),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
