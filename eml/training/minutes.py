"""The length of a run that is to take so many minutes, planned from the measured time of a step."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from eml.dataset.table import Table
from eml.distributed.processes import Processes
from eml.inference.embed import Batching, embed_table
from eml.training.build import RunParts, build_parts
from eml.training.config import RunConfig
from eml.training.moved_run import CONFIG_NAME, load_run_config
from eml.training.stages.refit import SHARE
from eml.training.stages.rotation import rotated_folds

MOST_EPOCHS = 30
"""More are planned only where the config itself has more."""
STEPS = 2  # that are timed, after one to warm up


@dataclass(frozen=True)
class Pace:
    """Measured times, and the images that a run goes through.

    Attributes:
        train: Seconds for an image to train on.
        embed: Seconds for an image to embed.
        images: To train on.
        held_out: In the validation sets.
        validated: That are measured in an epoch, on average.
        folds: Held out, one after another.
        in_stages: Whether the run is measured in stages.
        is_refitted: Whether all classes may be trained on in the end.
        teacher: Seconds in which a teacher, and an older model, embed the training images, once.
    """

    train: float
    embed: float
    images: int
    held_out: int
    validated: float
    folds: int = 1
    in_stages: bool = False
    is_refitted: bool = False
    teacher: float = 0.0

    def seconds(self, epochs: int) -> float:
        """Estimate the time of a run of so many epochs."""
        run = epochs * (self.images * self.train + self.validated * self.embed) + self.held_out * self.embed
        if self.in_stages:
            run += 4 * (self.images + self.held_out) * self.embed
        every = self.images + self.held_out
        refit = SHARE * epochs * every * self.train + 2 * every * self.embed if self.is_refitted else 0.0
        return self.folds * run + refit + self.teacher

    def epochs(self, minutes: float, most: int) -> int:
        """Return the most epochs whose time is within so many minutes; one at least."""
        fits = [epochs for epochs in range(1, most + 1) if self.seconds(epochs) <= 60 * minutes]
        return fits[-1] if fits else 1


def plan_length(
    config: RunConfig,
    table: Table,
    processes: Processes,
    take_steps: Callable[[RunParts, int], float],
    *,
    resume: bool,
    note: Callable[[str], None],
) -> RunConfig:
    """Return the config with as many epochs as `minutes` allow; those of its plan where it is resumed.

    Args:
        config: Of the run, with its recipe applied.
        table: The images' table.
        processes: All of them call this.
        take_steps: Takes so many steps after one to warm up, and returns their seconds.
        resume: Whether the run is resumed.
        note: Receives a line that says what was planned.
    """
    if config.minutes is None:
        return config
    if resume:
        planned = processes.from_first(lambda: load_run_config(config.output / CONFIG_NAME).epochs)
        return config.model_copy(update={"epochs": planned})
    parts = build_parts(config, table, processes=processes)
    pace = _measure(parts, table, take_steps)
    epochs = processes.from_first(lambda: pace.epochs(config.minutes or 0.0, max(MOST_EPOCHS, config.epochs)))
    expected = processes.from_first(lambda: pace.seconds(epochs)) / 60
    note(
        f"minutes {config.minutes:g}: {epochs} {'epoch' if epochs == 1 else 'epochs'}, expected to take "
        f"{expected:.1f} minutes with all that follows"
    )
    return config.model_copy(update={"epochs": epochs})


def _measure(parts: RunParts, table: Table, take_steps: Callable[[RunParts, int], float]) -> Pace:
    config = parts.config
    batching = Batching(config.validation.batch_size, parts.workers, parts.processes)
    rows = parts.data.frame.iloc[: batching.batch_size * parts.processes.world]
    embed_table(parts.model, parts.table, rows, batching=batching)  # warms up
    started = time.monotonic()
    embed_table(parts.model, parts.table, rows, batching=batching)
    embed = (time.monotonic() - started) / len(rows)
    seconds = take_steps(parts, STEPS)
    teacher = 0.0
    if parts.distiller is not None:
        teacher = parts.distiller.seconds_per_image() * len(parts.data.frame) / parts.processes.world
    if parts.compatibility is not None:
        teacher += parts.compatibility.seconds_per_image() * len(parts.data.frame) / parts.processes.world
    has_fold = config.data.fold is not None
    return Pace(
        train=seconds / STEPS / config.batch_size,
        embed=embed,
        images=parts.steps_per_epoch * config.batch_size,
        held_out=parts.validation.whole_images,
        validated=parts.validation.images / parts.validation.every,
        folds=1 + len(rotated_folds(config, table)),
        in_stages=config.stages == "auto" and has_fold,
        is_refitted=config.stages == "auto" and has_fold and config.refit is not False and config.task == "open",
        teacher=teacher,
    )
