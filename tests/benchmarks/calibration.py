"""Does a calibrated threshold keep to its goal on classes it has not seen? And do its intervals hold the truth?

    python tests/benchmarks/calibration.py --data DIR --weights FILE [--splits 100] [--cache DIR]

DIR has orl_faces/images and grocery160/images; FILE the ImageNet weights of mobilenetv2_100, which embeds at 160 px,
untrained on these. Real images: the classes are split in halves, the threshold is chosen on one, the rate measured on
the other, both ways, over many splits. Printed: the mean rate by goal, for the threshold that just fits the half
(plain), for the one that is chosen and for the upper end of its interval; in how many splits the latter two kept to the
goal; and how often the threshold that the other half would need lies in the interval: some 83 % are expected of a 95 %
interval, since the other half errs as much. Simulation: classes drawn from a known distribution, and how often the
interval holds the threshold at which the rate over endlessly many classes is the goal: 95 % are expected.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table
from eml.inference.images import table_images
from eml.inference.models import load_for_evaluation
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
    """All images of a folder, leave-one-out; embeddings are kept in `cache`."""
    file = cache / f"{images.parent.name}.npz"
    if not file.is_file():
        table = scan_folder(images, hashes=False).table
        frame = table.reset_index(drop=True)
        model = load_for_evaluation("timm:mobilenetv2_100", weights=str(weights), image_size=160, device="cpu")
        rows = model.embed_rows(table_images(Table(frame, images), frame, model.preprocess), batch_size=64)
        labels = np.unique(frame["label"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, embeddings=rows.numpy(), labels=labels)
    kept = np.load(file)
    return OpenSet.leave_one_out(torch.from_numpy(kept["embeddings"]), kept["labels"])


def on_splits(name: str, data: OpenSet, goal: Goal, splits: int) -> None:
    found, start = data.search(), time.perf_counter()
    whole = make_criterion(goal, data, found)
    ratios, plain, strict, covered, refused = [], [], [], [], 0
    error = 1 - goal.value if goal.kind == "precision" else goal.value
    for number, both in enumerate(split_classes(data.classes, splits, 0)):
        one, other = (restrict_criterion(whole, goal, data, found, codes) for codes in both)
        for here, there in ((one, other), (other, one)):
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


def drawn_classes(count: int, each: int, random: np.random.Generator) -> OpenSet:
    """Classes in families of classes that are alike, from one distribution."""
    families = np.random.default_rng(0).normal(size=(12, 24))
    centers = families[random.integers(12, size=count)] + random.normal(0, 0.8, (count, 24))
    labels = np.repeat(np.arange(count), each)
    embeddings = centers[labels] + random.normal(0, 0.7, (len(labels), 24))
    return OpenSet.leave_one_out(torch.from_numpy(embeddings).float(), labels)


def truths(goal: Goal, classes: int, each: int) -> Iterator[Criterion]:
    """Criteria of many draws, which together are the truth for a gallery of so many classes."""
    random = np.random.default_rng(1)
    for _ in range(300 if goal.kind != "pair_far" else 1):
        data = drawn_classes(classes if goal.kind != "pair_far" else 2500, each, random)
        yield make_criterion(goal, data, data.search())


def simulated(goal: Goal, repeats: int, classes: int = 60, each: int = 8) -> None:
    many = list(truths(goal, classes, each))
    true = pooled(many)
    needed = true.threshold(goal.value)
    error = 1 - goal.value if goal.kind == "precision" else goal.value
    covered, ratios, plain, strict = [], [], [], []
    for seed in range(repeats):
        data = drawn_classes(classes, each, np.random.default_rng(1000 + seed))
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
    """One criterion of all the draws; each keeps its own gallery."""
    if isinstance(many[0], DifferentPairs):
        return many[0]
    similarity = np.concatenate([each.similarity for each in many])
    order = np.argsort(-similarity, kind="stable")
    labels = np.zeros(len(order), np.int64)
    if isinstance(many[0], TopAnswers):
        right = np.concatenate([each.right for each in many])[order]
        return TopAnswers(similarity[order], right, many[0].nearest_positive, labels, 1, many[0].nearest_classes)
    return UnknownQueries(similarity[order], labels, 1, many[0].nearest_classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/eml-calibration"))
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=300)
    asked = parser.parse_args()
    print("| images | goal | plain | chosen | ≤ goal | upper end | ≤ goal | in interval | refused |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, goals in GOALS.items():
        data = embedded(asked.data / name / "images", asked.weights, asked.cache)
        for goal in [*goals, PRECISION] if name == "grocery160" else goals:
            on_splits(name, data, goal, asked.splits)
    for goal in (Goal("far", 0.05), Goal("pair_far", 0.01), Goal("precision", 0.98)):
        simulated(goal, asked.repeats)


if __name__ == "__main__":
    main()
