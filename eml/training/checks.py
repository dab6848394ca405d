"""Checks of a config before a run is built, and notes on a run before its first step."""

from collections.abc import Callable

from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.errors import ConfigError, EmlError
from eml.head.compatibility import check_loss, check_mix, check_texts, smoothing_warning
from eml.models.backbones import check_backbone
from eml.models.image_sizes import check_size
from eml.texts.encoders.base import cut_note
from eml.threads import PER_CORE
from eml.training.build import RunParts
from eml.training.class_texts import check_class_texts, labels_note
from eml.training.compatibility.notes import old_model_notes
from eml.training.compatibility.old_model import check_old_model
from eml.training.config import RunConfig
from eml.training.distillation.leaks import leak_notes
from eml.training.distillation.teacher import check_teacher
from eml.training.optimizer import check_optimizer
from eml.training.process_checks import batch_norm_note, check_processes, sharding_note
from eml.training.run_folder import RunFolder
from eml.training.starting_point import network_to_build
from eml.training.text_weights import check_own_tower, frozen_tower_note
from eml.training.validation import check_metric


def check(config: RunConfig, *, resume: bool, overwrite: bool, processes: Processes = SINGLE_PROCESS) -> None:
    """Check a config against timm, this machine and the output folder, before anything is read or built.

    Args:
        config: Of the run.
        resume: Whether there must be a state to resume from.
        overwrite: Whether the output folder may hold a run.
        processes: That have not met yet; the first one makes the folder after that.

    Raises:
        ConfigError: With all problems at once.
    """
    folder = RunFolder(config.output)
    checks: list[Callable[[], object]] = [
        lambda: processes.device(config.device),
        lambda: check_processes(config, processes),
        lambda: _check_network(config, resume=resume),
        lambda: check_class_texts(config, resume=resume),
        lambda: check_own_tower(config),
        lambda: check_teacher(config.distill, resume=resume),
        lambda: check_old_model(config, resume=resume),
        lambda: check_optimizer(config.optimizer.name),
        config.augment.check,
        *(tracker.check for tracker in config.trackers),
        lambda: check_metric(config),
        lambda: check_loss(config.margin, config.loss),
        lambda: check_texts(
            config.margin, config.head, config.mix, config.loss, config.text, neck=config.model.neck.type
        ),
        lambda: check_mix(config.margin, config.head, config.mix, config.text),
        folder.refuse_not_resumable if resume else lambda: folder.refuse_occupied(overwrite=overwrite),
    ]
    problems: list[str] = []
    for check_part in checks:
        try:
            check_part()
        except EmlError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def _check_network(config: RunConfig, *, resume: bool) -> None:
    """Raise a ConfigError for an unknown backbone, or images of a size that it does not take.

    A run that goes on has its size, which an older version may have allowed.
    """
    check_backbone(network_to_build(config, resume=resume))
    if not resume:
        check_size(config.model, config.image.size, "image.size")


def run_notes(parts: RunParts) -> list[str]:
    """Return what to know of a run's loss, sampler and processes, a line each."""
    config = parts.config
    parts.set_training_mode()
    smoothing = smoothing_warning(parts.head, config.loss)
    return [
        *parts.embedder.notes,
        *([smoothing] if smoothing else []),
        *config.sampler.notes(parts.classes, config.batch_size, parts.data.classes),
        *batch_norm_note(parts.embedder, parts.processes),
        *sharding_note(config, parts.processes),
        *_worker_note(config.data.workers, parts.workers),
        *_text_note(parts),
        *filter(None, [labels_note(config, parts.data.classes), _cut_note(parts), frozen_tower_note(config)]),
        *leak_notes(parts),
        *old_model_notes(parts),
    ]


def _cut_note(parts: RunParts) -> str | None:
    """Return how many texts that images are compared with are cut off."""
    texts = parts.head.texts
    return None if texts is None else cut_note(texts.too_long, texts.count)


def _text_note(parts: RunParts) -> list[str]:
    """Return which texts the run uses, and for what; nothing of a resumed run, whose state has the vectors."""
    config = parts.config
    if not config.text_keys or "class_texts" not in vars(parts):
        return []
    texts, term = parts.class_texts, config.text
    uses = ["class weights begin at them"] if config.head.init.type == "text" else []
    if term is not None:
        end = term.factor(1.0)
        weight = f"weight {term.weight:g}" + (f" falling to {end:g}" if end != term.weight else "")
        uses.append(f"term {term.type}, {weight}")
    first = texts.texts[0][0]
    return [
        f"class texts: {texts.size:,} numbers each by {texts.encoder.name}, such as of {first!r}; {', '.join(uses)}",
        *parts.text_notes,
    ]


def _worker_note(number: int | str, workers: int) -> list[str]:
    """Return a note when fewer processes load images than the config asks for."""
    if number in ("auto", workers):
        return []
    return [f"data.workers: {number:,} are more than {PER_CORE} for each core; {workers} load images"]
