"""Share of the intervals of eml.retrieval.statistics that cover the true value, over many sets of random classes.

    OMP_NUM_THREADS=1 python tests/benchmarks/interval_coverage.py [--sets 1000] [--resamples 1000]

A class has 2 + a log-normal number of queries and its own rate from a beta distribution. Its queries are right or wrong
at that rate (as in recall_at_1), or have a value between 0 and 1 around it (as in map_at_r). Prints the share of the
sets whose 95 % interval covers the population's mean, and the median and mean width of the interval: by the jackknife
over classes (eml's), by the studentised bootstrap over classes, by plain percentiles of the same resamples, and over
single queries, which is wrong. Then the same for differences of two models, and for GAP, whose true value is that of a
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
SMOOTHING, FROM = 0.5, 20  # share of an average class's spread that is added to each resample's from 20 classes on
RATES = {
    "0.6": (0.6, 3),
    "0.95": (0.95, 3),
    "0.2, very different classes": (0.2, 1.25),  # half of the classes below .03, one in twelve above .8
    "0.97, similar classes": (0.97, 20),
    "0.99, very similar classes": (0.99, 100),
}  # mean and similarity of the classes: the sum of the two parameters of a beta distribution


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
    """Return the studentised interval, θ − se·t*, t* = (θ* − θ)/se* (Efron 1982, section 10.10), and percentiles."""
    random, of = np.random.default_rng(seed), np.unique(classes, return_inverse=True)[1]
    s, n = np.bincount(of, per_query), np.bincount(of).astype(float)
    count = len(n)

    def means(s: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the means and their variances. s, n: (R, C)."""
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
    """Return percentiles, widened like the ends of a t interval (Hesterberg 2015, arXiv:1411.5279, section 4.1)."""
    random, of = np.random.default_rng(seed), np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(of).astype(float)
    count, alike = len(sizes), sizes.sum() ** 2 / (sizes @ sizes)
    draws = random.multinomial(count, np.full(count, 1 / count), resamples)
    again = np.array([next(iter(statistic(draw[of].astype(float)).values())) for draw in draws])
    wider = special.ndtr(np.sqrt(count / (count - 1)) * special.stdtrit(max(alike - 1, 1), TAIL))
    return Interval(*np.nanquantile(again, [wider, 1 - wider]), count)


def show_row(name: str, truth: float, methods: dict[str, list[Interval]]) -> None:
    cells = []
    for several in methods.values():
        covered = np.mean([interval.low <= truth <= interval.high for interval in several])
        widths = [interval.high - interval.low for interval in several]
        cells.append(f"{covered:.3f} ({np.median(widths):.3f}, {np.mean(widths):.3f})")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def show_header(name: str, columns: list[str]) -> None:
    print(f"\n| {name} | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")


def means(sets: int, resamples: int) -> None:
    show_header("values, mean, classes", ["jackknife", "studentised bootstrap", "percentiles", "over queries"])
    for whole in (True, False):
        for name, (mean, alike) in RATES.items():
            for count in CLASSES:
                methods: dict[str, list[Interval]] = {
                    method: [] for method in ("jackknife", "t", "percentiles", "queries")
                }
                for seed in range(sets):
                    random = np.random.default_rng((seed, count))
                    of = classes_of(random, count)
                    drawn = values(random, rates(random, count, mean, alike)[of], whole)
                    methods["jackknife"] += intervals({"": drawn}, of).values()
                    studentised, percentiles = by_bootstrap(drawn, of, resamples, seed)
                    methods["t"].append(studentised)
                    methods["percentiles"].append(percentiles)
                    methods["queries"] += intervals({"": drawn}, np.arange(len(of))).values()
                show_row(f"{'0 or 1' if whole else 'continuous'}, {name}, {count}", mean, methods)


def differences(sets: int, resamples: int) -> None:
    """Measure differences: the second model is right where the first is, except for each class's share of changes."""
    show_header("difference, classes", ["jackknife", "studentised bootstrap", "percentiles", "over queries"])
    for gain in (0.0, 0.1):
        for count in CLASSES:
            methods: dict[str, list[Interval]] = {method: [] for method in ("jackknife", "t", "percentiles", "queries")}
            for seed in range(sets):
                random = np.random.default_rng((seed, count))
                of = classes_of(random, count)
                before = values(random, rates(random, count, 0.6)[of], True)
                better, worse = 0.5 * random.beta(1, 3, count)[of], 0.5 * random.beta(1, 3, count)[of]
                flip = random.random(len(of)) < np.where(before == 0, better, worse)
                after = np.where(flip, 1 - before, before)
                after = np.where(random.random(len(of)) < gain, 1.0, after)
                for name, which in (("jackknife", of), ("queries", np.arange(len(of)))):
                    methods[name].append(paired({"": before}, {"": after}, which)[""].interval)
                studentised, percentiles = by_bootstrap(after - before, of, resamples, seed, DIFFERENCE)
                methods["t"].append(studentised)
                methods["percentiles"].append(percentiles)
            # .6 are right before, .125 change either way: .575 are right after; `gain` of the rest becomes right.
            show_row(f"{0.575 + gain * 0.425 - 0.6:+.4f}, {count}", 0.575 + gain * 0.425 - 0.6, methods)


def answers(random: Random, of: np.ndarray, count: int, mean: float) -> tuple[QueryAnswers, np.ndarray]:
    right = values(random, rates(random, count, mean)[of], True) > 0
    similarity = random.normal(size=len(of)) + right + 0.7 * random.normal(size=count)[of]
    order = np.argsort(-similarity, kind="stable")
    nothing = np.zeros(len(of), int)
    return QueryAnswers(nothing, similarity[order], right[order], np.ones(len(of), bool)), order


def gap(sets: int, resamples: int) -> None:
    metric = GlobalAveragePrecision()
    show_header("GAP, classes", ["jackknife", "percentiles of the bootstrap, widened", "over queries"])
    for mean in (0.6, 0.95):
        random = np.random.default_rng(0)
        of = classes_of(random, 200_000)
        everyone, _ = answers(random, of, 200_000, mean)
        [truth] = metric.together(everyone, np.ones(len(of))).values()
        for count in CLASSES:
            methods: dict[str, list[Interval]] = {method: [] for method in ("jackknife", "percentiles", "queries")}
            for seed in range(sets):
                random = np.random.default_rng((seed, count))
                of = classes_of(random, count)
                drawn, order = answers(random, of, count, mean)
                statistic: Callable[[np.ndarray], dict[str, float]] = partial(metric.together, drawn)
                methods["jackknife"] += intervals_of(statistic, of[order]).values()
                methods["percentiles"].append(by_percentiles(statistic, of[order], resamples, seed))
                methods["queries"] += intervals_of(statistic, np.arange(len(of))).values()
            show_row(f"{truth:.3f}, {count}", truth, methods)


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
