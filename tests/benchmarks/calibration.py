"""Measure whether a calibrated threshold meets its goal on unseen classes, and whether its interval covers the truth.

    python tests/benchmarks/calibration.py --data DIR --weights FILE [--splits 100] [--cache DIR]

DIR has orl_faces/images and grocery160/images; FILE has the ImageNet weights of mobilenetv2_100, which embeds at 160 px
and is not trained on these images.

Real images: the classes are split into halves, the threshold is chosen on one and the rate measured on the other, both
ways, over many splits. The table shows the mean rate relative to the goal for the threshold that just fits the half
(plain), for the chosen one and for the upper end of its interval; the share of splits in which the latter two meet the
goal; and how often the interval covers the threshold that the other half needs. About 83 % are expected of a 95 %
interval, since the other half has an error of the same size.

Simulation: classes are drawn from a known distribution. The table shows how often the interval covers the threshold at
which the rate over infinitely many classes equals the goal: 95 % are expected.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table
from eml.inference.embed import embed_table
from eml.inference.load import load
from eml.retrieval.verification import Goal, OpenSet
from eml.retrieval.verification.calibration import choose_threshold, make_criterion, restrict_criterion, split_classes
from eml.retrieval.verification.criteria import Criterion, TopAnswers, UnknownQueries
from eml.retrieval.verification.different_pairs import DifferentPairs

GOALS = {
    "orl_faces": [Goal("far", 0.05), Goal("pair_far", 0.01), Goal("pair_far", 0.001)],
    "grocery160": [Goal("far", 0.05), Goal("far", 0.02), Goal("pair_far", 0.01), Goal("pair_far", 0.001)],
}
PRECISION = Goal("precision", 0.97)
RESAMPLES = 200


def embedded(images: Path, weights: Path, cache: Path) -> OpenSet:
    """Return all images of a folder, leave-one-out; the embeddings are kept in `cache`."""
    file = cache / f"{images.parent.name}.npz"
    if not file.is_file():
        table = scan_folder(images, hashes=False).table
        frame = table.reset_index(drop=True)
        model = load("timm:mobilenetv2_100", weights=str(weights), image_size=160, device="cpu")
        rows = embed_table(model, Table(frame, images), frame)
        labels = np.unique(frame["label"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, embeddings=rows.numpy(), labels=labels)
    kept = np.load(file)
    return OpenSet.leave_one_out(torch.from_numpy(kept["embeddings"]), kept["labels"])


def on_splits(name: str, data: OpenSet, goal: Goal, splits: int) -> None:
    answers, start = data.search(), time.perf_counter()
    whole = make_criterion(goal, data, answers)
    ratios, plain, strict, covered, refused = [], [], [], [], 0
    error = 1 - goal.value if goal.kind == "precision" else goal.value
    for number, both in enumerate(split_classes(data.classes, splits, 0)):
        first, second = (restrict_criterion(whole, goal, data, answers, codes) for codes in both)
        for here, there in ((first, second), (second, first)):
            choice = choose_threshold(here, goal, RESAMPLES, number)
            if np.isnan(choice.threshold.value):
                refused += 1
                continue
            ratios.append(error_rate(there, choice.threshold.value, goal) / error)
            plain.append(error_rate(there, here.threshold(goal.value), goal) / error)
            strict.append(error_rate(there, choice.threshold.interval.high, goal) / error)
            needed = there.threshold(goal.value)
            covered.append(choice.threshold.interval.low <= needed <= choice.threshold.interval.high)
    print(
        f"| {name} | {goal.kind} {goal.value:g} | {np.mean(plain):.2f} | {np.mean(ratios):.2f} | "
        f"{np.mean(np.array(ratios) <= 1):.0%} | {np.mean(strict):.2f} | {np.mean(np.array(strict) <= 1):.0%} | "
        f"{np.mean(covered):.0%} | "
        f"{refused} of {2 * splits} |  ({time.perf_counter() - start:.0f} s)",
        flush=True,
    )


def error_rate(criterion: Criterion, threshold: float, goal: Goal) -> float:
    rate = criterion.rate(threshold)
    if goal.kind != "precision":
        return rate
    return 0.0 if np.isnan(rate) else 1 - rate  # nothing accepted: no error


def drawn_classes(count: int, per_class: int, random: np.random.Generator) -> OpenSet:
    """Draw families of similar classes from one distribution, `per_class` images of each class."""
    families = np.random.default_rng(0).normal(size=(12, 24))
    centers = families[random.integers(12, size=count)] + random.normal(0, 0.8, (count, 24))
    labels = np.repeat(np.arange(count), per_class)
    embeddings = centers[labels] + random.normal(0, 0.7, (len(labels), 24))
    return OpenSet.leave_one_out(torch.from_numpy(embeddings).float(), labels)


def truths(goal: Goal, classes: int, per_class: int) -> Iterator[Criterion]:
    """Yield the criteria of many draws, which together give the truth for a gallery of `classes` classes."""
    random = np.random.default_rng(1)
    for _ in range(300 if goal.kind != "pair_far" else 1):
        data = drawn_classes(classes if goal.kind != "pair_far" else 2500, per_class, random)
        yield make_criterion(goal, data, data.search())


def simulated(goal: Goal, repeats: int, classes: int = 60, per_class: int = 8) -> None:
    many = list(truths(goal, classes, per_class))
    true = pooled(many)
    needed = true.threshold(goal.value)
    error = 1 - goal.value if goal.kind == "precision" else goal.value
    covered, ratios, plain, strict = [], [], [], []
    for seed in range(repeats):
        data = drawn_classes(classes, per_class, np.random.default_rng(1000 + seed))
        criterion = make_criterion(goal, data, data.search())
        choice = choose_threshold(criterion, goal, RESAMPLES, seed)
        if np.isnan(choice.threshold.value):
            continue
        covered.append(choice.threshold.interval.low <= needed <= choice.threshold.interval.high)
        ratios.append(error_rate(true, max(choice.threshold.value, floor_of(true)), goal) / error)
        strict.append(error_rate(true, max(choice.threshold.interval.high, floor_of(true)), goal) / error)
        plain.append(error_rate(true, max(criterion.threshold(goal.value), floor_of(true)), goal) / error)
    print(
        f"| simulation | {goal.kind} {goal.value:g} | {np.mean(plain):.2f} | {np.mean(ratios):.2f} | "
        f"{np.mean(np.array(ratios) <= 1):.0%} | {np.mean(strict):.2f} | {np.mean(np.array(strict) <= 1):.0%} | "
        f"{np.mean(covered):.0%} | {repeats - len(covered)} of {repeats} |",
        flush=True,
    )


def floor_of(true: Criterion) -> float:
    return true.floor if isinstance(true, DifferentPairs) else -2.0


def pooled(many: list[Criterion]) -> Criterion:
    """Pool the criteria of all draws into one; each draw keeps its own gallery."""
    if isinstance(many[0], DifferentPairs):
        return many[0]
    similarity = np.concatenate([criterion.similarity for criterion in many])
    order = np.argsort(-similarity, kind="stable")
    labels = np.zeros(len(order), np.int64)
    if isinstance(many[0], TopAnswers):
        right = np.concatenate([criterion.right for criterion in many])[order]
        return TopAnswers(similarity[order], right, many[0].nearest_positive, labels, 1, many[0].nearest_classes)
    return UnknownQueries(similarity[order], labels, 1, many[0].nearest_classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/eml-calibration"))
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=300)
    options = parser.parse_args()
    print("| images | goal | plain | chosen | ≤ goal | strict | ≤ goal | covered | refused |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, goals in GOALS.items():
        data = embedded(options.data / name / "images", options.weights, options.cache)
        for goal in [*goals, PRECISION] if name == "grocery160" else goals:
            on_splits(name, data, goal, options.splits)
    for goal in (Goal("far", 0.05), Goal("pair_far", 0.01), Goal("precision", 0.98)):
        simulated(goal, options.repeats)


if __name__ == "__main__":
    main()
