"""Print the tables of stages.py from its results: `python tests/benchmarks/stages.py --report`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stages import FEW, SETS

from eml.retrieval.statistics import paired
from eml.retrieval.statistics.interval import Difference

METRICS = {"map_at_r": "MAP@R", "recall_at_1": "R@1"}
Result = dict[str, Any]


class Results:
    """The results of a folder, by set, recipe and length."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*.json"))
        self.all: list[Result] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        self.sets = [name for name in SETS if any(result["dataset"] == name for result in self.all)]

    def of(self, dataset: str, recipe: str, length: float = 1, seeds: Sequence[int] | None = None) -> list[Result]:
        """Return the results of a set and a recipe, one a seed."""
        return [
            result
            for result in self.all
            if (result["dataset"], result["recipe"], result["length"]) == (dataset, recipe, length)
            and (seeds is None or result["seed"] in seeds)
        ]

    def both(self, dataset: str, length: float = 1) -> tuple[list[Result], list[Result]]:
        """Return the results before and now of the seeds that have both."""
        before, now = self.of(dataset, "before", length), self.of(dataset, "now", length)
        seeds = {result["seed"] for result in before} & {result["seed"] for result in now}
        return self.of(dataset, "before", length, list(seeds)), self.of(dataset, "now", length, list(seeds))


def mean(results: Sequence[Result], key: str) -> float:
    """Return the mean of a number over results; NaN without any."""
    return float(np.mean([result[key] for result in results])) if results else float("nan")


def change(before: Sequence[Result], now: Sequence[Result], metric: str) -> Difference:
    """Return the difference of two recipes, paired by class, with its 95 % interval over classes.

    The values of a class are its means over queries and seeds.
    """
    queries = np.array(now[0]["by_class"]["queries"])
    classes = np.repeat(np.arange(len(queries)), queries)
    old, new = (
        np.repeat(np.mean([result["by_class"][metric] for result in results], axis=0), queries)
        for results in (before, now)
    )
    return paired({"value": old}, {"value": new}, classes)["value"]


def shown(difference: Difference) -> str:
    """Return a difference with its interval."""
    interval = difference.interval
    return f"{difference.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def gains(results: Results) -> None:
    """Print the table of the sets, and the means over them."""
    print("| set | untouched | closed form | before | now | difference | R@1 before | now | difference "
          "| seconds before | now | seeds |")  # fmt: skip
    print("|" + "---|" * 12)
    differences, relative, worse = [], [], []
    for dataset in results.sets:
        before, now = results.both(dataset)
        if not now:
            continue
        cells = [f"{mean(results.of(dataset, recipe), 'map_at_r'):.3f}" for recipe in ("untouched", "closed")]
        for metric in METRICS:
            difference = change(before, now, metric)
            cells += [f"{mean(before, metric):.3f}", f"{mean(now, metric):.3f}", shown(difference)]
            if difference.interval.high < 0 or (metric == "recall_at_1" and difference.value < 0):
                worse.append(f"{dataset} {METRICS[metric]} {shown(difference)}")
        cells += [f"{mean(before, 'seconds'):.0f}", f"{mean(now, 'seconds'):.0f}", str(len(now))]
        print(f"| {dataset} | " + " | ".join(cells) + " |")
        old, new = mean(before, "map_at_r"), mean(now, "map_at_r")
        differences.append(new - old)
        relative.append((new - old) / (1 - old))
    if differences:
        print(
            f"\nMean gain of {len(differences)} sets: {np.mean(differences):+.4f} MAP@R; "
            f"mean of (now − before)/(1 − before): {np.mean(relative):+.3f}. "
            f"Below: {'; '.join(worse) or 'none'}"
        )


def closed_form(results: Results) -> None:
    """Print what the closed form alone brings, from all training classes and from eight."""
    print("\n| set | untouched | closed form | difference | R@1 | from eight classes, differences by seed |")
    print("|" + "---|" * 6)
    for dataset in results.sets:
        untouched, closed = (results.of(dataset, recipe) for recipe in ("untouched", "closed"))
        if not (untouched and closed):
            continue
        eight = [shown(change(untouched, [result], "map_at_r")) for result in results.of(f"{dataset}-{FEW}", "closed")]
        values = [f"{mean(found, 'map_at_r'):.3f}" for found in (untouched, closed)]
        recalls = " → ".join(f"{mean(found, 'recall_at_1'):.3f}" for found in (untouched, closed))
        cells = [dataset, *values, shown(change(untouched, closed, "map_at_r")), recalls, ", ".join(eight)]
        print("| " + " | ".join(cells) + " |")


def verdicts(results: Results) -> None:
    """Print how far the gain that a run states is from that of the unseen classes."""
    print(
        "\n| set | recipe | stated gain | on unseen classes | mean absolute difference | seeds |\n" + "|---" * 6 + "|"
    )
    errors: dict[str, list[float]] = {"before": [], "now": []}
    for dataset in results.sets:
        untouched = results.of(dataset, "untouched")
        for recipe, all_errors in errors.items():
            found = [result for result in results.of(dataset, recipe) if result.get("verdict")]
            if not untouched or not found:
                continue
            stated = [result["verdict"]["after"] - result["verdict"]["before"] for result in found]
            true = [result["map_at_r"] - untouched[0]["map_at_r"] for result in found]
            wrong = np.abs(np.subtract(stated, true))
            all_errors += wrong.tolist()
            print(f"| {dataset} | {recipe} | {np.mean(stated):+.3f} | {np.mean(true):+.3f} | {wrong.mean():.3f} "
                  f"| {len(found)} |")  # fmt: skip
    for recipe, all_errors in errors.items():
        if all_errors:
            print(f"\n{recipe}: {np.mean(all_errors):.3f} over all sets and seeds, at most {max(all_errors):.3f}")


def validation(results: Results) -> None:
    """Print the share of validation, and of the stages' embeddings, in the time of a run."""
    print("\n| set | validation before | validation now | embedding for stages |\n" + "|---" * 4 + "|")
    for dataset in results.sets:
        columns = (("before", "validation"), ("now", "validation"), ("now", "stages"))
        cells = [mean_share(results.of(dataset, recipe), phase) for recipe, phase in columns]
        print(f"| {dataset} | {' | '.join(cells)} |")


def mean_share(results: Sequence[Result], phase: str) -> str:
    """Return the mean share of a phase in the time of runs."""
    shares = [
        result["phases"].get(phase, 0.0) / max(result["wall_seconds"], sum(result["phases"].values()))
        for result in results
    ]
    return f"{np.mean(shares):.0%}" if shares else ""


def shipped(results: Results) -> None:
    """Print what each run gives, and what its last stages were."""
    print("\n| run | epoch | what it gives |\n|---|---|---|")
    for result in results.all:
        if result["recipe"] == "now" and (facts := result.get("stages")):
            print(f"| {result['dataset']}, seed {result['seed']} | {result['best_epoch']} | {facts.get('shipped')} |")


def few(results: Results) -> None:
    """Print the runs on eight classes against the untouched network and the closed form."""
    print(
        "\n| eight classes of | seed | untouched | closed form | before | now | now − untouched | now − closed form |"
    )
    print("|" + "---|" * 8)
    lines: dict[str, list[tuple[float, bool, str]]] = {"untouched": [], "closed form": []}
    for dataset in results.sets:
        for now in results.of(f"{dataset}-{FEW}", "now"):
            seeds = [now["seed"]]
            untouched = results.of(dataset, "untouched")
            closed, before = (results.of(f"{dataset}-{FEW}", recipe, 1, seeds) for recipe in ("closed", "before"))
            if not (untouched and closed):
                continue
            cells = [f"{mean(found, 'map_at_r'):.3f}" if found else "" for found in (untouched, closed, before, [now])]
            for name, other in (("untouched", untouched), ("closed form", closed)):
                difference = change(other, [now], "map_at_r")
                lines[name].append((difference.value, difference.interval.high < 0, f"{dataset}, seed {seeds[0]}"))
                cells.append(shown(difference))
            print(f"| {dataset} | {seeds[0]} | " + " | ".join(cells) + " |")
    for name, found in lines.items():
        if found:
            below = [f"{where} ({value:+.3f})" for value, is_below, where in found if is_below]
            least, _, where = min(found)
            gain = f"mean {np.mean([value for value, *_ in found]):+.4f} over {len(found)} runs"
            print(f"\nAgainst the {name}: {gain}, worst {where} ({least:+.3f})")
            print(f"Below by more than the interval: {', '.join(below) or 'none'}")


def lengths(results: Results) -> None:
    """Print the runs of other lengths."""
    found = sorted({(result["dataset"], result["length"]) for result in results.all if result["length"] != 1})
    if not found:
        return
    print("\n| set | length | before | now | seconds before | now | seeds |\n" + "|---" * 7 + "|")
    for dataset in dict.fromkeys(name for name, _ in found):
        for length in sorted({1, *(length for name, length in found if name == dataset)}):
            sides = [results.of(dataset, recipe, length) for recipe in ("before", "now")]
            cells = [f"{mean(side, key):{form}}" if side else ""
                     for key, form in (("map_at_r", ".3f"), ("seconds", ".0f")) for side in sides]  # fmt: skip
            counts = ", ".join(str(len(side)) for side in sides)
            print(f"| {dataset} | {length:g} | " + " | ".join(cells) + f" | {counts} |")


def report(folder: Path) -> None:
    """Print all tables."""
    results = Results(folder)
    for part in (gains, closed_form, verdicts, validation, shipped, few, lengths):
        part(results)
