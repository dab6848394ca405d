"""Logits, loss and both gradients equal the published implementations' numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.margins.arcface import ArcFace
from eml.margins.cosface import CosFace
from eml.margins.softmax import Softmax
from eml.models.config import HeadConfig
from eml.models.head import ClassHead

GOLDEN = Path(__file__).parent.parent / "golden"
CASES: dict[str, tuple[Margin, float, Loss]] = {
    "arcface_thmm": (ArcFace(m=0.5, past_pi="linear"), 64, CrossEntropy()),
    "arcface_easy": (ArcFace(m=0.5, past_pi="easy"), 30, CrossEntropy()),
    "arcface_detached": (ArcFace(m=0.5, past_pi="none", gradient="detached"), 64, CrossEntropy()),
    "arcface_thmm_ls01": (ArcFace(m=0.5, past_pi="linear"), 64, CrossEntropy(label_smoothing=0.1)),
    "cosface": (CosFace(m=0.35), 64, CrossEntropy()),
    "softmax": (Softmax(), 1, CrossEntropy()),
}


def error(ours: torch.Tensor, golden: np.ndarray) -> float:
    return float(np.abs(ours.detach().numpy() - golden).max() / max(1.0, np.abs(golden).max()))


@pytest.mark.parametrize("name", CASES)
def test_head_equals_the_reference_in_float64(name: str) -> None:
    margin, scale, loss = CASES[name]
    golden = np.load(GOLDEN / f"{name}.npz")
    assert json.loads(str(golden["meta"]))["name"] == name
    head = ClassHead(margin, 50, 32, HeadConfig(scale=scale)).double()
    head.class_weights.data = torch.from_numpy(golden["W"])
    if head.bias is not None:
        head.bias.data = torch.from_numpy(golden["bias"])
    x = torch.from_numpy(golden["x"]).requires_grad_()
    labels = torch.from_numpy(golden["labels"])

    logits = head.logits(x, labels)
    value = loss.per_sample(head(x, labels)).mean()
    value.backward()

    assert error(logits, golden["logits"]) < 1e-10
    assert error(value, golden["loss"]) < 1e-10
    assert error(x.grad, golden["grad_x"]) < 1e-10
    assert error(head.class_weights.grad, golden["grad_W"]) < 1e-10
    if head.bias is not None:
        assert error(head.bias.grad, golden["grad_bias"]) < 1e-10
