"""How often the intervals of eml.retrieval.statistics cover the truth, over many sets of classes drawn at random.

    OMP_NUM_THREADS=1 python tests/benchmarks/interval_coverage.py [--sets 1000] [--resamples 1000]

A class has 2 + a log-normal number of queries and a rate of its own from a beta distribution; its queries are right or
wrong at that rate (as in recall_at_1), or have a value between 0 and 1 around it (as in map_at_r). Prints the share of
the sets whose 95 % interval holds the population's mean, and its median and mean width: as eml makes it, by the
jackknife over classes; by the studentised bootstrap over classes and by plain percentiles of the same resamples; and
over single queries, which is wrong. Then the same for differences of two models, and for GAP, whose truth is that of a
population of 200,000 classes.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import special

from eml.retrieval.metrics.base import QueryAnswers
from eml.retrieval.metrics.global_average_precision import GlobalAveragePrecision
from eml.retrieval.statistics import Statistic, intervals, intervals_of, paired
from eml.retrieval.statistics.interval import DIFFERENCE, UNIT, Interval, bounded_interval, interval_of_alike_classes

Random = np.random.Generator
CLASSES = (5, 10, 20, 40, 200)
TAIL = 0.025
SMOOTHING, FROM = 0.5, 20  # of an average class's spread, added to each resample's from so many classes on
RATES = {
    "0.6": (0.6, 3),
    "0.95": (0.95, 3),
    "0.2, very unlike classes": (0.2, 1.25),  # half of the classes below .03, one in twelve above .8
    "0.97, more alike classes": (0.97, 20),
    "0.99, much alike classes": (0.99, 100),
}  # mean and how much classes are alike: the sum of a beta distribution's two numbers


def classes_of(random: Random, count: int, spread: float = 1.0) -> np.ndarray:
    sizes = 2 + np.floor(random.lognormal(1.5, spread, count)).astype(int)
    return np.repeat(np.arange(count), sizes)


def rates(random: Random, count: int, mean: float, alike: float = 3) -> np.ndarray:
    return np.clip(random.beta(alike * mean, alike * (1 - mean), count), 1e-6, 1 - 1e-6)


def values(random: Random, rate: np.ndarray, whole: bool) -> np.ndarray:
    return (random.random(len(rate)) < rate).astype(float) if whole else random.beta(4 * rate, 4 * (1 - rate))


def by_bootstrap(
    per_query: np.ndarray, classes: np.ndarray, resamples: int, seed: int, bounds: tuple[float, float] = UNIT
) -> tuple[Interval, Interval]:
    """Studentised, θ − se·t* with quantiles of t* = (θ* − θ)/se* (Efron 1982, section 10.10), and plain percentiles."""
    random, of = np.random.default_rng(seed), np.unique(classes, return_inverse=True)[1]
    s, n = np.bincount(of, per_query), np.bincount(of).astype(float)
    count = len(n)

    def means(s: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """And their variances. s, n: (R, C)."""
        mean = s.sum(1) / n.sum(1)
        return mean, ((s - mean[:, None] * n) ** 2).sum(1) * count / max(count - 1, 1) / n.sum(1) ** 2

    [mean], [variance] = means(s[None], n[None])
    if variance <= 1e-14:
        return 2 * (interval_of_alike_classes(mean, count, TAIL, bounds),)
    drawn = random.integers(count, size=(resamples, count))
    again, spread = means(s[drawn], n[drawn])
    if count >= FROM:
        spread = (count * spread + SMOOTHING * variance) / (count + SMOOTHING)
    t = (again - mean) / np.sqrt(np.maximum(spread, 1e-14))
    low, high = mean - np.sqrt(variance) * np.quantile(t, [1 - TAIL, TAIL])
    return bounded_interval(low, high, mean, bounds, count), Interval(*np.quantile(again, [TAIL, 1 - TAIL]), count)


def by_percentiles(statistic: Statistic, classes: np.ndarray, resamples: int, seed: int) -> Interval:
    """Moved out as the ends of a t interval are (Hesterberg 2015, arXiv:1411.5279, section 4.1)."""
    random, of = np.random.default_rng(seed), np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(of).astype(float)
    count, alike = len(sizes), sizes.sum() ** 2 / (sizes @ sizes)
    draws = random.multinomial(count, np.full(count, 1 / count), resamples)
    again = np.array([next(iter(statistic(each[of].astype(float)).values())) for each in draws])
    wider = special.ndtr(np.sqrt(count / (count - 1)) * special.stdtrit(max(alike - 1, 1), TAIL))
    return Interval(*np.nanquantile(again, [wider, 1 - wider]), count)


def told(what: str, truth: float, found: dict[str, list[Interval]]) -> None:
    cells = []
    for several in found.values():
        covered = np.mean([each.low <= truth <= each.high for each in several])
        widths = [each.high - each.low for each in several]
        cells.append(f"{covered:.3f} ({np.median(widths):.3f}, {np.mean(widths):.3f})")
    print(f"| {what} | {' | '.join(cells)} |", flush=True)


def headed(what: str, columns: list[str]) -> None:
    print(f"\n| {what} | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")


def means(sets: int, resamples: int) -> None:
    headed("values, mean, classes", ["jackknife", "studentised bootstrap", "percentiles", "over queries"])
    for whole in (True, False):
        for name, (mean, alike) in RATES.items():
            for count in CLASSES:
                found: dict[str, list[Interval]] = {each: [] for each in ("jackknife", "t", "percentiles", "queries")}
                for seed in range(sets):
                    random = np.random.default_rng((seed, count))
                    of = classes_of(random, count)
                    drawn = values(random, rates(random, count, mean, alike)[of], whole)
                    found["jackknife"] += intervals({"": drawn}, of).values()
                    for spec, each in zip(("t", "percentiles"), by_bootstrap(drawn, of, resamples, seed), strict=True):
                        found[spec].append(each)
                    found["queries"] += intervals({"": drawn}, np.arange(len(of))).values()
                told(f"{'0 or 1' if whole else 'continuous'}, {name}, {count}", mean, found)


def differences(sets: int, resamples: int) -> None:
    """The second model is right where the first is, but for a class's own share of changes."""
    headed("difference, classes", ["jackknife", "studentised bootstrap", "percentiles", "over queries"])
    for gain in (0.0, 0.1):
        for count in CLASSES:
            found: dict[str, list[Interval]] = {each: [] for each in ("jackknife", "t", "percentiles", "queries")}
            for seed in range(sets):
                random = np.random.default_rng((seed, count))
                of = classes_of(random, count)
                before = values(random, rates(random, count, 0.6)[of], True)
                better, worse = 0.5 * random.beta(1, 3, count)[of], 0.5 * random.beta(1, 3, count)[of]
                flip = random.random(len(of)) < np.where(before == 0, better, worse)
                after = np.where(flip, 1 - before, before)
                after = np.where(random.random(len(of)) < gain, 1.0, after)
                for name, which in (("jackknife", of), ("queries", np.arange(len(of)))):
                    found[name].append(paired({"": before}, {"": after}, which)[""].interval)
                made = by_bootstrap(after - before, of, resamples, seed, DIFFERENCE)
                for name, each in zip(("t", "percentiles"), made, strict=True):
                    found[name].append(each)
            # .6 are right before, .125 change either way: .575 are right then; a share `gain` of the rest is put right.
            told(f"{0.575 + gain * 0.425 - 0.6:+.4f}, {count}", 0.575 + gain * 0.425 - 0.6, found)


def answers(random: Random, of: np.ndarray, count: int, mean: float) -> tuple[QueryAnswers, np.ndarray]:
    right = values(random, rates(random, count, mean)[of], True) > 0
    similarity = random.normal(size=len(of)) + right + 0.7 * random.normal(size=count)[of]
    order = np.argsort(-similarity, kind="stable")
    nothing = np.zeros(len(of), int)
    return QueryAnswers(nothing, similarity[order], right[order], np.ones(len(of), bool)), order


def gap(sets: int, resamples: int) -> None:
    metric = GlobalAveragePrecision()
    headed("GAP, classes", ["jackknife", "percentiles of the bootstrap, moved out", "over queries"])
    for mean in (0.6, 0.95):
        random = np.random.default_rng(0)
        of = classes_of(random, 200_000)
        everyone, _ = answers(random, of, 200_000, mean)
        [truth] = metric.together(everyone, np.ones(len(of))).values()
        for count in CLASSES:
            found: dict[str, list[Interval]] = {each: [] for each in ("jackknife", "percentiles", "queries")}
            for seed in range(sets):
                random = np.random.default_rng((seed, count))
                of = classes_of(random, count)
                drawn, order = answers(random, of, count, mean)
                statistic: Callable[[np.ndarray], dict[str, float]] = partial(metric.together, drawn)
                found["jackknife"] += intervals_of(statistic, of[order]).values()
                found["percentiles"].append(by_percentiles(statistic, of[order], resamples, seed))
                found["queries"] += intervals_of(statistic, np.arange(len(of))).values()
            told(f"{truth:.3f}, {count}", truth, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    settings = parser.parse_args()
    means(settings.sets, settings.resamples)
    differences(settings.sets, settings.resamples)
    gap(settings.sets // 2, settings.resamples // 2)


if __name__ == "__main__":
    main()
