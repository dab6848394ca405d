"""The refit: training goes on with the held-out classes too, by what was chosen without them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from eml.dataset.image_keys import image_keys
from eml.errors import DataError
from eml.head.inits.means import MeansInit
from eml.models.checkpoint import read_trained_on
from eml.models.trained_on import TrainedOn, trained_on
from eml.retrieval.affine import AffineProjection
from eml.training.build import RunParts
from eml.training.config import RunConfig, ValidationConfig
from eml.training.question import Question
from eml.training.run_folder import RunFolder
from eml.training.stages.carried import carry_calibration
from eml.training.stages.choosing import StagedOutcome
from eml.training.stages.features import embed_training_images, read_features
from eml.training.stages.networks import (
    REFITTED,
    START,
    StageNetwork,
    mean_weights,
    network_of,
    read_weights,
    save_outcome,
    untouched,
)
from eml.training.stages.outcomes import TUNED, UNTOUCHED, fit_projection

REFIT = "refit"
"""The folder of its run, in that of the run."""
FEW_IMAGES = 300
"""With fewer training images the refit begins anew, which is quick then; else it goes on from the best epoch."""
SHARE = 2 / 3
"""Epochs of a refit that goes on, as a share of those up to the best one."""
WARMUP = 0.2  # epochs


def is_refitted(config: RunConfig, staged: StagedOutcome, question: Question) -> bool:
    """Return whether a run is refitted on all classes.

    Args:
        config: Of the run.
        staged: What it gives.
        question: What its validation measures.
    """
    learns_nothing = staged.outcome.alpha == UNTOUCHED and not staged.outcome.after
    if not any(step.kept for step in staged.result.steps) or learns_nothing or config.data.fold is None:
        return False
    return bool(config.refit) if config.refit != "auto" else config.task == "open" and not question.classes_trained_on


def refit_config(config: RunConfig, epoch: int, images: int) -> RunConfig:
    """Return the config of the run on all classes.

    Args:
        config: Of the run, with its recipe applied.
        epoch: The best one.
        images: That the run trained on.
    """
    is_warm = images >= FEW_IMAGES
    values = {
        "output": config.output / REFIT,
        "recipe": "none",
        "stages": "none",
        "refit": False,
        "data": config.data.model_copy(update={"fold": None}),
        "validation": ValidationConfig(batch_size=config.validation.batch_size),
        "trackers": (),
        "epochs": epoch,
    }
    if is_warm:
        start = RunFolder(config.output).checkpoint(epoch)
        values |= {
            "epochs": max(1, round(SHARE * epoch)),
            "model": config.model.model_copy(update={"weights": start}),
            "head": config.head.model_copy(update={"init": MeansInit()}),
            "schedule": config.schedule.model_copy(update={"warmup_epochs": WARMUP}),
        }
    return config.model_copy(update=values)


@dataclass(frozen=True)
class Refit:
    """A refit that is to be done.

    Attributes:
        parts: Of the run.
        folder: Of the run.
        staged: What it gives.
        record: What it is trained on; None but in the first process.
        note: Receives lines for the user.
    """

    parts: RunParts
    folder: RunFolder
    staged: StagedOutcome
    record: TrainedOn | None
    note: Callable[[str], None] = lambda line: None

    def run(self, train: Callable[[RunConfig], RunParts]) -> str:
        """Train on all classes, write the checkpoint and point `best` to it; return what was done, in words.

        All processes call this.

        Args:
            train: Trains as a config says, or resumes that; returns the parts of the finished run.
        """
        outcome, first = self.staged.outcome, self.parts.processes.first
        if outcome.alpha == UNTOUCHED:
            return self.parts.processes.from_first(self._closed_form)
        images = len(self.parts.data.frame)
        config = refit_config(self.parts.config, self.staged.epoch, images)
        parts = train(config)
        last = RunFolder(config.output).checkpoint(config.epochs)
        weights = read_weights(parts, last)
        if outcome.alpha != TUNED:
            weights = mean_weights(read_weights(parts, self.folder.checkpoints / START), weights, outcome.alpha)
        network = network_of(parts, weights)
        outputs, labels = embed_training_images(parts, network.embedder)
        if first:
            projection = fit_projection(outputs, labels, outcome.after) if outcome.after else None
            self._save(network, projection, parts.data.classes, read_trained_on(last))
        epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs:,} epochs"
        length = "for {} more from the best one" if images >= FEW_IMAGES else "anew for {}"
        return f"then trained on all {len(parts.data.classes):,} classes, {length.format(epochs)}"

    def _closed_form(self) -> str:
        """Fit the closed form to all classes."""
        parts = self.parts
        features = read_features(parts, self.folder.path / "stages" / "untouched.pt")
        table, images = parts.validation.sets[parts.validation.decides]
        held_out = images.frame.iloc[np.unique(images.queries)]
        outputs = torch.cat([features.train, features.held_out[np.unique(images.queries)]])
        labels = [*np.array(parts.data.classes)[features.labels], *held_out["label"]]
        record = trained_on(held_out["label"], image_keys(table, held_out)).after(self.record, "")
        network = untouched(
            parts, network_of(parts, load_file(self.folder.checkpoints / START / "model.safetensors")).embedder
        )
        projection = fit_projection(outputs, labels, self.staged.outcome.after)
        classes = sorted({*parts.data.classes, *held_out["label"]})
        self._save(network, projection, classes, record)
        return f"then the closed form learnt from all {len(classes):,} classes"

    def _save(
        self, network: StageNetwork, projection: AffineProjection | None, classes: list[str], record: TrainedOn
    ) -> None:
        folder = self.folder.checkpoints / REFITTED
        metrics = {"epoch": self.staged.epoch, "outcome": self.staged.result.shipped, **self.staged.after}
        note = 'metrics are of the checkpoint "finished", which was not trained on the classes that measured it'
        save_outcome(self.parts, folder, network, projection, classes, metrics | {"note": note}, record,
                     self.staged.outcome.view)  # fmt: skip
        self._calibrate(folder)
        self.folder.point_best(folder)

    def _calibrate(self, checkpoint: Path) -> None:
        """Carry the calibration by the held-out classes over, where they are enough for one."""
        parts, staged = self.parts, self.staged
        table, images = parts.validation.sets[parts.validation.decides]
        name = "untouched" if staged.outcome.alpha == UNTOUCHED else f"epoch-{staged.epoch:03d}"
        name += "" if staged.outcome.alpha in (UNTOUCHED, TUNED) else f"-{staged.outcome.alpha:g}"
        features = read_features(parts, self.folder.path / "stages" / f"{name}.pt")
        after = staged.outcome.after
        projection = fit_projection(features.train, features.labels, after) if after else None
        embeddings = features.embeddings(projection, staged.outcome.view)
        try:
            carry_calibration(checkpoint, embeddings, table, images, str(parts.device))
        except DataError as error:
            self.note(f"no calibration is carried over: {error}")
