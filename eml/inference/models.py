"""A model by name: a run, a checkpoint or `timm:NAME`."""

from pathlib import Path

import torch

from eml.errors import ConfigError
from eml.inference.model import Model, load
from eml.models.config import ModelConfig
from eml.models.device import find_device
from eml.models.embedder import build_embedder, check_backbone, default_preprocess
from eml.models.necks.identity import Identity

TIMM = "timm:"


UNTRAINED_SEED = 28


def check_timm(name: str) -> None:
    """Raises ConfigError for a `timm:NAME` that timm does not have; takes any other name."""
    if name == TIMM:
        raise ConfigError(f"{TIMM} names no model; write {TIMM}NAME, such as {TIMM}resnet50")
    if name.startswith(TIMM):
        check_backbone(name.removeprefix(TIMM), name)


def load_for_evaluation(
    name: str, *, weights: str = "pretrained", image_size: int | None = None, device: str = "auto"
) -> Model:
    """A checkpoint or run folder, or `timm:NAME`: a timm model as it comes, its pooled features as embeddings.

    weights, image_size: of timm:NAME; a checkpoint has its own. weights: pretrained, none, or a file. image_size: side
    (pixels), the model's own unless given; images are squashed to the square.
    """
    if not name.startswith(TIMM):
        return load(name, device=device)
    check_timm(name)
    source = weights if weights in ("pretrained", "none") else Path(weights).absolute()
    config = ModelConfig.model_validate({"backbone": name.removeprefix(TIMM), "weights": source, "neck": Identity()})
    torch.manual_seed(UNTRAINED_SEED)
    embedder = build_embedder(config, image_size)
    return Model(embedder, default_preprocess(embedder.backbone, size=image_size), find_device(device))
