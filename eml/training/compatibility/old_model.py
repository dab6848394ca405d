"""The older model of a run: found, loaded, and recorded, so that a resumed run needs it in the end alone."""

import json
from typing import TYPE_CHECKING, Any

from eml.errors import CheckpointError, EmlError, Problem
from eml.models.checkpoint import read_checkpoint_config
from eml.models.config import ModelConfig
from eml.training.compatibility.config import KEY, CompatibleConfig
from eml.training.config import RunConfig
from eml.training.distillation.teacher import FACTS as TEACHER_FACTS
from eml.training.distillation.teacher import KEY as TEACHER_KEY
from eml.training.distillation.teacher import Teacher, check_teacher, load_teacher, recorded_teacher
from eml.training.run_folder import RunFolder

if TYPE_CHECKING:
    import torch

FACTS = "compatible_with"
"""The key of run.json."""


def check_old_model(config: RunConfig, *, resume: bool = False) -> None:
    """Raise an EmlError for an older model that is not there, or whose embeddings cannot be of the network's size.

    A neck that the config leaves to its recipe is of that size: see `neck_of_old_model`.

    Raises:
        EmlError: The message begins with the config's key.
    """
    own = config.compatible_with
    if own is None or resume:
        return
    try:
        check_teacher(own.as_teacher)
        size = read_checkpoint_config(own.model).size
    except EmlError as error:
        raise _renamed(error) from error
    if config.recipe == "auto" and "neck" not in config.model.model_fields_set:
        return
    neck = getattr(config.model.neck, "size", size)
    if neck != size:
        leave = " or leave it out, which sets that" if config.recipe == "auto" else ""
        raise CheckpointError(
            f"model.neck: {config.model.neck.type} of size {neck:,}, and {KEY} {own.name} embeds into {size:,} "
            f"numbers; {neck_to_set(own, config.model.backbone)}{leave}",
            code="wrong-shape",
            parameter="model.neck",
        )


def load_old_model(config: CompatibleConfig, device: "torch.device") -> Teacher:
    """Load the older model onto a device, in its own way of embedding.

    Raises:
        EmlError: It cannot be loaded; the message begins with the config's key.
    """
    try:
        return load_teacher(config.as_teacher, device)
    except EmlError as error:
        raise _renamed(error) from error


def old_model_of(config: RunConfig, device: "torch.device", *, resume: bool) -> Teacher | None:
    """Return a run's older model, loaded unless the folder of a run that goes on says what it was; None without one.

    Raises:
        EmlError: It cannot be loaded.
    """
    if (own := config.compatible_with) is None:
        return None
    recorded = None
    if resume:
        facts = {TEACHER_FACTS: RunFolder(config.output).facts().get(FACTS)}
        recorded = recorded_teacher(own.as_teacher, facts)
    return recorded or load_old_model(own, device)


def neck_of_old_model(config: CompatibleConfig, backbone: str) -> tuple[dict[str, Any], str]:
    """Return the neck that a recipe chooses, so that embeddings have the older model's size, and the reason for it.

    Raises:
        EmlError: The older model cannot be read.
    """
    try:
        old = read_checkpoint_config(config.model)
    except EmlError as error:
        raise _renamed(error) from error
    if old.model.backbone == backbone and not old.members and old.compression is None:
        neck = old.model.neck.model_dump(mode="json")
        return neck, f"neck {neck['type']}: as {config.name}, whose gallery the queries shall fit, has it"
    return {"type": "linear", "size": old.size}, f"neck linear {old.size}: the size of the embeddings of {config.name}"


def neck_to_set(config: CompatibleConfig, backbone: str) -> str:
    """Return the advice to set that neck, as it is written in a config, without the end of the sentence.

    Raises:
        EmlError: The older model cannot be read.
    """
    neck, _ = neck_of_old_model(config, backbone)
    chosen = ModelConfig.model_validate({"neck": neck}).neck
    usual = type(chosen)(type=chosen.type).model_dump(mode="json")
    kept = {key: value for key, value in neck.items() if key == "size" or (key != "type" and value != usual[key])}
    fields = [f"type: {chosen.type}", *(f"{key}: {json.dumps(value)}" for key, value in kept.items())]
    return f"set model.neck: {{{', '.join(fields)}}}"


def _renamed(error: EmlError) -> EmlError:
    """Return an error about a teacher with the key of the older model in its place."""
    return type(error)([Problem(str(part).replace(TEACHER_KEY, KEY), part.code, KEY) for part in error.problems])
