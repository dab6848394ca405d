"""Measure the default recipe on unseen classes against an earlier version of eml, in the same processor time.

    git worktree add /tmp/before REVISION
    OMP_NUM_THREADS=1 python tests/benchmarks/stages.py --data DIR --weights FILE --package /tmp/before [--only SET …]
    python tests/benchmarks/stages.py --report

DIR has the sets of SETS unpacked (`icons`: icon_set.py). Of each, every second class trains (of omniglot, every second
alphabet), and the others are measured leave-one-out by the code of this checkout. `SET-8` trains on eight of the
training classes, drawn by the seed; otherwise the seed is of the training alone. Recipes:

- before: the default of the package in --package;
- now: the default of this checkout;
- untouched: the network as it is; closed: within-class whitening of its features, with shrinkage .5.

A run lasts as many epochs as EPOCHS says, times --length. It is one JSON file in --results, and a run whose file is
there is not made again: stop whenever you like, and go on with the same command.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results" / "stages"
BACKBONE = "mobilenetv2_100"
SETS = {"grocery160": 128, "omniglot": 96, "emoji": 64, "orl_faces": 96, "caltech101": 96, "icons": 64}
EPOCHS = {
    "before": {"grocery160": 3, "omniglot": 6, "emoji": 14, "orl_faces": 30, "caltech101": 4, "icons": 8},
    "now": {"grocery160": 2, "omniglot": 4, "emoji": 8, "orl_faces": 30, "caltech101": 3, "icons": 6},
}
"""So that both take about the same processor time: a run in stages trains on all classes after its epochs."""
FEW = 8
FEW_EPOCHS = {"grocery160": 10, "omniglot": 30, "emoji": 30, "orl_faces": 30, "caltech101": 10, "icons": 30}
SHRINKAGE = 0.5
NOW: dict[str, Any] = {"stages": "auto"}
"""What a config says beyond table, weights, image size, epochs and seed, as `eml init` writes it."""


@dataclass(frozen=True)
class Run:
    """A set, a recipe, a seed and a length, 1 for the usual one."""

    dataset: str
    recipe: str
    seed: int = 0
    length: float = 1

    @property
    def base(self) -> str:
        """The set without the mark of few classes."""
        return self.dataset.removesuffix(f"-{FEW}")

    @property
    def is_few(self) -> bool:
        """Whether only a few classes train."""
        return self.base != self.dataset

    @property
    def name(self) -> str:
        """The name of its result."""
        return f"{self.dataset}-{self.recipe}-{self.seed}" + (f"-x{self.length:g}" if self.length != 1 else "")


def epochs_of(run: Run) -> int:
    """Return the epochs of a run."""
    return max(1, round(run.length * (FEW_EPOCHS if run.is_few else EPOCHS[run.recipe])[run.base]))


# -- the images --------------------------------------------------------------------------------------------------------


def root_of(data: Path, dataset: str) -> Path:
    """Return the folder of a set's classes."""
    return next(path for path in (data / dataset / dataset / "images", data / dataset / "images") if path.is_dir())


def scanned(dataset: str, options: argparse.Namespace) -> pd.DataFrame:
    """Return the table of all images of a set, kept in --work."""
    from eml.dataset.scanning.scan import scan_folder

    path: Path = options.work / f"{dataset}.table.pkl"
    if not path.exists():
        frame = scan_folder(root_of(options.data, dataset), hashes=False, workers=1).table.reset_index(drop=True)
        frame.to_pickle(path)
    return pd.read_pickle(path)


def is_unseen(dataset: str, labels: "pd.Series[str]") -> "pd.Series[bool]":
    """Return whether an image is measured: every second class, of omniglot every second alphabet."""
    groups = labels.str.partition("__")[0] if dataset == "omniglot" else labels
    return groups.isin(sorted(set(groups))[1::2])


def trains(run: Run, labels: "pd.Series[str]") -> "pd.Series[bool]":
    """Return whether an image trains: those that are not measured, or eight classes of them drawn by the seed."""
    train = ~is_unseen(run.base, labels)
    if not run.is_few:
        return train
    return labels.isin(np.random.default_rng(run.seed).choice(sorted(set(labels[train])), FEW, replace=False))


def features_of(dataset: str, options: argparse.Namespace) -> Any:
    """Return (N, F) features of all images of a set by the untouched network, kept in --work."""
    import eml
    from eml.dataset.table import Table
    from eml.inference.embed import embed_table

    path: Path = options.work / f"{dataset}.features.npy"
    if not path.exists():
        frame = scanned(dataset, options)
        model = eml.load(f"timm:{BACKBONE}", weights=str(options.weights), image_size=SETS[dataset])
        np.save(path, embed_table(model, Table(frame, root_of(options.data, dataset)), frame).numpy())
    return np.load(path)


# -- one run -----------------------------------------------------------------------------------------------------------


def measured(embeddings: Any, labels: "pd.Series[str]") -> dict[str, Any]:
    """Return the metrics, also of each class in alphabetical order, with the number of its queries."""
    import torch

    from eml.retrieval.metrics.base import summarise
    from eml.retrieval.ranking import rank

    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    summary = summarise(rank(torch.from_numpy(np.asarray(embeddings, np.float32)), codes))
    counted = np.isfinite(summary.per_query["map_at_r"])
    queries = np.bincount(codes[counted], minlength=codes.max() + 1)
    result: dict[str, Any] = {name: round(summary.values[name], 5) for name in ("map_at_r", "recall_at_1")}
    by_class: dict[str, Any] = {"queries": queries.tolist()}
    for name in ("map_at_r", "recall_at_1"):
        sums = np.bincount(codes[counted], summary.per_query[name][counted], minlength=len(queries))
        by_class[name] = np.round(sums / np.maximum(queries, 1), 4).tolist()
    return result | {"by_class": by_class}


def train_in(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Train in a process of its own, with the package of the recipe, and return the facts and the metrics."""
    frame = scanned(run.base, options)
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        frame[trains(run, frame["label"])].reset_index(drop=True).to_pickle(folder / "train.pkl")
        test = frame[is_unseen(run.base, frame["label"])].reset_index(drop=True)
        test.to_pickle(folder / "test.pkl")
        config = {"model": {"weights": str(options.weights)}, "image": {"size": SETS[run.base]}, "seed": run.seed}
        config |= {
            "epochs": epochs_of(run),
            "output": str(folder / "run"),
            "data": {"table": str(folder / "train.csv")},
        }
        config |= (NOW | options.now) if run.recipe == "now" else {}
        (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        package = options.package if run.recipe == "before" else Path(__file__).resolve().parents[2]
        command = [sys.executable, __file__, "--child", name, "--root", str(root_of(options.data, run.base))]
        environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return facts | measured(np.load(folder / "embeddings.npy"), test["label"])


def child(folder: Path, root: Path) -> None:
    """Train and embed with whichever package is on the path, and write facts.json and embeddings.npy."""
    import torch

    import eml
    from eml.dataset.table import Table, write_table
    from eml.inference.embed import embed_table

    torch.set_num_threads(1)
    test = pd.read_pickle(folder / "test.pkl")
    write_table(pd.read_pickle(folder / "train.pkl"), folder / "train.csv", command="benchmark", root=root)
    wall, started = time.monotonic(), processor_seconds()
    result = eml.train(str(folder / "config.yaml"), overwrite=True)
    facts: dict[str, Any] = {"seconds": round(processor_seconds() - started, 1)}
    facts["wall_seconds"] = round(time.monotonic() - wall, 1)
    started = processor_seconds()
    embeddings = embed_table(eml.load(folder / "run"), Table(test, root), test)
    facts["milliseconds_per_image"] = round(1000 * (processor_seconds() - started) / len(test), 2)
    np.save(folder / "embeddings.npy", embeddings.numpy())
    facts |= run_facts(folder / "run", result.training.verdict)
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def run_facts(folder: Path, verdict: Any) -> dict[str, Any]:
    """Return what a run says of itself: its verdict, how much of it was validation, its stages."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    seconds: dict[str, float] = {}
    for path in sorted(folder.rglob("timings.jsonl")):  # also of the refit
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            seconds[line["phase"]] = seconds.get(line["phase"], 0.0) + line["seconds"]
    told = {key: getattr(verdict, key) for key in ("before", "after", "low", "high", "classes", "question")}
    return {
        "best_epoch": record.get("finished", {}).get("best_epoch"),
        "verdict": {key: round(value, 5) if isinstance(value, float) else value for key, value in told.items()},
        "phases": {phase: round(value, 2) for phase, value in seconds.items()},
        "stages": without_names(record.get("stages")),
    }


def without_names(facts: Any) -> Any:
    """Return what run.json says of the stages, with the number of classes in place of their names."""
    if isinstance(facts, dict):
        return {key: without_names(value) for key, value in facts.items()}
    if isinstance(facts, list) and facts and all(isinstance(entry, str) for entry in facts):
        return len(facts)
    if isinstance(facts, list):
        return [without_names(entry) for entry in facts]
    return round(facts, 5) if isinstance(facts, float) else facts


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def untrained(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Return the metrics of the untouched network, or of the closed form on its features."""
    labels, features = scanned(run.base, options)["label"], features_of(run.base, options)
    test, train = is_unseen(run.base, labels).to_numpy(), trains(run, labels).to_numpy()
    embeddings = features[test]
    if run.recipe == "closed":
        import torch

        from eml.retrieval.within_class import fit_within_class

        codes = np.unique(labels[train], return_inverse=True)[1].astype(np.int64)
        projection = fit_within_class(torch.from_numpy(features[train]), codes, shrinkage=SHRINKAGE)
        embeddings = projection.transform(torch.from_numpy(embeddings)).numpy()
    return measured(embeddings, labels[test].reset_index(drop=True))


# -- all of them -------------------------------------------------------------------------------------------------------


def runs(options: argparse.Namespace) -> Iterator[Run]:
    """Yield the runs, seed after seed; what needs no training does not depend on the seed, except by its classes."""
    for seed in options.seeds:
        for dataset in options.only:
            few = dataset.endswith(f"-{FEW}")
            if "untouched" in options.recipes and not few and seed == options.seeds[0]:
                yield Run(dataset, "untouched")
            if "closed" in options.recipes and (few or seed == options.seeds[0]):
                yield Run(dataset, "closed", seed if few else 0)
            for recipe in ("before", "now"):
                if recipe in options.recipes:
                    yield from (Run(dataset, recipe, seed, length) for length in options.length)


def save(run: Run, facts: dict[str, Any], folder: Path) -> None:
    """Write a result as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.name}.json"
    path.with_suffix(".part").write_text(json.dumps(asdict(run) | facts) + "\n", encoding="utf-8")
    path.with_suffix(".part").replace(path)
    shown = {key: facts.get(key) for key in ("map_at_r", "recall_at_1", "seconds", "verdict")}
    print(run.name, json.dumps(shown), flush=True)


def main() -> None:
    """Parse the command line; run what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the unpacked sets")
    parser.add_argument("--weights", type=Path, help=f"{BACKBONE} ImageNet weights (safetensors)")
    parser.add_argument("--package", type=Path, help="folder of the version before, which has a folder `eml`")
    parser.add_argument("--only", nargs="*", default=[*SETS, *(f"{name}-{FEW}" for name in SETS)])
    parser.add_argument("--recipes", nargs="*", default=["untouched", "closed", "before", "now"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--length", nargs="*", type=float, default=[1], help="times the epochs")
    parser.add_argument("--now", type=json.loads, default={}, help="JSON, further keys of the config of `now`")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "eml-stages", help="scratch folder")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="print the tables of what is there, and run nothing")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.root)
        return
    if options.report:
        from stages_report import report

        report(options.results)
        return
    if not (options.data and options.weights):
        parser.error("--data and --weights are needed")
    options.weights = options.weights.absolute()
    options.work.mkdir(parents=True, exist_ok=True)
    for run in runs(options):
        if not (options.results / f"{run.name}.json").exists():
            facts = untrained(run, options) if run.recipe in ("untouched", "closed") else train_in(run, options)
            save(run, facts, options.results)


if __name__ == "__main__":
    main()
