"""Loading a model by name: a run, a checkpoint, `timm:NAME` or `open_clip:ARCH/PRETRAINED`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from eml.config.text import shown
from eml.errors import CheckpointError, ConfigError, EmlError, Problem
from eml.images.image_size import Size, checked_size
from eml.inference.ensemble import join_models, joined_name
from eml.inference.exported.names import is_exported
from eml.inference.model import Model
from eml.models.backbones import check_backbone, prefixes
from eml.models.checkpoint import Checkpoint, load_checkpoint, read_checkpoint_config
from eml.models.config import EmbeddingPrecision, ModelConfig, PrecisionChoice, Tta
from eml.models.device import find_device, has_bfloat16
from eml.models.embedder import build_embedder, default_preprocess
from eml.models.image_sizes import check_size
from eml.models.necks.identity import Identity
from eml.models.pointers import fold_runs
from eml.models.trained_on import NOTHING_BY_EML

TIMM = "timm:"
UNTRAINED_SEED = 28
"""Seed of the random weights of `timm:NAME` with `weights="none"`, so that its metrics are the same every time."""

TimmWeights = Literal["pretrained", "none"] | str | os.PathLike[str]


def load(
    checkpoint: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    weights: TimmWeights = "pretrained",
    image_size: Size | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "float32",
    tta: Tta | None = None,
) -> Model:
    """Load a model that torch computes, with the arguments of `eml.load`, which takes files of eml export too.

    Raises:
        CheckpointError: The checkpoint or the weights cannot be read or do not fit, or it is a file of eml export.
        ConfigError: There is no such model, the device does not exist, or an argument does not apply.
    """
    if not isinstance(checkpoint, str | os.PathLike) or fold_runs(Path(checkpoint)):
        return _load_together(checkpoint, weights, image_size, device, precision, tta)
    name = os.fspath(checkpoint)
    if is_exported(name):
        text = f"{name}: is a file of eml export, which only embeds; give the checkpoint that it was made of"
        raise CheckpointError(text, code="no-checkpoint")
    image_size = checked_size(image_size, "image_size")
    _check_choice("precision", precision, get_args(PrecisionChoice))
    if tta is not None:
        _check_choice("tta", tta, get_args(Tta))
    if is_backbone(name):
        check_backbone_name(name)
        check_size(name.removeprefix(TIMM), image_size, "`image_size`", parameter="image_size")
        return load_backbone(
            name, weights=weights, image_size=image_size, device=device, precision=precision, tta=tta or "none"
        )
    if os.fspath(weights) != "pretrained":
        text = f"{name}: `weights` are for {TIMM}NAME; a checkpoint has its own"
        raise ConfigError(text, code="conflicting-settings", parameter="weights")
    stored = _at_size(Path(name), image_size)
    backbone = joined_name([model.backbone for model in stored.config.networks])
    place, own_precision = _device(device, precision)
    return Model(
        stored.embedder,
        stored.config.own_preprocess,
        place,
        stored.folder,
        source=name,
        backbone=backbone,
        compression=stored.compression,
        precision=own_precision,
        tta=tta or stored.config.own_tta,
    )


def _load_together(
    checkpoints: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    weights: TimmWeights,
    image_size: Size | None,
    device: str,
    precision: PrecisionChoice,
    tta: Tta | None,
) -> Model:
    """Load several models, or the folds of a cross-validation, as one."""
    source, names = "", checkpoints
    if isinstance(checkpoints, str | os.PathLike):
        source, names = os.fspath(checkpoints), fold_runs(Path(checkpoints))
    assert not isinstance(names, str | os.PathLike), "a single name stands for its folds"
    own: dict[str, Any] = {"weights": weights}
    ways: dict[str, Any] = {"device": device, "precision": precision, "tta": tta, "image_size": image_size}
    return join_models([load(name, **ways, **own if is_backbone(os.fspath(name)) else {}) for name in names], source)


def _at_size(checkpoint: Path, image_size: Size | None) -> Checkpoint:
    """Return a checkpoint that takes images of this side (pixels); None: its own.

    Raises:
        ConfigError: The network takes no such images.
    """
    if image_size is None:
        return load_checkpoint(checkpoint)
    config = read_checkpoint_config(checkpoint)
    if image_size == config.own_preprocess.size:
        return load_checkpoint(checkpoint)
    if config.members:
        text = (
            f"`image_size`: {checkpoint} is an ensemble, whose networks have sizes of their own; give the runs instead"
        )
        raise ConfigError(text, code="conflicting-settings", parameter="image_size")
    if image_size != config.preprocess.size:
        check_size(config.model, image_size, f"`image_size`: {checkpoint}", parameter="image_size")
    try:
        return load_checkpoint(checkpoint, image_size=image_size)
    except ConfigError as error:
        raise ConfigError([_of_argument(problem) for problem in error.problems]) from error


def is_backbone(name: str) -> bool:
    """Return whether a name is that of a network without training by eml, such as `timm:NAME`, and not a path."""
    return name.startswith((TIMM, *prefixes()))


def check_backbone_name(name: str) -> None:
    """Raise a ConfigError for a `timm:NAME`, `open_clip:…` or the like that does not exist. A path passes."""
    if name == TIMM:
        raise ConfigError(f"{TIMM} names no model; write {TIMM}NAME, such as {TIMM}resnet50", code="unknown-choice")
    if is_backbone(name):
        check_backbone(name.removeprefix(TIMM), name)


def _check_choice(parameter: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        text = f"`{parameter}` {shown(str(value))} is unknown; allowed: {', '.join(allowed)}"
        raise ConfigError(text, code="unknown-choice", parameter=parameter)


def _device(name: str, precision: PrecisionChoice) -> tuple[torch.device, EmbeddingPrecision]:
    """Return the device and the precision that is computed with, `auto` by the device.

    Raises:
        ConfigError: The device does not exist or cannot compute in this precision.
    """
    device = find_device(name)
    if precision == "auto":
        return device, "bfloat16" if has_bfloat16(device) else "float32"
    if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        text = f"device {device} cannot compute in bfloat16; use float32"
        raise ConfigError(text, code="unusable-device", parameter="precision")
    return device, precision


def _of_argument(problem: Problem) -> Problem:
    """Return a problem that names a key of a training config with the argument of `load` in its place."""
    text = problem.removeprefix("model.backbone: ").replace("train from scratch", "take random ones")
    text = text.replace("(model.weights:", "(`weights`").replace("model.weights:", "`weights`:")
    parameters = {"model.weights": "weights", "model.backbone": "image_size"}
    return Problem(text, problem.code, parameters.get(problem.parameter or "", problem.parameter))


def load_backbone(
    name: str, *, weights: TimmWeights, image_size: Size | None, device: str, precision: PrecisionChoice, tta: Tta
) -> Model:
    """Load a network by its name in `model.backbone`, at any size that it can be built at; the arguments of `load`."""
    check_backbone_name(name)
    backbone = name.removeprefix(TIMM)
    source = weights if weights in ("pretrained", "none") else Path(weights).absolute()
    config = ModelConfig.model_validate({"backbone": backbone, "weights": source, "neck": Identity()})
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(UNTRAINED_SEED)
            embedder = build_embedder(config, image_size)
    except EmlError as error:
        raise type(error)([_of_argument(problem) for problem in error.problems]) from error
    embedder.notes = tuple(_of_argument(Problem(note)) for note in embedder.notes)
    preprocess = default_preprocess(embedder, size=image_size)
    place, own_precision = _device(device, precision)
    return Model(
        embedder,
        preprocess,
        place,
        source=name.removesuffix(backbone) + config.backbone,  # with the whole path of a folder
        backbone=embedder.architecture["backbone"],
        trained_on=NOTHING_BY_EML,
        precision=own_precision,
        tta=tta,
    )
