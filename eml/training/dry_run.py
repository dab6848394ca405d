"""Estimate a run's time and memory from two of its steps, writing nothing."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from eml.dataset.columns import seen_sizes
from eml.dataset.table import Table
from eml.devices import synchronize
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.distributed.sharded_network import own_part
from eml.errors import EmlError
from eml.images.image_size import Size, size_text
from eml.images.loading_workers import WorkerLostError
from eml.inference.embed import Batching, embed_table
from eml.training.build import RunParts, build_parts
from eml.training.caches import training_settings
from eml.training.checks import run_notes
from eml.training.config import RunConfig
from eml.training.data_parallel import batch_norms
from eml.training.facts import RunFacts
from eml.training.fit import Run
from eml.training.nan_check import NotFiniteError
from eml.training.recipe import apply_recipe
from eml.training.stages.class_starts import start_classes
from eml.training.stages.staging import stages_notes
from eml.units import MIB

UPSCALED = 2.0  # images enlarged by more than this show no more detail at that size


@dataclass(frozen=True)
class ClassHeadCost:
    """The cost of the class head; memory (MiB) is that of this process.

    Attributes:
        plan: How the class head processes its classes, in words.
        weights_mib: Of the class weights.
        gradient_mib: Of their gradient.
        optimizer_mib: Of their optimizer state.
        work_mib: Of the work for a batch.
        seconds_per_step: The class head's share of a step's time.
    """

    plan: str
    weights_mib: float
    gradient_mib: float
    optimizer_mib: float
    work_mib: float
    seconds_per_step: float


@dataclass(frozen=True)
class DryRunResult:
    """Estimates of a run, from two of its steps; memory (MiB) is that of this process.

    Attributes:
        facts: Of the run.
        class_head: What the class head costs.
        network_and_optimizer_mib: Network with gradient, optimizer state and running mean.
        peak_mib: The peak of the device's memory, or of the process on a CPU; None where the system does not report it.
        image_size: Side of an image (pixels), or (height, width).
        batch_size: Images of a batch, in all processes.
        steps: Optimizer steps of the whole run.
        seconds_per_step: Time of a step.
        minutes_without_validation: Time of all steps.
        validations: Number of validations in the whole run, that of the untrained network included.
        validation_images: Images that are measured after an epoch.
        seconds_per_validation: Time to embed them; None without validation.
        minutes: Time of all steps, of all validations and of the teacher.
        teacher: What is learned from the teacher, in words; None without one.
        teacher_minutes: Time in which the teacher, and an older model (compatible_with), embed the training images,
            once; None without them.
        recipe: What the recipe chose, a line each.
        warnings: A line each.
    """

    facts: RunFacts
    class_head: ClassHeadCost
    network_and_optimizer_mib: float
    peak_mib: float | None
    image_size: Size
    batch_size: int
    steps: int
    seconds_per_step: float
    minutes_without_validation: float
    validations: int
    validation_images: int
    seconds_per_validation: float | None
    minutes: float
    teacher: str | None
    teacher_minutes: float | None
    recipe: list[str]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in one flat dictionary, for JSON."""
        own = {key: value for key, value in asdict(self).items() if key not in ("facts", "class_head")}
        head = {f"class_head_{key}": value for key, value in asdict(self.class_head).items()}
        head = {"class_head": head.pop("class_head_plan")} | head
        return self.facts.to_dict() | head | own


def dry_run(config: RunConfig, table: Table, processes: Processes = SINGLE_PROCESS) -> DryRunResult:
    """Build everything and take two steps, writing nothing.

    Args:
        config: Of the run.
        table: The images' table.
        processes: That have met; all of them call this.

    Raises:
        EmlError: The run cannot be built, or its loss is not finite.
    """
    config, recipe = apply_recipe(config, table)
    parts = build_parts(_always_mixed(config), table, processes=processes)
    text_notes: list[str] = []
    if config.data.cache is not None:
        training_settings(config.data.cache, parts.preprocess, parts.augmenter)  # which says what is wrong with it
    with _lost_workers_named(parts):
        if config.text_keys:  # else class weights begin where it makes no difference to time and memory
            start_classes(parts, text_notes.append)
        if parts.compatibility is not None:
            parts.compatibility.pretend()
        images, seconds = _take_two_steps(Run(parts))
        teacher_seconds = _teacher_seconds(parts)
        validation, count = _validation_seconds(parts), _validations(parts)
        images_validated = parts.validation.images_in_run(count)
    batch_size = sum(processes.all_gather(images))
    return DryRunResult(
        facts=RunFacts.of(parts),
        class_head=_class_head_cost(parts, batch_size, images),
        network_and_optimizer_mib=_network_mib(parts),
        peak_mib=_peak_mib(parts.device),
        image_size=parts.preprocess.size,
        batch_size=batch_size,
        steps=parts.steps,
        seconds_per_step=round(seconds, 3),
        minutes_without_validation=round(seconds * parts.steps / 60, 1),
        validations=count,
        validation_images=parts.validation.images,
        seconds_per_validation=None if validation is None else round(validation * parts.validation.images, 1),
        minutes=round(
            (seconds * parts.steps + (validation or 0.0) * images_validated + (teacher_seconds or 0.0)) / 60, 1
        ),
        teacher=None if parts.distiller is None else parts.distiller.text.removeprefix("teacher: "),
        teacher_minutes=None if teacher_seconds is None else round(teacher_seconds / 60, 1),
        recipe=[line.strip() for line in recipe],
        warnings=[*_warnings(parts), *stages_notes(parts), *text_notes],
    )


def _always_mixed(config: RunConfig) -> RunConfig:
    """Return the config with every batch mixed that could be, so that two steps show the cost of mixing."""
    if config.mix is None or config.mix.chance == 0:
        return config
    return config.model_copy(update={"mix": config.mix.model_copy(update={"chance": 1.0, "until": 1.0})})


def _take_two_steps(run: Run) -> tuple[int, float]:
    """Return this process's images in a batch and the seconds of the second step; the first one warms up."""
    try:
        run.step(*next(run.batches.of_epoch(epoch=1, first_step=0)))
        synchronize(run.parts.device)
        started = time.monotonic()
        pixels, rows = next(run.batches.of_epoch(epoch=1, first_step=0))
        run.step(pixels, rows)
        synchronize(run.parts.device)
    except NotFiniteError as error:  # its other lines are about a saved state, and there is none
        raise EmlError(error.diagnosis, code="not-finite") from error
    return len(rows), time.monotonic() - started


@contextmanager
def _lost_workers_named(parts: RunParts) -> Iterator[None]:
    """Raise an EmlError that names the setting where a process that loads images was lost."""
    try:
        yield
    except WorkerLostError as error:
        text = f"data.workers: {error.cause}; set fewer than {parts.workers}"
        raise EmlError(text, code=error.code, parameter="data.workers") from error


def _validations(parts: RunParts) -> int:
    """Return how often the run is validated: before training, after every `validation.every` epochs, at the end."""
    epochs, every = parts.config.epochs, parts.validation.every
    return 1 + epochs // every + (epochs % every > 0) if parts.validation else 0


def _validation_seconds(parts: RunParts) -> float | None:
    """Estimate the time of an image of a validation from a few, after as many to warm up; None without one."""
    if not parts.validation:
        return None
    table, images = next(iter(parts.validation.sets.values()))
    batching = Batching(parts.config.validation.batch_size, parts.workers, parts.processes)
    rows = images.frame.iloc[: batching.batch_size * parts.processes.world]
    seconds = 0.0
    for _ in ("warm up", "measure"):
        started = time.monotonic()
        embed_table(parts.model, table, rows, batching=batching)
        seconds = time.monotonic() - started
    return seconds / len(rows)


def _teacher_seconds(parts: RunParts) -> float | None:
    """Estimate the time in which the teacher and the older model embed all training images; None without them."""
    models = [model for model in (parts.distiller, parts.compatibility) if model is not None]
    seconds = sum(model.seconds_per_image() for model in models)
    return seconds * len(parts.data.frame) / parts.processes.world if models else None


def _network_mib(parts: RunParts) -> float:
    """Return the memory (MiB) in this process of network, gradient, optimizer state and running mean."""
    state = [moment for moments in parts.optimizer.state.values() for moment in moments.values()]
    weights = list(parts.embedder.parameters())
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    ema = list(parts.networks.ema.module.parameters()) if parts.networks.ema else []
    tensors = [tensor for tensor in (*weights, *gradients, *ema, *state) if isinstance(tensor, Tensor)]
    return round(sum(part.numel() * part.element_size() for part in map(own_part, tensors)) / MIB, 1)


def _peak_mib(device: torch.device) -> float | None:
    """Return the peak of the device's memory, or of the process on a CPU; None where the system does not report it."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / MIB, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB, 1)


def _class_head_cost(parts: RunParts, batch_size: int, images: int) -> ClassHeadCost:
    """Measure the cost of the class head. batch_size: of all processes; images: this process's part of it."""
    head, device = parts.head, parts.head.class_weights.device
    moments = parts.optimizer.state.get(head.class_weights, {}).values()
    copies = sum(1 for moment in moments if isinstance(moment, Tensor) and moment.shape == head.class_weights.shape)
    memory = {name: round(size / MIB, 1) for name, size in head.memory_needed(batch_size, copies).items()}
    embeddings = torch.randn(images, head.embedding_size, device=device, requires_grad=True)
    labels = torch.randint(head.num_classes, (images,))
    with parts.config.cuda.in_effect(device):
        synchronize(device)
        started = time.monotonic()
        head(embeddings, labels).log_sum_exp.sum().backward()
        synchronize(device)
        seconds = time.monotonic() - started
    return ClassHeadCost(
        plan=str(head.plan(batch_size)).removeprefix("class head: "),
        weights_mib=memory["weights"],
        gradient_mib=memory["gradient"],
        optimizer_mib=memory["optimizer"],
        work_mib=memory["work"],
        seconds_per_step=round(seconds, 4),
    )


def _warnings(parts: RunParts) -> Iterator[str]:
    config, frame = parts.config, parts.data.frame
    yield from (note.removeprefix("warning: ") for note in run_notes(parts))
    counts = frame["label"].value_counts()
    if alone := int((counts == 1).sum()):
        yield (
            f"{alone:,} of {len(counts):,} classes have one image to train on, so nothing shows what their images "
            "share. Remove them with: eml filter DATASET --min-per-class 2"
        )
    rates = config.optimizer.lr
    if 0 < rates.class_weights < rates.backbone and parts.head.texts is None:
        yield (
            f"optimizer.lr.class_weights {rates.class_weights:g} is below the backbone's {rates.backbone:g}: class "
            "weights start at random and need the larger rate, ten to a hundred times as large"
        )
    if (sizes := seen_sizes(frame)) is not None:
        height, width = parts.preprocess.shape
        small = ((sizes["height"] * UPSCALED < height) & (sizes["width"] * UPSCALED < width)).mean()
        if small > 0.05:
            yield (
                f"{small:.0%} of the images are enlarged more than {UPSCALED:g} times to "
                f"{size_text(parts.preprocess.size)} "
                "pixels: a smaller image.size is faster and keeps all detail"
            )
    if config.accumulate > 1 and config.model.batch_norm == "train" and batch_norms(parts.embedder.backbone):
        yield (
            "accumulate: the backbone's BatchNorm layers see the parts of a batch; model.batch_norm: frozen makes the "
            "step exact"
        )
    if config.data.cache is not None:
        yield "data.cache: these steps read the files, which is slower; a dry run fills no cache"
