"""Parameter groups, timm's optimizers, and the learning-rate factor as a pure function of the step."""

import math
from difflib import get_close_matches
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn

from eml.engine.config import OptimizerConfig, ScheduleConfig
from eml.errors import ConfigError
from eml.models.embedder import Embedder
from eml.models.head import ClassHead


def build_optimizer(config: OptimizerConfig, embedder: Embedder, head: ClassHead) -> torch.optim.Optimizer:
    """One optimizer over backbone, neck and class weights, each with its own peak rate (kept as `peak_lr`).

    Class weights that are sampled are not in it: the head updates them (`ClassHead.step`).
    Biases and the weights of norms (fewer than 2 dimensions) get no weight decay. A part whose rate is 0 is frozen.
    """
    check_optimizer(config.name)
    groups = [
        *_groups("backbone", embedder.backbone, config.lr.backbone, config.weight_decay),
        *_groups("neck", embedder.neck, config.lr.neck, config.weight_decay),
        *_groups("class_weights", head, config.lr.class_weights, config.class_weight_decay),
    ]
    if not groups:
        raise ConfigError("optimizer.lr: all learning rates are 0, so nothing would be trained")
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=config.name, lr=max(group["lr"] for group in groups)
    )
    return optimizer


def check_optimizer(name: str) -> None:
    """Raises ConfigError, with suggestions, when timm has no such optimizer."""
    if name.lower() not in list_optimizers():
        close = get_close_matches(name.lower(), list_optimizers(), 3)
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        raise ConfigError(f"optimizer.name: timm has no optimizer {name!r}{hint}")


def _groups(name: str, module: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    if lr == 0:
        module.requires_grad_(False)
        return []
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    common = {"lr": lr, "peak_lr": lr, "part": name}
    groups = [
        {"params": matrices, "weight_decay": weight_decay, **common},
        {"params": vectors, "weight_decay": 0.0, **common},
    ]
    return [group for group in groups if group["params"]]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Set every group to its peak times the factor; returns part → rate."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        rates[group["part"]] = group["lr"] = group["peak_lr"] * factor
    return rates


def learning_rate_factor(config: ScheduleConfig, step: int, steps: int, steps_per_epoch: int) -> float:
    """In (0, 1], for the 0-based step of `steps`: linear warm-up, then half a cosine that ends at `final`."""
    warmup = min(round(config.warmup_epochs * steps_per_epoch), steps - 1)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
