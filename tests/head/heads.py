"""Small class heads of every margin and setting, and a batch for them."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.head.class_margins import Power
from eml.head.config import HeadConfig
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.losses.focal import Focal
from eml.margins import Margin
from eml.margins.arcface import ArcFace
from eml.margins.normface import NormFace
from eml.margins.sphereface_r import SphereFaceR

CLASSES, SIZE, BATCH = 11, 4, 6
COUNTS = list(range(1, CLASSES + 1))
LABELS = torch.tensor([3, 0, 3, 10, 7, 0])  # repeated, the first and the last class among them
LABELS_B = torch.tensor([3, 1, 0, 2, 7, 10])  # two of them the sample's own again
MODES: list[dict[str, object]] = [
    {"type": "dense"},
    {"type": "tiled", "tile": 1, "memory": 0},
    {"type": "tiled", "tile": 4, "memory": 0},  # 11 is no multiple
    {"type": "tiled", "tile": 4, "memory": 4 * 6 * 8 / 2**20},  # the first tile is kept, the others made again
    {"type": "tiled", "tile": 5},
    {"type": "tiled", "tile": 64},
    {"type": "sampled", "fraction": 1.0},
]


def settings() -> Iterator[tuple[str, Margin, dict[str, object], Loss]]:
    for name, member in Margin.members().items():
        margin = member.model_validate({"type": name})
        yield name, margin, {}, CrossEntropy()
        if margin.reduction == "softmax":
            yield f"{name}-smoothed", margin, {}, CrossEntropy(label_smoothing=0.1)
        if "m" in member.model_fields and not name.startswith("sphereface"):
            yield f"{name}-by-class", margin, {"class_margins": Power()}, CrossEntropy()
        if "centers" not in member.model_fields:
            yield f"{name}-3-centers", margin, {"centers": 3}, CrossEntropy()
    yield "sphereface_r-v2", SphereFaceR(variant="v2"), {}, CrossEntropy()
    yield "arcface-focal", ArcFace(), {}, Focal()
    yield "normface-learned", NormFace(), {"scale": "learned"}, CrossEntropy()
    yield "arcface-vpl", ArcFace(), {"prototypes": {"start": 0}}, CrossEntropy()


SETTINGS = {name: rest for name, *rest in settings()}
VARIED = ("arcface", "curricularface", "magface", "sphereface_r", "vpl", "normface")
"""Margins whose variants every run of the tests goes through; those of the others are wide."""
NAMES = [
    pytest.param(name, marks=pytest.mark.slow if name.startswith(VARIED) else pytest.mark.wide) if "-" in name else name
    for name in SETTINGS
]


def head_of(margin: Margin, config: dict[str, object], mode: dict[str, object], dtype: torch.dtype) -> ClassHead:
    torch.manual_seed(0)
    made = HeadConfig.model_validate({"scale": 8.0} | config | {"mode": mode})
    return ClassHead(margin, CLASSES, SIZE, made, counts=COUNTS, dtype=dtype)


def embeddings(dtype: torch.dtype, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return (torch.randn(BATCH, SIZE, dtype=torch.float64, generator=random) * 5).to(dtype).requires_grad_()


FOUR_COUNTS = [1, 16, 81, 81]


def head_of_four(margin: Margin, counts: list[int] | None = None, **config: object) -> ClassHead:
    torch.manual_seed(0)
    return ClassHead(margin, 4, 3, HeadConfig.model_validate({"scale": 8} | config), counts=counts, dtype=torch.float64)


def batch_of_four() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.arange(4)
