"""Parameter groups, timm's optimizers, and the learning-rate factor as a pure function of the step."""

import math
from difflib import get_close_matches
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_class, list_optimizers, param_groups_layer_decay
from torch import Tensor, nn

from eml.errors import ConfigError
from eml.head.class_head import ClassHead
from eml.models.embedder import Embedder
from eml.training.config import OptimizerConfig, ScheduleConfig

FUSED = {"Adam": "aten::_fused_adam_", "AdamW": "aten::_fused_adamw_", "SGD": "aten::_fused_sgd_"}
"""Torch's optimizers that make one pass over each tensor where the device has this kernel."""
_OURS = ("peak_lr", "weight_decay", "fused")  # settings of a group that follow the present config and device


def build_optimizer(
    config: OptimizerConfig,
    embedder: Embedder,
    head: ClassHead,
    *,
    text_rate: float = 0.0,
    teacher_map: nn.Module | None = None,
) -> torch.optim.Optimizer:
    """Build one optimizer over backbone, neck and class weights, each with its own peak rate (kept as `peak_lr`).

    Where the head compares with texts, the text tower and its logit scale are a part too. So is the map to a teacher's
    embeddings, which begins at random and takes the larger rate of neck and class weights.

    It leaves out sampled class weights, which the head updates (`ClassHead.step`). Biases, the weights of norms (fewer
    than 2 dimensions) and parameters that the model names get no weight decay. A part whose rate is 0 is frozen.

    Raises:
        ConfigError: Timm has no such optimizer, or nothing would be trained.
    """
    check_optimizer(config.name)
    rates = config.lr
    embedder.train_text(head.texts is not None and text_rate > 0)
    groups = [
        *_backbone_groups(embedder.backbone, config),
        *_groups("neck", embedder.neck, rates.neck, config.weight_decay),
        *_groups("class_weights", head, rates.class_weights, config.class_weight_decay),
        *_text_groups(embedder, config, text_rate),
        *(_groups("teacher_map", teacher_map, max(rates.neck, rates.class_weights), 0.0) if teacher_map else []),
    ]
    if not groups:
        raise ConfigError(
            "optimizer.lr: all learning rates are 0, so nothing would be trained",
            code="nothing-to-train",
            parameter="optimizer.lr",
        )
    return new_optimizer(config.name, groups, head.class_weights.device)


def new_optimizer(name: str, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    """Return timm's optimizer of that name, fused where torch has it so: then it makes one pass over each tensor.

    The fused one is the same but for rounding, quicker, and needs no temporary tensors as large as all weights. Torch
    has it for Apple's GPUs too, where it is untested with eml.
    """
    fused = {"fused": True} if _is_fused(name, device) else {}
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=name, lr=max(group["lr"] for group in groups), **fused
    )
    return optimizer


def _is_fused(name: str, device: torch.device) -> bool:
    """Return whether an optimizer of timm's is one of torch's that is taken fused on the device.

    SGD is not on a CPU, where it gains nothing and would round otherwise than runs that were begun without.
    """
    optimizer = get_optimizer_class(name.lower(), bind_defaults=False)
    kernel = FUSED.get(optimizer.__name__) if optimizer.__module__.startswith("torch.optim") else None
    if kernel is None or device.type not in ("cpu", "cuda") or (device.type == "cpu" and optimizer is torch.optim.SGD):
        return False
    return torch._C._dispatch_has_kernel_for_dispatch_key(kernel, device.type.upper())


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a saved state, perhaps of another device or with other rates; the optimizer keeps its own settings.

    Raises:
        ValueError: The state does not fit; or KeyError.
    """
    ours = [{key: group[key] for key in _OURS if key in group} for group in optimizer.param_groups]
    groups = [saved | own for saved, own in zip(state["param_groups"], ours, strict=True)]
    optimizer.load_state_dict(state | {"param_groups": groups})
    for parameter, held in optimizer.state.items():
        for key, moment in held.items():
            if isinstance(moment, Tensor) and moment.shape == parameter.shape and moment.stride() != parameter.stride():
                # Torch's fused kernel for CPUs walks through memory, and pairs wrong numbers where the order differs.
                held[key] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)


def check_optimizer(name: str) -> None:
    """Raise ConfigError, with suggestions, when timm has no such optimizer."""
    if name.lower() not in list_optimizers():
        close = get_close_matches(name.lower(), list_optimizers(), 3)
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        raise ConfigError(
            f"optimizer.name: timm has no optimizer {name!r}{hint}", code="unknown-choice", parameter="optimizer.name"
        )


def _backbone_groups(backbone: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Return groups by stage, from timm's grouping by depth; deeper stages learn faster.

    Clark 2020, arXiv:2003.10555, 3.4.1.
    """
    weight_decay = 0.0 if config.start_decay else config.weight_decay
    if config.layer_decay == 1 or config.lr.backbone == 0:
        return _groups("backbone", backbone, config.lr.backbone, weight_decay)
    if not hasattr(backbone, "group_matcher"):
        raise ConfigError(
            "optimizer.layer_decay: timm does not know the stages of this backbone; set it to 1",
            code="unsupported-by-backbone",
            parameter="optimizer.layer_decay",
        )
    stages = param_groups_layer_decay(backbone, weight_decay, _without_decay(backbone), layer_decay=config.layer_decay)
    return [
        {
            "params": stage["params"],
            "weight_decay": stage["weight_decay"],
            "lr": config.lr.backbone * stage["lr_scale"],
            "peak_lr": config.lr.backbone * stage["lr_scale"],
            "part": "backbone",
        }
        for stage in stages
    ]


def _text_groups(embedder: Embedder, config: OptimizerConfig, rate: float) -> list[dict[str, Any]]:
    """Return groups of the text tower and its logit scale, which has no weight decay; none where they do not train."""
    if embedder.text is None or rate == 0:
        return []
    return _groups("text", embedder.text, rate, 0.0 if config.start_decay else config.weight_decay)


def _without_decay(module: nn.Module) -> set[str]:
    """Return the names of parameters for which the model asks no weight decay, such as position embeddings."""
    own = getattr(module, "no_weight_decay", None)
    return set(own()) if own is not None else set()


def _groups(name: str, module: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    if lr == 0:
        module.requires_grad_(False)
        return []
    undecayed = _without_decay(module)
    trained = [(key, parameter) for key, parameter in module.named_parameters() if parameter.requires_grad]
    matrices = [parameter for key, parameter in trained if parameter.ndim >= 2 and key not in undecayed]
    vectors = [parameter for key, parameter in trained if parameter.ndim < 2 or key in undecayed]
    common = {"lr": lr, "peak_lr": lr, "part": name}
    groups = [
        {"params": matrices, "weight_decay": weight_decay, **common},
        {"params": vectors, "weight_decay": 0.0, **common},
    ]
    return [group for group in groups if group["params"]]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float, *, class_weights: float) -> dict[str, float]:
    """Set every group's rate to its peak times the factor; return part → its largest rate, 0 for a frozen part.

    The text tower is among the parts where it is trained.

    Args:
        optimizer: As `build_optimizer` returns it.
        factor: In [0, 1].
        class_weights: Their peak rate, which the head's own optimizer uses for sampled classes.
    """
    rates = {"backbone": 0.0, "neck": 0.0, "class_weights": class_weights * factor}
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
        rates[group["part"]] = max(rates.get(group["part"], 0.0), group["lr"])
    return rates


def learning_rate_factor(config: ScheduleConfig, step: int, steps: int, steps_per_epoch: int) -> float:
    """Return the factor in [0, 1] for the 0-based step of `steps`: linear warm-up, then the schedule's shape.

    Timm's schedulers do not serve here: their warm-up begins at one absolute rate for all groups, whose rates differ.
    """
    warmup = min(round(config.warmup_epochs * steps_per_epoch), steps - 1)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    match config.shape:
        case "cosine":
            return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            return 1 - (1 - config.final) * progress
        case "steps":
            return config.step_factor ** sum(step >= at * steps for at in config.step_at)
        case "constant":
            return 1.0
