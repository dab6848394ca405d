"""Training settings that several protocols share: what the papers that report on them train with."""

from collections.abc import Mapping
from typing import Any

RESNET50 = "resnet50.tv_in1k"  # torchvision's first weights, which the papers start from; timm's resnet50 has others


def proxy_anchor(*, epochs: int, decay_every: int, factor: float, batch_norm: str, batch_size: int) -> dict[str, Any]:
    """Return the settings of proxy anchor with ResNet-50 and 512 dimensions. Kim 2020, arXiv:2003.13911.

    Args:
        epochs: The length.
        decay_every: Epochs after which the rate falls.
        factor: What it is multiplied by then.
        batch_norm: frozen or train.
        batch_size: Images per step.
    """
    at = [round(epoch / epochs, 6) for epoch in range(decay_every, epochs, decay_every)]
    return {
        **image_of(224, fit="crop"),
        "augment": {"type": "standard", "crop": 0.84, "aspect": 1.33, "flip": 0.5, "brightness": 0, "saturation": 0},
        "model": {**resnet50(batch_norm), "pooling": "avgmax"},
        "margin": {"type": "proxy_anchor", "delta": 0.1},
        "head": {"scale": 32},
        "optimizer": {
            "name": "adamw",
            "lr": {"backbone": 1e-4, "neck": 1e-4, "class_weights": 1e-2},
            "weight_decay": 1e-4,
        },
        "schedule": {"shape": "steps", "warmup_epochs": 1, "step_at": at, "step_factor": factor},
        "epochs": epochs,
        "batch_size": batch_size,
    }


def reid(*, size: int | tuple[int, int], epochs: int) -> dict[str, Any]:
    """Return the settings of a re-identification baseline with circle loss. Luo 2019 (arXiv:1903.07071), Sun 2020.

    Args:
        size: Of the images: a side, or (height, width).
        epochs: The length.
    """
    return {
        **image_of(size, fit="squash"),
        "augment": {"type": "standard", "crop": 0, "shift": 0.05, "flip": 0.5, "erase": 0.5, "brightness": 0}
        | {"saturation": 0},
        "sampler": {"type": "per_class", "per_class": 4},
        "model": resnet50("train") | {"neck": {"type": "linear", "size": 512, "batch_norm": True}},
        "margin": {"type": "circle", "m": 0.25},
        "head": {"scale": 128},
        "optimizer": {
            "name": "adamw",
            "lr": {"backbone": 3.5e-4, "neck": 3.5e-4, "class_weights": 3.5e-4},
            "weight_decay": 5e-4,
        },
        "schedule": {"shape": "steps", "warmup_epochs": 10, "step_at": [round(40 / 120, 6), round(70 / 120, 6)]},
        "epochs": epochs,
        "batch_size": 64,
    }


def image_of(size: int | tuple[int, int], *, fit: str) -> dict[str, Any]:
    """Return the section of the image, of a side or (height, width)."""
    return {"image": {"size": size, "fit": fit}}


def resnet50(batch_norm: str) -> dict[str, Any]:
    """Return a network of ResNet-50 with ImageNet's weights and a linear layer to 512 dimensions."""
    neck: Mapping[str, Any] = {"type": "linear", "size": 512, "batch_norm": False}
    return {"backbone": RESNET50, "weights": "pretrained", "batch_norm": batch_norm, "neck": neck}


PROXY_ANCHOR_LINES = (
    "Settings after Kim 2020 (proxy anchor, arXiv:2003.13911) and the authors' released commands: ResNet-50, 512",
    "dimensions, 224 px. Differences: the class rate of 1e-2 falls with the others; no epochs of the head",
    "alone; no cut of single gradients; the middle square is scaled to 224 px, where the",
    "paper cuts the middle 224 of 256.",
)
