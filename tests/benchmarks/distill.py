"""Measure what a teacher brings to a small network from random weights, on classes that neither was trained on.

    eml scan IMAGES && eml filter IMAGES && eml split IMAGES        # grocery160: 41 classes train, 40 test
    eml train configs/grocery160.yaml --set data.table=IMAGES/dataset_train.csv --set image.size=128 \
        --set model.weights=FILE --set seed=0 --set output=TEACHER
    OMP_NUM_THREADS=1 python tests/benchmarks/distill.py --images IMAGES --teacher TEACHER --weights FILE
    python tests/benchmarks/distill.py --report

The student is mobilenetv3_small_050 (0.57 M parameters) from random weights, on images of 64 pixels. A way is measured
with three seeds, each beside the run of the same seed without a teacher. Weights of the terms are those of the papers
(RKD: 25 for distances, 50 for angles; Park 2019, arXiv:1904.05068) or 10, and were not searched for. `imagenet` has the
teacher's backbone as timm has it, which no image of the set has trained. The mean of the teacher's embeddings has a
length of 0.06, so that centering changes little there; that of the ImageNet network's 0.76.

`--only NAME …` makes runs whose names begin so. A run is one JSON file in --results, and a run whose file is there is
not made again: stop whenever you like, and go on with the same command.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "distill"
SEEDS = (0, 1, 2)
BACKBONE, SIDE, EPOCHS = "mobilenetv3_small_050", 64, 12
WAYS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "cosine": {"cosine": 10.0, "centered": False},
    "cosine_alone": {"cosine": 10.0, "centered": False, "labels": 0.0},
    "relations": {"cosine": 0.0, "distance": 25.0, "angle": 50.0},
    "imagenet": {"cosine": 10.0, "teacher": "timm:mobilenetv2_100"},
    "imagenet_uncentered": {"cosine": 10.0, "teacher": "timm:mobilenetv2_100", "centered": False},
}
"""Name → the section `distill` but for its teacher."""


@dataclass(frozen=True)
class Run:
    """A way to learn from the teacher, and a seed."""

    way: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its result."""
        return f"{self.way}-{self.seed}"


def planned() -> Iterator[Run]:
    """Yield the runs, the first seed of all ways first."""
    yield from (Run(way, seed) for seed in SEEDS for way in WAYS)


def settings(run: Run, output: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the config of a run."""
    section = WAYS[run.way]
    if section is not None:
        section = {"teacher": str(options.teacher.absolute()), "folder": str(options.work / "teachers"), **section}
        if str(section["teacher"]).startswith("timm:"):
            section |= {"weights": str(options.weights.absolute()), "size": 128}
    return {
        "output": str(output),
        "recipe": "none",
        "data": {"table": str(options.images / "dataset_train.csv"), "fold": None, "workers": 0,
                 "cache": {"format": "raw", "folder": str(options.work / "images")}},
        "image": {"size": SIDE, "fit": "squash", "interpolation": "bicubic"},
        "augment": {"type": "standard", "crop": 0.3, "flip": 0.5, "brightness": 0.2, "saturation": 0.2},
        "model": {"backbone": BACKBONE, "weights": "none", "neck": {"type": "bnneck"}},
        "margin": {"type": "cosface", "m": 0.2},
        "head": {"scale": 10},
        "distill": section,
        "optimizer": {"lr": {"backbone": 2e-3, "neck": 2e-3, "class_weights": 1e-2}},
        "epochs": options.epochs,
        "batch_size": 64,
        "seed": run.seed,
        "device": "cpu",
    }  # fmt: skip


def evaluated(model: Any, test: Path) -> dict[str, Any]:
    """Return MAP@R and R@1 of all test images, leave-one-out, and MAP@R of each class in alphabetical order."""
    from eml.dataset.table import read_table
    from eml.inference.embed import embed_table
    from eml.retrieval.metrics.base import summarise
    from eml.retrieval.ranking import rank

    table = read_table(test, check_files=False)
    codes = np.unique(table.frame["label"], return_inverse=True)[1].astype(np.int64)
    summary = summarise(rank(embed_table(model, table, table.frame), codes))
    values = summary.per_query["map_at_r"]
    counted = np.isfinite(values)
    queries = np.bincount(codes[counted], minlength=codes.max() + 1)
    by_class = np.bincount(codes[counted], values[counted], minlength=len(queries)) / np.maximum(queries, 1)
    rounded = {name: round(summary.values[name], 5) for name in ("map_at_r", "recall_at_1")}
    return rounded | {"queries": queries.tolist(), "by_class": np.round(by_class, 4).tolist()}


def train(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Train, and return the settings and the metrics on the classes that were not trained on."""
    import torch

    from eml.inference.load import load
    from eml.training.config import RunConfig
    from eml.training.data import table_to_train_on
    from eml.training.fit import fit

    torch.set_num_threads(1)
    started, clock = time.process_time(), time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        config = RunConfig.model_validate(settings(run, Path(folder) / "run", options))
        fit(config, table_to_train_on(config.data))
        last = json.loads((config.output / "steps.jsonl").read_text().splitlines()[-1])
        seconds, wall = time.process_time() - started, time.monotonic() - clock
        metrics = evaluated(load(config.output, device="cpu"), options.images / "dataset_test.csv")
    figures = {name: round(last[name], 4) for name in ("loss", "class_loss", "teacher_cosine") if name in last}
    return {
        "run": run.name,
        "distill": WAYS[run.way],
        "epochs": options.epochs,
        "seconds": round(seconds, 1),
        "wall_seconds": round(wall, 1),
        "last_step": figures,
        "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
        **metrics,
    }


def reference(options: argparse.Namespace) -> dict[str, Any]:
    """Return the metrics of the teachers, and of the student before training."""
    from eml.inference.load import load

    test = options.images / "dataset_test.csv"
    plain = {"weights": str(options.weights), "image_size": 128, "device": "cpu"}
    return {
        "teacher": evaluated(load(options.teacher, device="cpu"), test),
        "imagenet": evaluated(load("timm:mobilenetv2_100", **plain), test),
        "untrained": evaluated(load(f"timm:{BACKBONE}", weights="none", image_size=SIDE, device="cpu"), test),
    }


# -- the report --------------------------------------------------------------------------------------------------------


def stored(results: Path, run: Run) -> dict[str, Any] | None:
    """Return the result of a run; None where it is not made yet."""
    path = results / f"{run.name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def interval(differences: list[np.ndarray], draws: int = 10_000) -> tuple[float, float, float]:
    """Return the mean of differences (seeds, classes) and the ends of its 95% interval, by bootstrap over classes."""
    rows = np.mean(differences, axis=0)
    means = rows[np.random.default_rng(0).integers(0, len(rows), (draws, len(rows)))].mean(1)
    return float(rows.mean()), *map(float, np.quantile(means, [0.025, 0.975]))


def report(results: Path) -> None:
    """Print a table of the ways, with the paired difference to no teacher over classes."""
    file = results / "reference.json"
    for name, figures in (json.loads(file.read_text()) if file.is_file() else {}).items():
        print(f"{name}: MAP@R {figures['map_at_r']:.4f}, R@1 {figures['recall_at_1']:.4f}")
    print(
        "| way | seeds | MAP@R | R@1 | MAP@R by class, difference to none (95%) | seconds |\n|---|---|---|---|---|---|"
    )
    for way in WAYS:
        own = {seed: result for seed in SEEDS if (result := stored(results, Run(way, seed))) is not None}
        if not own:
            continue
        maps = [result["map_at_r"] for result in own.values()]
        recalls = [result["recall_at_1"] for result in own.values()]
        differences = [
            (np.array(result["by_class"]) - np.array(none["by_class"]))[np.array(result["queries"]) > 0]
            for seed, result in own.items()
            if way != "none" and (none := stored(results, Run("none", seed))) is not None
        ]
        spread = f" ± {np.std(maps, ddof=1):.4f}" if len(maps) > 1 else ""
        text = "{:+.4f} ({:+.4f} to {:+.4f})".format(*interval(differences)) if differences else ""
        seconds = np.median([result["seconds"] for result in own.values()])
        print(f"| {way} | {len(own)} | {np.mean(maps):.4f}{spread} | {np.mean(recalls):.4f} | {text} | {seconds:.0f} |")


def main() -> None:
    """Make the runs that are still to be made, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images with dataset_train.csv and dataset_test.csv")
    parser.add_argument("--teacher", type=Path, help="run of mobilenetv2_100 on dataset_train.csv")
    parser.add_argument("--weights", type=Path, help="file with mobilenetv2_100's ImageNet weights")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "eml-distill-benchmark")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="*", default=[], help="make only runs whose names begin so")
    parser.add_argument("--references", action="store_true", help="measure the teachers and the untrained student")
    parser.add_argument("--report", action="store_true", help="make no run")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    for run in [] if options.report or options.references else planned():
        is_chosen = not options.only or run.name.startswith(tuple(options.only))
        if not is_chosen or stored(options.results, run) is not None:
            continue
        result = train(run, options)
        (options.results / f"{run.name}.json").write_text(json.dumps(result) + "\n")
        print(run.name, result["map_at_r"], f"{result['seconds']} s, {result['wall_seconds']} s", flush=True)
    if options.references:
        (options.results / "reference.json").write_text(json.dumps(reference(options)) + "\n")
    report(options.results)


if __name__ == "__main__":
    main()
