"""Compare documented recipes of other libraries at equal processor time, each with the rate that suits it.

    python -m venv peer && peer/bin/pip install open-metric-learning omegaconf pytorch-metric-learning timm
    OMP_NUM_THREADS=1 python tests/benchmarks/peers.py --data DIR --weights FILE --peer-python peer/bin/python
    python tests/benchmarks/peers.py --report

Each recipe of RECIPES trains on half of the classes of each set (peer_recipes.py says which), and eml measures the
others. The rate is one of three, chosen with seed 0 on every third class of the training half (CHOICE seconds of
processor time each); then three seeds of SECONDS each. Every run is one JSON file in --results, and a run whose file is
there is not made again: stop whenever you like, and go on with the same command. All choices come first, then a seed
after the other, so that an unfinished comparison is a balanced one.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eml.retrieval.metrics.base import summarise
from eml.retrieval.ranking import rank

RESULTS = Path(__file__).parent / "results" / "peers"
SETS = {"grocery160": 128, "omniglot": 96, "caltech101": 96}
RECIPES = {
    "pml-arcface": (3e-5, 1e-4, 3e-4),
    "oml-readme": (3e-5, 1e-4, 3e-4),
    "timm-finetune": (1e-4, 3e-4, 1e-3),
}
SHOWN = {
    "pml-arcface": "pytorch-metric-learning, ArcFace",
    "oml-readme": "open-metric-learning, README",
    "timm-finetune": "timm, fine-tuned as a classifier",
}
SEEDS, CHOICE, SECONDS = (0, 1, 2), 40, 120


@dataclass(frozen=True)
class Job:
    """One run of a recipe: of a rate that is tried, or, once it is chosen, of a seed."""

    dataset: str
    recipe: str
    seed: int = 0
    rate: float | None = None

    @property
    def name(self) -> str:
        """The name of its result."""
        return f"{self.dataset}-{self.recipe}-" + (f"rate{self.rate:g}" if self.rate else f"seed{self.seed}")


def jobs() -> Iterator[Job]:
    """Yield the runs in order: the choices of rates, then seed by seed."""
    pairs = [(dataset, recipe) for dataset in SETS for recipe in RECIPES]
    yield from (Job(*pair, rate=rate) for pair in pairs for rate in RECIPES[pair[1]])
    yield from (Job(*pair, seed=seed) for seed in SEEDS for pair in pairs)


def result_of(folder: Path, job: Job) -> dict[str, Any] | None:
    """Return a run's result if it has been made."""
    path = folder / f"{job.name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def chosen_rate(folder: Path, job: Job) -> float:
    """Return the rate that is best on the held-out classes of the training half."""
    tried = {rate: result_of(folder, Job(job.dataset, job.recipe, rate=rate)) for rate in RECIPES[job.recipe]}
    return max(tried, key=lambda rate: (tried[rate] or {"map_at_r": -1.0})["map_at_r"])


def images_of(data: Path, dataset: str) -> Path:
    """Return the folder of a set's classes."""
    return next(path for path in (data / dataset / dataset / "images", data / dataset / "images") if path.is_dir())


def run(job: Job, options: argparse.Namespace) -> None:
    """Train in the peers' environment, measure here, and write the result."""
    rate = job.rate or chosen_rate(options.results, job)
    seconds = CHOICE if job.rate else SECONDS
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peer.npz"
        command = [str(options.peer_python), str(Path(__file__).with_name("peer_recipes.py")), "train", job.recipe]
        command += ["--images", str(images_of(options.data, job.dataset)), "--weights", str(options.weights)]
        command += ["--side", str(SETS[job.dataset]), "--seconds", str(seconds), "--seed", str(job.seed)]
        command += ["--rate", str(rate), "--out", str(out)]
        command += ["--choose"] if job.rate else []
        command += ["--group-by", "__", "--no-flip"] if job.dataset == "omniglot" else []
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        with np.load(out) as data:
            values = summarise(rank(torch.from_numpy(data["embeddings"]), data["labels"].astype(np.int64))).values
            facts = json.loads(str(data["facts"]))
    result = {"dataset": job.dataset, "recipe": job.recipe, "seed": job.seed, "rate": rate, "side": SETS[job.dataset]}
    result |= {"seconds": int(facts["seconds"]), "steps": int(facts["steps"]), "choice": job.rate is not None}
    result |= {key: round(values[key], 4) for key in ("map_at_r", "recall_at_1")}
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{job.name}.json"
    path.with_suffix(".part").write_text(json.dumps(result) + "\n", encoding="utf-8")
    path.with_suffix(".part").replace(path)
    print(json.dumps(result), flush=True)


def report(folder: Path) -> None:
    """Print the table of the results that are there."""
    print("| set | recipe | rate (of three) | MAP@R | R@1 | images seen | processor seconds | seeds |")
    print("|---|---|---|---|---|---|---|---|")
    for dataset in SETS:
        for recipe in RECIPES:
            job = Job(dataset, recipe)
            found = [result for seed in SEEDS if (result := result_of(folder, Job(dataset, recipe, seed=seed)))]
            if not found:
                continue
            batch = 32 if recipe == "oml-readme" else 64
            cells = [f"{np.mean([result[key] for result in found]):.3f}" for key in ("map_at_r", "recall_at_1")]
            spread = f" ± {np.std([result['map_at_r'] for result in found]):.3f}" if len(found) > 1 else ""
            seen = f"{batch * np.mean([result['steps'] for result in found]):,.0f}"
            seconds = f"{np.mean([result['seconds'] for result in found]):.0f}"
            print(
                f"| {dataset} | {SHOWN[recipe]} | {chosen_rate(folder, job):g} | {cells[0]}{spread} | {cells[1]} "
                f"| {seen} | {seconds} | {len(found)} |"
            )


def main() -> None:
    """Parse the command line; run what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the unpacked sets")
    parser.add_argument("--weights", type=Path, help="mobilenetv2_100 ImageNet weights (safetensors)")
    parser.add_argument("--peer-python", type=Path, help="Python of the environment with the peers")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="print the table of what is there, and run nothing")
    options = parser.parse_args()
    if options.report:
        report(options.results)
        return
    if not (options.data and options.weights and options.peer_python):
        parser.error("--data, --weights and --peer-python are needed")
    options.weights, options.peer_python = options.weights.absolute(), options.peer_python.absolute()
    for job in jobs():
        if result_of(options.results, job) is None:
            run(job, options)


if __name__ == "__main__":
    main()
