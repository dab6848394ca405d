"""Measure whether `recipe: auto` helps: untrained against trained network on unseen classes, on several datasets.

    python tests/benchmarks/recipes.py --data DIR --weights FILE [--only NAME …] [--seeds 0 1 2] [--config FILE]

DIR holds grocery160, omniglot, emoji and orl_faces unpacked, each with images/CLASS/…. Half of the classes train (of
omniglot every second alphabet), the other half is measured leave-one-out; `NAME-8` trains on only eight of the classes
and is measured on the same others. The config sets only the table, the weights and the seed, unless --config names a
recipe to measure instead of auto. One line each: metric before and after, difference with its 95 % interval over
classes, seconds of everything, processor seconds of the steps alone.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from eml.config import load
from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table, write_table
from eml.training.config import RunConfig
from eml.training.events import Event, Stepped, Validated
from eml.training.fit import fit

DATASETS = ("grocery160", "omniglot", "emoji", "orl_faces")


def sides(name: str, table: Table) -> tuple[Table, Table]:
    """Split a table into training classes and unseen classes."""
    labels = table.frame["label"]
    groups = labels.str.partition("__")[0] if name == "omniglot" else labels
    test = groups.isin(sorted(set(groups))[1::2])
    return (Table(table.frame[rows].reset_index(drop=True), table.root) for rows in (~test, test))  # type: ignore[return-value]


class Clock:
    """Processor seconds from the end of the untrained network's validation to the beginning of the next."""

    def __init__(self) -> None:
        self.started, self.seconds = 0.0, 0.0

    def observe(self, event: Event) -> None:
        if isinstance(event, Validated) and event.epoch == 0:
            self.started = time.process_time()
        elif self.started and isinstance(event, Stepped):
            self.seconds = time.process_time() - self.started


def measure(
    name: str, train: Table, test: Table, weights: str, seed: int, settings: list[str], base: Path | None = None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for side, table in (("train", train), ("test", test)):
            path = Path(folder) / f"{side}.csv"
            paths[side] = write_table(table.frame, path, command="benchmark", root=table.root).path
        recipe = yaml.safe_load(base.read_text(encoding="utf-8")) if base else {}
        values = recipe | {
            "output": Path(folder) / "run",
            "data": {"table": paths["train"], "fold": None},
            "model": recipe.get("model", {}) | {"weights": weights},
            "validation": {"tables": {"unseen": paths["test"]}, "metric": "unseen/map_at_r", "every": 1000},
            "seed": seed,
        }
        config = Path(folder) / "config.yaml"
        config.write_text(json.dumps(values, default=str), encoding="utf-8")  # JSON is YAML
        started, clock = time.monotonic(), Clock()
        table = Table(train.frame, train.root, paths["train"])
        result = fit(load(RunConfig, config, settings), table, observe=clock.observe)
        seconds = time.monotonic() - started
        verdict, before, after = result.verdict, result.before, result.best
        assert verdict is not None
        assert before is not None
        assert after is not None
        recall = f"{before['unseen/recall_at_1']:.3f} → {after['unseen/recall_at_1']:.3f}"
        print(
            f"| {name} | {train.frame['label'].nunique()} | {len(train.frame):,} "
            f"| {verdict.before:.4f} | {verdict.after:.4f} "
            f"| {verdict.difference:+.4f} ({verdict.low:+.4f} to {verdict.high:+.4f}) | {recall} | {seed} "
            f"| {seconds:.0f} | {clock.seconds:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--only", nargs="*", default=[*DATASETS, *(f"{name}-8" for name in DATASETS)])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--config", type=Path, help="a recipe to measure instead of auto")
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE, further settings")
    options = parser.parse_args()
    weights = options.weights if options.weights == "none" else str(Path(options.weights).absolute())
    print(
        "| data | classes | images | MAP@R before | after | difference (95 % interval) "
        "| R@1 | seed | seconds | processor |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.only:
        dataset = name.removesuffix("-8")
        scan = scan_folder(options.data / dataset / "images", hashes=False)
        train, test = sides(dataset, Table(scan.table, scan.root))
        for seed in options.seeds:
            few = train
            if name.endswith("-8"):
                chosen = np.random.default_rng(seed).choice(sorted(set(train.frame["label"])), 8, replace=False)
                few = Table(train.frame[train.frame["label"].isin(chosen)].reset_index(drop=True), train.root)
            measure(name, few, test, weights, seed, options.set, options.config)


if __name__ == "__main__":
    main()
