"""How often the intervals of `eml calibrate` hold the truth, over many sets of classes drawn from a population.

    OMP_NUM_THREADS=1 python tests/benchmarks/calibrated_intervals.py [--sets 300]

A class is a Gaussian in 24 dimensions around a center that lies around one of 12, so that some classes are much alike;
classes differ in their spread and have 5 images and more, 10 on average. Sets of 10, 20, 40 and 80 classes are drawn;
each image is asked among all the others. First the rates at the threshold that is chosen for --far 0.1: the truth is
the rate at that threshold of very many such sets (of pairs: of one very large set). Then the threshold for each kind of
goal: the truth is that at which very many such sets keep to the goal together. Printed is the share of sets whose 95 %
interval holds the truth, and its median width: as eml makes it, by percentiles of resamples of the classes, and, of
rates that are sums over classes, by the studentised bootstrap. Sets without a threshold are left out; one without an
interval counts as not holding the truth.
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
    """Of very many sets of so many classes: descending cosines of the nearest, and of the nearest of other classes."""

    def __init__(self, classes: int, pairs: AcceptedPairs) -> None:
        random = np.random.default_rng(1)
        found = [drawn_set(classes, random).search() for _ in range(12_000 // classes)]
        top = np.concatenate([each.top[each.known] for each in found]).astype(float)
        order = np.argsort(-top)
        self.top = top[order]
        self.right = np.cumsum(np.concatenate([each.right[each.known] for each in found])[order])
        self.nearest_other_class = -np.sort(-np.concatenate([each.nearest_other_class for each in found]).astype(float))
        self.pairs = pairs

    def rates(self, threshold: float) -> dict[str, float]:
        top, strange, pair = (
            int(np.searchsorted(-each, -threshold, side="right"))
            for each in (self.top, self.nearest_other_class, self.pairs.threshold)
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


def rates_by_percentiles(data: OpenSet, found: OpenSetQueries, threshold: float, seed: int) -> dict[str, Interval]:
    """Sums over classes that are drawn with replacement; of unknown queries random halves, scaled to the rate."""
    draws, known = draw_classes(data.classes, RESAMPLES, seed), found.known
    top = known & (found.top >= threshold)
    made = {}
    for name, some, of in (("accepted", top, known), ("recognised", top & found.right, known)):
        made[name] = percentiles(0, _sums(draws, found.labels[some]) / _sums(draws, found.labels[of]))
    with np.errstate(invalid="ignore"):
        made["precision"] = percentiles(
            0, _sums(draws, found.labels[top & found.right]) / _sums(draws, found.labels[top])
        )
    strangers = UnknownQueries.from_queries(found)
    value = strangers.rate(threshold)
    again = np.array([(strangers.within(half) >= threshold).mean() for half in draw_halves(*draws.shape[::-1], seed)])
    made["false_accept_rate"] = percentiles(value, again * value / again.mean() if again.any() else again)
    pairs = DifferentPairs.above(data.embeddings, data.labels, threshold, 0)
    again = np.array([pairs.rates(np.array([threshold]), each)[0] for each in draws])
    made["pair_false_accept_rate"] = percentiles(0, again)
    return made


def _sums(draws: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return draws @ np.bincount(codes, minlength=draws.shape[1])


def rates_by_bootstrap(found: OpenSetQueries, threshold: float, seed: int) -> dict[str, Interval]:
    known = found.known
    top = known & (found.top >= threshold)
    right = top & found.right
    made = {}
    for name, some, of in (("accepted", top, known), ("recognised", right, known), ("precision", right, top)):
        if of.any():
            made[name] = by_bootstrap(some[of].astype(float), found.labels[of], 1000, seed)[0]
    return made


def of_rates(sets: int, pairs: AcceptedPairs) -> None:
    print("| classes | rate, mean truth | as eml does | by percentiles | studentised bootstrap | sets |")
    print("|---|---|---|---|---|---|")
    goal = Goal("far", 0.1)
    for classes in CLASSES:
        truth, cells, means = Truth(classes, pairs), {}, []
        for seed, data, found, criterion in sets_of(classes, goal, sets):
            threshold = choose_threshold(criterion, goal, RESAMPLES, seed).threshold.value
            if np.isnan(threshold):
                continue
            means.append(true := truth.rates(threshold))
            made = {
                "eml": {
                    name: each.interval
                    for name, each in measure_rates(
                        data, found, all_pairs(data.embeddings, data.labels), threshold
                    ).items()
                },
                "percentiles": rates_by_percentiles(data, found, threshold, seed),
                "bootstrap": rates_by_bootstrap(found, threshold, seed),
            }
            for spec, several in made.items():
                for name, each in several.items():
                    cells.setdefault((name, spec), []).append((each, true[name]))
        for name in RATES:
            mean = np.mean([each[name] for each in means])
            told = " | ".join(summary(cells.get((name, spec), [])) for spec in ("eml", "percentiles", "bootstrap"))
            print(f"| {classes} | {name}, {mean:.2g} | {told} | {len(means)} |", flush=True)


def of_thresholds(sets: int, pairs: AcceptedPairs) -> None:
    print("\n| goal | classes | as eml does | by percentiles | sets |\n|---|---|---|---|---|")
    for goal in (Goal("far", 0.1), Goal("pair_far", 0.01), Goal("precision", 0.98)):
        for classes in CLASSES:
            needed, cells = Truth(classes, pairs).threshold(goal), {"eml": [], "percentiles": []}
            for seed, _, _, criterion in sets_of(classes, goal, sets):
                found = choose_threshold(criterion, goal, RESAMPLES, seed).threshold
                if np.isnan(found.value):
                    continue
                again = criterion.resample(np.array([goal.value]), RESAMPLES, seed).thresholds[:, 0]
                moved = again + found.value - np.nanmedian(again)
                cells["eml"].append((found.interval, needed))
                cells["percentiles"].append((percentiles(found.value, moved), needed))
            told = " | ".join(summary(each) for each in cells.values())
            print(f"| {goal.kind} {goal.value:g} | {classes} | {told} | {len(cells['eml'])} |", flush=True)


def sets_of(classes: int, goal: Goal, sets: int) -> Iterator[tuple[int, OpenSet, OpenSetQueries, Criterion]]:
    for seed in range(sets):
        data = drawn_set(classes, np.random.default_rng((seed, classes)))
        found = data.search()
        yield seed, data, found, make_criterion(goal, data, found)


def summary(several: list[tuple[Interval, float]]) -> str:
    if not several:
        return "–"
    held = np.mean([each.low <= true <= each.high for each, true in several])
    return f"{held:.0%} ({np.nanmedian([each.high - each.low for each, _ in several]):.2g})"


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
