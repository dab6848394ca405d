"""The run that training starts from, in place of an untrained network, and what that was trained on."""

from contextlib import suppress
from pathlib import Path

from eml.errors import CheckpointError
from eml.files import from_here
from eml.models.checkpoint import read_checkpoint_config, read_trained_on
from eml.models.config import ModelConfig
from eml.models.definitions import stored_model
from eml.models.pointers import RUN_FILE
from eml.models.trained_on import TrainedOn, parse_facts, read_record
from eml.training.config import RunConfig
from eml.training.run_folder import RunFolder

UNTRAINED, FROM_A_RUN = "untrained", "from a run"
"""Epoch 0 in the list of epochs."""


def starting_run(config: RunConfig) -> Path | None:
    """Return the run or checkpoint that training starts from; None with weights of timm, of a file, or random ones.

    It may be gone when the run is resumed.
    """
    weights = config.model.weights
    return weights if isinstance(weights, Path) and not weights.is_file() else None


def network_to_build(config: RunConfig, *, resume: bool) -> ModelConfig:
    """Return the config of the network to build: on resuming without weights, and as the run's checkpoints define it.

    So the folder or run that the backbone was defined in may be gone by then.

    Args:
        config: Of the run.
        resume: Whether the run is resumed.
    """
    if not resume:
        return config.model
    model = config.model.model_copy(update={"weights": "none"})
    with suppress(CheckpointError):  # a run that was stopped before its first checkpoint has none
        stored = read_checkpoint_config(config.output)
        if stored.model.definition is not None:
            return stored_model(model, stored.model.backbone, stored.model.definition, stored.model.folder)
    return model


def earlier_record(config: RunConfig, *, resume: bool = False) -> TrainedOn | None:
    """Return what a run's network has been trained on before the run begins or is resumed; None for nothing by eml.

    Args:
        config: Of the run.
        resume: Whether the run is resumed: then as its folder says, with what it is trained on itself.

    Raises:
        CheckpointError: The record cannot be read.
    """
    if resume:
        return recorded_so_far(RunFolder(config.output))
    start = starting_run(config)
    return None if start is None else read_trained_on(start)


def recorded_so_far(folder: RunFolder) -> TrainedOn | None:
    """Return what a run is trained on, as its folder says; None of a run that an earlier version of eml began.

    That of its last checkpoint is added where its config was changed on resuming, perhaps the fold, since the folder's
    own is of the run's beginning.

    Raises:
        CheckpointError: The record in the folder cannot be read.
    """
    facts = folder.facts()
    if "trained_on" not in facts:
        return None
    record = read_record(folder.path, parse_facts(facts["trained_on"], folder.path / RUN_FILE), ())
    if facts.get("changes"):
        with suppress(CheckpointError):  # without a checkpoint, or with a damaged one
            return record.after(read_trained_on(folder.checkpoints / "last"), str(folder.path))
    return record


def starting_note(config: RunConfig, earlier: TrainedOn | None) -> str | None:
    """Return the line that says from which run training starts, and what that was trained on; None without one."""
    start = starting_run(config)
    if start is None or earlier is None:
        return None
    classes = f"{len(earlier.classes):,} class{'' if len(earlier.classes) == 1 else 'es'}"
    if earlier.images is None:
        return f"starts from {from_here(start)}, which was trained on {classes}; on which images it does not record"
    note = f"starts from {from_here(start)}, which was trained on {classes} and {len(earlier.images):,} images"
    return f"{note}, and on more that {', '.join(earlier.unrecorded)} does not record" if earlier.unrecorded else note
