"""Share of the intervals of `eml calibrate` that cover the true value, over many sets of classes from a population.

    OMP_NUM_THREADS=1 python tests/benchmarks/calibrated_intervals.py [--sets 300]

A class is a Gaussian in 24 dimensions around a center that lies around one of 12, so that some classes are similar;
classes differ in their spread and have 5 images or more, 10 on average. Sets of 10, 20, 40 and 80 classes are drawn;
each image is a query against all the others.

The first table is about the rates at the threshold that is chosen for --far 0.1: the true value is the rate at that
threshold over very many such sets (for pairs: over one very large set). The second table is about the threshold for
each kind of goal: the true value is the threshold at which very many such sets meet the goal together. A cell has the
share of sets whose 95 % interval covers the true value, and the median width: of eml's interval, of percentiles of
resamples of the classes, and, for rates that are sums over classes, of the studentised bootstrap. Sets without a
threshold are left out; one without an interval counts as not covering.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from interval_coverage import by_bootstrap

from eml.retrieval.statistics import Interval
from eml.retrieval.verification import AcceptedPairs, Goal, OpenSet, all_pairs
from eml.retrieval.verification.calibration import choose_threshold, make_criterion, measure_rates
from eml.retrieval.verification.criteria import Criterion, UnknownQueries, draw_classes, draw_halves
from eml.retrieval.verification.different_pairs import DifferentPairs
from eml.retrieval.verification.open_set import OpenSetQueries

CLASSES = (10, 20, 40, 80)
CENTERS = np.random.default_rng(0).normal(size=(12, 24))
RESAMPLES = 200
RATES = ("accepted", "recognised", "precision", "false_accept_rate", "pair_false_accept_rate")


def drawn_set(classes: int, random: np.random.Generator) -> OpenSet:
    centers = CENTERS[random.integers(len(CENTERS), size=classes)] + random.normal(0, 0.8, (classes, 24))
    labels = np.repeat(np.arange(classes), 4 + np.minimum(random.geometric(1 / 6, classes), 40))
    spread = 0.85 * random.lognormal(0, 0.25, classes)
    embeddings = centers[labels] + random.normal(size=(len(labels), 24)) * spread[labels, None]
    return OpenSet.leave_one_out(torch.from_numpy(embeddings).float(), labels)


class Truth:
    """The rates of very many sets of `classes` classes, from the descending cosines of their nearest images."""

    def __init__(self, classes: int, pairs: AcceptedPairs) -> None:
        random = np.random.default_rng(1)
        answers = [drawn_set(classes, random).search() for _ in range(12_000 // classes)]
        top = np.concatenate([answer.top[answer.known] for answer in answers]).astype(float)
        order = np.argsort(-top)
        self.top = top[order]
        self.right = np.cumsum(np.concatenate([answer.right[answer.known] for answer in answers])[order])
        unknown = np.concatenate([answer.nearest_other_class for answer in answers]).astype(float)
        self.nearest_other_class = -np.sort(-unknown)
        self.pairs = pairs

    def rates(self, threshold: float) -> dict[str, float]:
        top, strange, pair = (
            int(np.searchsorted(-cosines, -threshold, side="right"))
            for cosines in (self.top, self.nearest_other_class, self.pairs.threshold)
        )
        right = self.right[top - 1] if top else 0
        return {
            "accepted": top / len(self.top),
            "recognised": right / len(self.top),
            "precision": right / top if top else np.nan,
            "false_accept_rate": strange / len(self.nearest_other_class),
            "pair_false_accept_rate": self.pairs.different[max(0, pair - 1)] / self.pairs.different[-1],
        }

    def threshold(self, goal: Goal) -> float:
        if goal.kind == "far":
            return float(self.nearest_other_class[int(goal.value * len(self.nearest_other_class))])
        if goal.kind == "pair_far":
            return float(
                self.pairs.threshold[np.searchsorted(self.pairs.different, goal.value * self.pairs.different[-1])]
            )
        good = np.flatnonzero(self.right >= goal.value * np.arange(1, len(self.right) + 1))
        return float(self.top[good[-1]])


def percentiles(value: float, again: np.ndarray) -> Interval:
    again = again[np.isfinite(again)]
    low, high = np.quantile(again, [0.025, 0.975], method="nearest") if len(again) else 2 * [np.nan]
    return Interval(low, high, 0)


def rates_by_percentiles(data: OpenSet, queries: OpenSetQueries, threshold: float, seed: int) -> dict[str, Interval]:
    """Resample classes with replacement; for unknown queries take random halves, scaled to the rate."""
    draws, known = draw_classes(data.classes, RESAMPLES, seed), queries.known
    top = known & (queries.top >= threshold)
    by_rate = {}
    for name, some, of in (("accepted", top, known), ("recognised", top & queries.right, known)):
        by_rate[name] = percentiles(0, _sums(draws, queries.labels[some]) / _sums(draws, queries.labels[of]))
    with np.errstate(invalid="ignore"):
        by_rate["precision"] = percentiles(
            0, _sums(draws, queries.labels[top & queries.right]) / _sums(draws, queries.labels[top])
        )
    strangers = UnknownQueries.from_queries(queries)
    value = strangers.rate(threshold)
    again = np.array([(strangers.within(half) >= threshold).mean() for half in draw_halves(*draws.shape[::-1], seed)])
    by_rate["false_accept_rate"] = percentiles(value, again * value / again.mean() if again.any() else again)
    pairs = DifferentPairs.above(data.embeddings, data.labels, threshold, 0)
    again = np.array([pairs.rates(np.array([threshold]), draw)[0] for draw in draws])
    by_rate["pair_false_accept_rate"] = percentiles(0, again)
    return by_rate


def _sums(draws: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return draws @ np.bincount(codes, minlength=draws.shape[1])


def rates_by_bootstrap(queries: OpenSetQueries, threshold: float, seed: int) -> dict[str, Interval]:
    known = queries.known
    top = known & (queries.top >= threshold)
    right = top & queries.right
    by_rate = {}
    for name, some, of in (("accepted", top, known), ("recognised", right, known), ("precision", right, top)):
        if of.any():
            by_rate[name] = by_bootstrap(some[of].astype(float), queries.labels[of], 1000, seed)[0]
    return by_rate


def of_rates(sets: int, pairs: AcceptedPairs) -> None:
    print("| classes | rate, mean true value | eml | percentiles | studentised bootstrap | sets |")
    print("|---|---|---|---|---|---|")
    goal = Goal("far", 0.1)
    for classes in CLASSES:
        truth, cells, means = Truth(classes, pairs), {}, []
        for seed, data, queries, criterion in sets_of(classes, goal, sets):
            threshold = choose_threshold(criterion, goal, RESAMPLES, seed).threshold.value
            if np.isnan(threshold):
                continue
            means.append(true := truth.rates(threshold))
            rates = measure_rates(data, queries, all_pairs(data.embeddings, data.labels), threshold)
            methods = {
                "eml": {name: rate.interval for name, rate in rates.items()},
                "percentiles": rates_by_percentiles(data, queries, threshold, seed),
                "bootstrap": rates_by_bootstrap(queries, threshold, seed),
            }
            for method, by_rate in methods.items():
                for name, interval in by_rate.items():
                    cells.setdefault((name, method), []).append((interval, true[name]))
        for name in RATES:
            mean = np.mean([true[name] for true in means])
            row = " | ".join(summary(cells.get((name, method), [])) for method in ("eml", "percentiles", "bootstrap"))
            print(f"| {classes} | {name}, {mean:.2g} | {row} | {len(means)} |", flush=True)


def of_thresholds(sets: int, pairs: AcceptedPairs) -> None:
    print("\n| goal | classes | eml | percentiles | sets |\n|---|---|---|---|---|")
    for goal in (Goal("far", 0.1), Goal("pair_far", 0.01), Goal("precision", 0.98)):
        for classes in CLASSES:
            needed, cells = Truth(classes, pairs).threshold(goal), {"eml": [], "percentiles": []}
            for seed, _, _, criterion in sets_of(classes, goal, sets):
                threshold = choose_threshold(criterion, goal, RESAMPLES, seed).threshold
                if np.isnan(threshold.value):
                    continue
                again = criterion.resample(np.array([goal.value]), RESAMPLES, seed).thresholds[:, 0]
                moved = again + threshold.value - np.nanmedian(again)
                cells["eml"].append((threshold.interval, needed))
                cells["percentiles"].append((percentiles(threshold.value, moved), needed))
            row = " | ".join(summary(method) for method in cells.values())
            print(f"| {goal.kind} {goal.value:g} | {classes} | {row} | {len(cells['eml'])} |", flush=True)


def sets_of(classes: int, goal: Goal, sets: int) -> Iterator[tuple[int, OpenSet, OpenSetQueries, Criterion]]:
    for seed in range(sets):
        data = drawn_set(classes, np.random.default_rng((seed, classes)))
        queries = data.search()
        yield seed, data, queries, make_criterion(goal, data, queries)


def summary(several: list[tuple[Interval, float]]) -> str:
    if not several:
        return "–"
    covered = np.mean([interval.low <= true <= interval.high for interval, true in several])
    return f"{covered:.0%} ({np.nanmedian([interval.high - interval.low for interval, _ in several]):.2g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=300)
    settings = parser.parse_args()
    large = drawn_set(1200, np.random.default_rng(2))
    pairs = all_pairs(large.embeddings, large.labels)
    of_rates(settings.sets, pairs)
    of_thresholds(settings.sets, pairs)


if __name__ == "__main__":
    main()
