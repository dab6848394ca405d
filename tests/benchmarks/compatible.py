"""Measure queries of a new model on the gallery of an older one: trained compatible with it, and not.

    OMP_NUM_THREADS=1 python tests/benchmarks/compatible.py --data DIR --weights FILE [--only omniglot] [--seeds 0 1 2]
    python tests/benchmarks/compatible.py --report

DIR has grocery160 and omniglot unpacked; FILE has mobilenetv2_100's weights, which the older model of grocery160 starts
from; that of omniglot starts at random. Every second class trains, and the older model sees half of these, briefly. The
new models see all of them, for longer:

- compatible: from the older model's weights, with `compatible_with`;
- started: from the older model's weights, without it;
- plain: as the older model began, without it;
- scratch: as the older model began, with it.

The other classes are unseen by all, and are measured leave-one-out by `eml evaluate --gallery-model`.

A run is one JSON file in --results, and a run whose file is there is not made again.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "compatible"
SEEDS = (0, 1, 2)
WAYS = {"compatible": (True, True), "started": (True, False), "plain": (False, False), "scratch": (False, True)}
"""Way → whether the new model starts from the older one's weights, and whether it is trained to be compatible."""
SETS: dict[str, dict[str, Any]] = {
    "omniglot": {
        "backbone": "test_resnet",
        "side": 32,
        "size": 64,
        "epochs": (6, 8),
        "rates": (1e-3, 3e-3),
        "augment": {"type": "standard", "flip": 0.0, "rotate": 15.0},
    },
    "grocery160": {
        "backbone": "mobilenetv2_100",
        "side": 64,
        "size": 128,
        "epochs": (2, 2),
        "rates": (3e-4, 3e-3),
        "augment": {"type": "standard"},
    },
}
"""Epochs: of the older model and of the new ones. Rates: of the backbone and of the neck."""
METRIC = "map_at_r"


def config(dataset: str, output: Path, table: Path, weights: Any, epochs: int, seed: int, **more: Any) -> Any:
    """Return the config of a run without validation."""
    from eml.training.config import RunConfig

    own = SETS[dataset]
    settings = {
        "output": output,
        "recipe": "none",
        "data": {"table": table, "fold": None, "workers": 0, "cache": {"format": "raw", "folder": table.parent}},
        "image": {"size": own["side"]},
        "augment": own["augment"],
        "model": {
            "backbone": own["backbone"],
            "weights": weights,
            "batch_norm": "train",
            "neck": {"type": "linear", "size": own["size"]},
        },
        "head": {"scale": 16},
        "margin": {"type": "cosface", "m": 0.2},
        "optimizer": {"lr": {"backbone": own["rates"][0], "neck": own["rates"][1], "class_weights": 1e-2}},
        "epochs": epochs,
        "batch_size": 64,
        "seed": seed,
    }
    return RunConfig.model_validate(settings | more)


def train(configuration: Any) -> None:
    """Train as a config says, unless that was done."""
    from eml.training.data import table_to_train_on
    from eml.training.fit import fit

    if not (configuration.output / "checkpoints" / "last").exists():
        fit(configuration, table_to_train_on(configuration.data), overwrite=True)


def tables(dataset: str, seed: int, options: argparse.Namespace) -> dict[str, Path]:
    """Write and return the tables: of the new models' classes, of the older model's half of them, and of the unseen."""
    import pandas as pd

    from eml.dataset.table import write_table

    root = next(path for path in (options.data / dataset / dataset / "images", options.data / dataset) if path.is_dir())
    labels = sorted(path.name for path in root.iterdir() if path.is_dir())
    half = np.random.default_rng([seed, 7]).permutation(labels[::2])[: len(labels[::2]) // 2].tolist()
    paths = {}
    for name, own in {"new": labels[::2], "old": sorted(half), "unseen": labels[1::2]}.items():
        path = paths[name] = options.work / f"{dataset}-{name}-{seed}.csv"
        files = [(label, file) for label in own for file in sorted((root / label).iterdir())]
        frame = pd.DataFrame({"label": [label for label, _ in files], "file_name": [f"{a}/{b.name}" for a, b in files]})
        if not path.exists():
            write_table(frame, path, command="compatible.py", root=root)
    return paths


def by_class(labels: np.ndarray, per_query: np.ndarray) -> list[float]:
    """Return the mean of each class in alphabetical order."""
    codes = np.unique(labels, return_inverse=True)[1]
    counted = np.isfinite(per_query)
    return (np.bincount(codes[counted], per_query[counted]) / np.bincount(codes[counted])).tolist()


def measure(dataset: str, way: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train the new model, with the older one before it, and return both alone and together on unseen classes."""
    from eml.evaluation.options import EvaluationOptions
    from eml.evaluation.runs import evaluate_models

    starts, is_compatible = WAYS[way]
    paths, epochs = tables(dataset, seed, options), SETS[dataset]["epochs"]
    old, new = (options.work / f"{dataset}-{name}-{seed}" for name in ("old-model", way))
    began = options.weights if dataset == "grocery160" else "none"
    started = time.process_time()
    train(config(dataset, old, paths["old"], began, epochs[0], seed))
    more = {"compatible_with": {"model": old}} if is_compatible else {}
    train(config(dataset, new, paths["new"], old if starts else began, epochs[1], seed + 100, **more))
    own = EvaluationOptions([str(new)], [paths["unseen"]], gallery_model=str(old), out=options.work / "evaluations")
    evaluated = evaluate_models(own)
    analysis = evaluated.results[0].analysis
    evaluation, cross_model = analysis.evaluation, analysis.cross_model
    assert cross_model is not None
    assert evaluation.gallery_model is not None
    assert evaluation.alone is not None
    labels = evaluation.retrieval.frame["label"].to_numpy(object)[evaluation.retrieval.queries].astype(str)
    summaries = {"old": evaluation.gallery_model.summary, "crossed": evaluation.summary, "new": evaluation.alone}
    change = cross_model.change[METRIC]
    return {
        "set": dataset,
        "way": way,
        "seed": seed,
        "values": {name: summary.values for name, summary in summaries.items()},
        "change": {"value": change.value, "interval": [change.interval.low, change.interval.high]},
        "mean_cosine": cross_model.mean_cosine,
        "queries": np.unique(labels, return_counts=True)[1].tolist(),
        "by_class": {name: by_class(labels, summary.per_query[METRIC]) for name, summary in summaries.items()},
        "cpu_seconds": round(time.process_time() - started),
    }


def report(folder: Path) -> None:
    """Print a table of MAP@R, means over the seeds, and the paired difference with its interval over classes."""
    from eml.retrieval.statistics import paired

    runs = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    print("| set | new model | seeds | old alone | new queries, old gallery | new alone | change (95 %) | better in |")
    print("|---|---|---|---|---|---|---|---|")
    for dataset, way in ((dataset, way) for dataset in SETS for way in WAYS):
        own = [run for run in runs if (run["set"], run["way"]) == (dataset, way)]
        if not own:
            continue
        classes = np.repeat(np.arange(len(own[0]["queries"])), own[0]["queries"])
        mean = {name: np.mean([run["by_class"][name] for run in own], 0)[classes] for name in ("old", "crossed", "new")}
        change = paired({METRIC: mean["old"]}, {METRIC: mean["crossed"]}, classes)[METRIC]
        cells = [f"{mean[name].mean():.3f}" for name in ("old", "crossed", "new")]
        text = f"{change.value:+.3f} ({change.interval.low:+.3f} to {change.interval.high:+.3f})"
        better = sum(run["change"]["interval"][0] > 0 for run in own)
        print(f"| {dataset} | {way} | {len(own)} | {' | '.join(cells)} | {text} | {better} of {len(own)} |")


def main() -> None:
    """Make the runs that are not there, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "eml-compatible")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=SETS, nargs="+", default=list(SETS))
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        options.results.mkdir(parents=True, exist_ok=True)
        options.work.mkdir(parents=True, exist_ok=True)
        for dataset, seed, way in itertools.product(options.only, options.seeds, options.ways):
            file = options.results / f"{dataset}-{way}-{seed}.json"
            if not file.exists():
                file.write_text(json.dumps(measure(dataset, way, seed, options), indent=1) + "\n")
                print(file.name, flush=True)
    report(options.results)


if __name__ == "__main__":
    main()
