"""How often an interval of eml.retrieval.bootstrap covers the truth, over many sets of classes drawn from a population.

    OMP_NUM_THREADS=1 python tests/benchmarks/interval_coverage.py [--sets 1000] [--resamples 1000]

A class has 2 + a log-normal number of queries and a rate of its own from a beta distribution; its queries are right or
wrong at that rate (as in recall_at_1), or have a value between 0 and 1 around it (as in map_at_r). Prints the share of
the sets whose 95 % interval holds the population's mean, and its mean width: with classes resampled, as eml does it,
with plain percentiles of the same, and with single queries resampled, which is wrong. Then the same for differences of
two models, and for GAP, whose truth is that of a population of 200,000 classes.
"""

import argparse
from functools import partial

import numpy as np

from eml.retrieval.bootstrap import Interval, intervals, intervals_of, paired
from eml.retrieval.metrics.base import Answers
from eml.retrieval.metrics.global_average_precision import GlobalAveragePrecision

Random = np.random.Generator


def classes_of(random: Random, count: int, spread: float = 1.0) -> np.ndarray:
    sizes = 2 + np.floor(random.lognormal(1.5, spread, count)).astype(int)
    return np.repeat(np.arange(count), sizes)


def rates(random: Random, count: int, mean: float) -> np.ndarray:
    return np.clip(random.beta(3 * mean, 3 * (1 - mean), count), 1e-6, 1 - 1e-6)


def values(random: Random, rate: np.ndarray, whole: bool) -> np.ndarray:
    return (random.random(len(rate)) < rate).astype(float) if whole else random.beta(4 * rate, 4 * (1 - rate))


def by_percentiles(per_query: np.ndarray, classes: np.ndarray, resamples: int, seed: int) -> Interval:
    random, of = np.random.default_rng(seed), np.unique(classes, return_inverse=True)[1]
    sums, sizes = np.bincount(of, per_query), np.bincount(of)
    drawn = random.integers(len(sums), size=(resamples, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
    return Interval(low, high, len(sums))


def told(what: str, truth: float, found: dict[str, list[Interval]]) -> None:
    cells = []
    for several in found.values():
        covered = np.mean([each.low <= truth <= each.high for each in several])
        cells.append(f"{covered:.3f} ({np.mean([each.high - each.low for each in several]):.3f})")
    print(f"| {what} | {' | '.join(cells)} |", flush=True)


def means(sets: int, resamples: int) -> None:
    print("\n| values, mean, classes | classes resampled | … by percentiles | queries resampled |\n|---|---|---|---|")
    for whole in (True, False):
        for mean in (0.6, 0.95):
            for count in (10, 40, 200):
                found: dict[str, list[Interval]] = {"classes": [], "percentiles": [], "queries": []}
                for seed in range(sets):
                    random = np.random.default_rng((seed, count))
                    of = classes_of(random, count)
                    drawn = values(random, rates(random, count, mean)[of], whole)
                    options = {"resamples": resamples, "seed": seed}
                    found["classes"] += intervals({"": drawn}, of, **options).values()
                    found["percentiles"].append(by_percentiles(drawn, of, resamples, seed))
                    found["queries"] += intervals({"": drawn}, np.arange(len(of)), **options).values()
                told(f"{'0 or 1' if whole else 'continuous'}, {mean}, {count}", mean, found)


def differences(sets: int, resamples: int) -> None:
    """The second model is right where the first is, but for a class's own share of changes."""
    print("\n| difference, classes | classes resampled | queries resampled |\n|---|---|---|")
    for gain in (0.0, 0.1):
        for count in (10, 40, 200):
            found: dict[str, list[Interval]] = {"classes": [], "queries": []}
            for seed in range(sets):
                random = np.random.default_rng((seed, count))
                of = classes_of(random, count)
                before = values(random, rates(random, count, 0.6)[of], True)
                better, worse = 0.5 * random.beta(1, 3, count)[of], 0.5 * random.beta(1, 3, count)[of]
                flip = random.random(len(of)) < np.where(before == 0, better, worse)
                after = np.where(flip, 1 - before, before)
                after = np.where(random.random(len(of)) < gain, 1.0, after)
                options = {"resamples": resamples, "seed": seed}
                for name, which in (("classes", of), ("queries", np.arange(len(of)))):
                    found[name].append(paired({"": before}, {"": after}, which, **options)[""].interval)
            # .6 are right before, .125 change either way: .575 are right then; a share `gain` of the rest is put right.
            told(f"{0.575 + gain * 0.425 - 0.6:+.4f}, {count}", 0.575 + gain * 0.425 - 0.6, found)


def answers(random: Random, of: np.ndarray, count: int, mean: float) -> tuple[Answers, np.ndarray]:
    right = values(random, rates(random, count, mean)[of], True) > 0
    similarity = random.normal(size=len(of)) + right + 0.7 * random.normal(size=count)[of]
    order = np.argsort(-similarity, kind="stable")
    nothing = np.zeros(len(of), int)
    return Answers(nothing, similarity[order], right[order], np.ones(len(of), bool)), order


def gap(sets: int, resamples: int) -> None:
    metric = GlobalAveragePrecision()
    print("\n| GAP, classes | classes resampled | queries resampled |\n|---|---|---|")
    for mean in (0.6, 0.95):
        random = np.random.default_rng(0)
        of = classes_of(random, 200_000)
        everyone, _ = answers(random, of, 200_000, mean)
        [truth] = metric.together(everyone, np.ones(len(of))).values()
        for count in (10, 40, 200):
            found: dict[str, list[Interval]] = {"classes": [], "queries": []}
            for seed in range(sets):
                random = np.random.default_rng((seed, count))
                of = classes_of(random, count)
                drawn, order = answers(random, of, count, mean)
                for name, which in (("classes", of[order]), ("queries", np.arange(len(of)))):
                    found[name] += intervals_of(
                        partial(metric.together, drawn), which, resamples=resamples, seed=seed
                    ).values()
            told(f"{truth:.3f}, {count}", truth, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    settings = parser.parse_args()
    means(settings.sets, settings.resamples)
    differences(settings.sets, settings.resamples)
    gap(settings.sets // 5, settings.resamples // 2)


if __name__ == "__main__":
    main()
