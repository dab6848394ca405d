"""Try learning rates in a few steps each, and train by the one that serves held-out images best."""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.evaluation.evaluate import evaluate_model
from eml.evaluation.retrieval_set import RetrievalSet
from eml.evaluation.thinning import thin
from eml.inference.embed import Batching
from eml.training.batches import TrainingBatches
from eml.training.build import RunParts, build_parts
from eml.training.config import RunConfig
from eml.training.nan_check import NotFiniteError
from eml.training.validation import Validation

STEPS = 40
"""Steps of a trial: as many rank a rate and three times as much as whole runs do, and 20 do not. They flatter lower
rates, so none is tried (docs/benchmarks_recipe.md)."""
MOST_IMAGES = 400
"""Held-out images that a trial is measured on, at most."""
LEAST_CLASSES = 6
"""Held-out classes below which nothing is tried, since chance would choose."""
SHARE = 0.1
"""All trials together take at most this share of the run's steps; with fewer steps nothing is tried."""


class Stepper(Protocol):
    """A run, as far as a trial needs it."""

    batches: TrainingBatches

    def step(self, pixels: Tensor, rows: Tensor) -> object:
        """Take an optimizer step on a batch."""


@dataclass(frozen=True)
class RateTrial:
    """The trials of a run's learning rates.

    Attributes:
        metric: By which they are compared, as tables name it.
        steps: Of each trial.
        images: Held-out images that they are measured on.
        values: Rate of the backbone → the metric after its trial; None where the loss was not finite.
        chosen: The rate that is trained with.
    """

    metric: str
    steps: int
    images: int
    values: dict[float, float | None]
    chosen: float

    @property
    def text(self) -> str:
        """The trials in a line."""
        parts = [
            f"{rate:g}: {'not finite' if value is None else f'{value:.4f}'}" for rate, value in self.values.items()
        ]
        return (
            f"rate {self.chosen:g} chosen by {self.steps} steps with each ({self.metric} of {self.images:,} held-out "
            f"images {', '.join(parts)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self) | {"values": {f"{rate:g}": value for rate, value in self.values.items()}}


def with_rate(config: RunConfig, rate: float) -> RunConfig:
    """Return the config with a rate for backbone, neck and text tower, in the ratio that it has, and no candidates."""
    rates = config.optimizer.lr
    factor = rate / rates.backbone if rates.backbone else 1.0
    update: dict[str, Any] = {"backbone": rate, "neck": float(f"{rates.neck * factor:.6g}"), "candidates": ()}
    if rates.text is not None:
        update["text"] = float(f"{rates.text * factor:.6g}")
    chosen = rates.model_copy(update=update)
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": chosen})})


def recorded_rate(facts: Mapping[str, Any]) -> float | None:
    """Return the rate that trials chose, as run.json records it; None where nothing was tried."""
    trial = facts.get("rate_trial")
    return float(trial["chosen"]) if isinstance(trial, dict) and isinstance(trial.get("chosen"), float) else None


def try_rates(
    config: RunConfig,
    table: Table,
    run_of: Callable[[RunParts], Stepper],
    processes: Processes = SINGLE_PROCESS,
) -> tuple[RunConfig, RateTrial | None]:
    """Return the config with the best of its `optimizer.lr.candidates`, and the trials; nothing is written.

    Each trial begins at the same weights and sees the same images, with its own warm-up and decay. Where nothing can be
    tried (no held-out images, few classes or steps, a sharded network), the config's own rate stays.

    Args:
        config: With its recipe applied.
        table: The images' table.
        run_of: The parts of a run → the run.
        processes: All of them call this; they have met.
    """
    candidates = config.optimizer.lr.candidates
    plain = with_rate(config, config.optimizer.lr.backbone)
    if not candidates or (config.shard_network and processes.world > 1):
        return plain, None
    values: dict[float, float | None] = {}
    shown, images = "", 0
    for rate in candidates:
        parts = build_parts(with_rate(config, rate), table, processes=processes)
        trial = _trial_set(parts.validation, len(candidates) * STEPS, parts.steps, config.seed)
        if trial is None:
            return plain, None
        shown, images = parts.validation.shown[parts.validation.metric], len(trial.frame)
        values[rate] = _value(run_of, parts, trial)
    finite = {rate: value for rate, value in values.items() if value is not None}
    chosen = max(finite, key=lambda rate: finite[rate]) if finite else config.optimizer.lr.backbone
    return with_rate(config, chosen), RateTrial(shown, STEPS, images, values, chosen)


def _trial_set(validation: Validation, tried: int, steps: int, seed: int) -> RetrievalSet | None:
    """Return the images of the set that decides to measure trials on; None where nothing is to be tried."""
    if not validation or tried > SHARE * steps:
        return None
    _, images = validation.sets[validation.decides]
    part = thin(images, MOST_IMAGES, seed)
    chosen = images if part is None else part.images
    return chosen if len(np.unique(chosen.labels[chosen.queries])) >= LEAST_CLASSES else None


def _value(run_of: Callable[[RunParts], Stepper], parts: RunParts, images: RetrievalSet) -> float | None:
    """Return the metric after the steps of a trial; None where the loss was not finite."""
    run = run_of(replace(parts, config=parts.config.model_copy(update={"epochs": 1}), steps_per_epoch=STEPS))
    try:
        with closing(_batches(run)) as batches:
            for pixels, rows in islice(batches, STEPS):
                run.step(pixels, rows)
    except NotFiniteError:
        return None
    table, _ = parts.validation.sets[parts.validation.decides]
    batching = Batching(parts.config.validation.batch_size, parts.workers, parts.processes)
    evaluation = evaluate_model(parts.model, table, images, batching=batching)
    summary = parts.validation.with_texts(parts.validation.decides, evaluation, parts.model, parts.processes)
    return summary.values[parts.validation.main_metric]


def _batches(run: Stepper) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yield the batches of one epoch after another."""
    for epoch in count(1):
        yield from run.batches.of_epoch(epoch, 0)
