"""Search the default recipe: train on a part of the training classes and measure on the rest of them.

    OMP_NUM_THREADS=1 python tests/benchmarks/recipe_search.py --data DIR --weights FILE --out results.jsonl \
        [--only SET …] [--set KEY=VALUE …] [--start closed-form] [--epochs N] [--warm N] [--seeds 0]

DIR and the sets are those of stages.py. Only the classes that stages.py trains on are used (of it, those that it
measures are never read): a third of them, drawn by --split, is measured, the others train. One line of JSON a run:
MAP@R of the untouched network, of its closed form, and after each epoch plain and with the mirrored mean, at the end
whitened within classes with shrinkages .9, .5, .2, .1, and the processor seconds of the steps.

--start closed-form begins from the closed form, with class weights at the class means. --warm N then goes on for N
epochs with another third of the training classes that was left out before, as the refit of a run does; compare it with
a run on all of them. Everything else is a setting of the config: --set optimizer.lr.backbone=3e-4 ema={}.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from stages import SETS, is_unseen, root_of
from torch import Tensor

from eml.config import load
from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table, write_table
from eml.inference.embed import embed_table
from eml.inference.model import Model
from eml.models.fold import install_projection
from eml.retrieval.metrics.base import summarise
from eml.retrieval.ranking import rank
from eml.retrieval.within_class import WithinClass
from eml.training.build import RunParts, build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run
from eml.training.recipe import apply_recipe
from eml.training.stages.features import RawModel

SHRINKAGES = (0.9, 0.5, 0.2, 0.1)
START = 0.3  # the shrinkage that --start closed-form begins from


def map_at_r(embeddings: Tensor, frame: pd.DataFrame) -> float:
    """Return leave-one-out MAP@R by cosine."""
    codes = np.unique(frame["label"], return_inverse=True)[1].astype(np.int64)
    return round(float(summarise(rank(embeddings.float(), codes)).values["map_at_r"]), 4)


def divided(frame: pd.DataFrame, split: int, thirds: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of two thirds of the classes, and of the other third."""
    names = np.random.default_rng(100 + split).permutation(sorted(set(frame["label"])))
    held_out = frame["label"].isin(names[: max(2, len(names) // thirds)])
    return frame[~held_out].reset_index(drop=True), frame[held_out].reset_index(drop=True)


class Search:
    """One setting on one set."""

    def __init__(self, dataset: str, seed: int, options: argparse.Namespace, folder: Path) -> None:
        self.dataset, self.seed, self.options, self.folder = dataset, seed, options, folder
        self.root = root_of(options.data, dataset)
        frame = scan_folder(self.root, hashes=False, workers=1).table
        frame = frame[~is_unseen(dataset, frame["label"])].reset_index(drop=True)
        self.train, self.measured = divided(frame, options.split)

    def parts(self, frame: pd.DataFrame, epochs: int) -> RunParts:
        """Build a run on some rows, without validation."""
        path = write_table(frame, self.folder / "t.csv", command="benchmark", root=self.root, overwrite=True).path
        values = {
            "output": str(self.folder / "run"),
            "data": {"table": str(path), "fold": None},
            "image": {"size": SETS[self.dataset]},
            "model": {"weights": str(self.options.weights.absolute())},
            "epochs": epochs,
            "seed": self.seed,
        }
        (self.folder / "c.yaml").write_text(json.dumps(values), encoding="utf-8")
        settings = list(self.options.set)
        if self.options.start == "closed-form":
            settings.append("model.neck=projection")
        config = load(RunConfig, self.folder / "c.yaml", settings)
        table = Table(frame, self.root, path)
        return build_parts(apply_recipe(config, table)[0], table)

    def embed(self, parts: RunParts, frame: pd.DataFrame, tta: Any = "none") -> Tensor:
        """Return unit embeddings of rows."""
        model = Model(parts.networks.evaluated, parts.preprocess, parts.device, tta=tta)
        return embed_table(model, Table(frame, self.root), frame)

    def epoch(self, run: Run, epoch: int) -> float:
        """Take the steps of an epoch; return their processor seconds."""
        started = time.process_time()
        for pixels, rows in run.batches.of_epoch(epoch, 0):
            run.step(pixels, rows)
        return time.process_time() - started

    def whitened(self, parts: RunParts, frame: pd.DataFrame) -> dict[str, list[float]]:
        """Return MAP@R of embeddings whitened within classes, alone and with the mirrored mean, by shrinkage."""
        within = WithinClass.of(self.embed(parts, frame), list(frame["label"]))
        views = [self.embed(parts, self.measured), self.embed(parts, self.measured, "flip")]
        result = {}
        for shrinkage in SHRINKAGES:
            projection = within.projection(shrinkage)
            result[f"{shrinkage:g}"] = [map_at_r(projection.transform(view), self.measured) for view in views]
        return result

    def start(self, parts: RunParts, frame: pd.DataFrame) -> None:
        """Begin from the closed form: the neck is its projection, the class weights are its class means."""
        model = RawModel(parts.embedder, parts.preprocess, parts.device, mirrored=False)  # the neck is an identity yet
        features = embed_table(model, Table(frame, self.root), frame)
        projection = WithinClass.of(features, list(frame["label"])).projection(START)
        install_projection(parts.embedder.neck, projection)
        self.mean_weights(parts, frame)

    def mean_weights(self, parts: RunParts, frame: pd.DataFrame) -> None:
        """Set each class weight to the unit mean of its embeddings."""
        embeddings, labels = self.embed(parts, frame), torch.from_numpy(parts.data.labels)
        weights = parts.head.class_weights
        sums = torch.zeros(len(parts.data.classes), embeddings.shape[1]).index_add_(0, labels, embeddings)
        with torch.no_grad():
            weights.copy_(torch.nn.functional.normalize(sums) * weights.norm(dim=-1).mean())

    def run(self) -> dict[str, Any]:
        """Train and measure; return everything."""
        options = self.options
        train, left_out = divided(self.train, options.split + 1) if options.warm else (self.train, None)
        parts = self.parts(train, options.epochs)
        untouched = self.embed(parts, self.measured)
        closed = WithinClass.of(self.embed(parts, train), list(train["label"])).projection(START)
        facts: dict[str, Any] = {
            "set": self.dataset, "seed": self.seed, "settings": options.set, "start": options.start,
            "untouched": map_at_r(untouched, self.measured),
            "closed form": map_at_r(closed.transform(untouched), self.measured),
        }  # fmt: skip
        if options.start == "closed-form":
            self.start(parts, train)
        run, seconds, curve = Run(parts), 0.0, []
        for epoch in range(1, options.epochs + 1):
            seconds += self.epoch(run, epoch)
            curve.append([map_at_r(self.embed(parts, self.measured, tta), self.measured) for tta in ("none", "flip")])
        facts |= {"epochs": curve, "whitened": self.whitened(parts, train)}
        if left_out is not None:
            weights = parts.embedder.state_dict()
            parts = self.parts(self.train, options.warm)
            parts.embedder.load_state_dict(weights)
            self.mean_weights(parts, self.train)
            run = Run(parts)
            seconds += sum(self.epoch(run, epoch) for epoch in range(1, options.warm + 1))
            facts |= {"warm": self.whitened(parts, self.train)}
        return facts | {"seconds": round(seconds, 1)}


def main() -> None:
    """Parse the command line and run every set and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--weights", type=Path, required=True)
    add("--out", type=Path, required=True, help="results, a line of JSON each, are added to it")
    add("--only", nargs="*", choices=SETS, default=list(SETS))
    add("--set", nargs="*", default=[], help="KEY=VALUE, settings of the config")
    add("--start", choices=["untouched", "closed-form"], default="untouched")
    add("--epochs", type=int, default=3)
    add("--warm", type=int, default=0)
    add("--split", type=int, default=0, help="draws the classes that are measured")
    add("--seeds", nargs="*", type=int, default=[0])
    options = parser.parse_args()
    for dataset in options.only:
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                facts = Search(dataset, seed, options, Path(folder)).run()
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")
            print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
