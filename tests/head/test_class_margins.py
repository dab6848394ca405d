"""Margins by class."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from eml.head.class_head import ClassHead
from eml.head.class_margins import MinMax, Power
from eml.head.config import HeadConfig
from eml.losses.cross_entropy import CrossEntropy
from eml.margins.cosface import CosFace
from eml.margins.normface import NormFace
from eml.margins.subcenter_arcface import SubcenterArcFace
from tests.head.heads import FOUR_COUNTS, batch_of_four, head_of_four


def test_class_margins_fall_with_the_count() -> None:
    assert Power().margins(FOUR_COUNTS) == pytest.approx(
        [0.55, 0.3, 0.5 / 3 + 0.05, 0.5 / 3 + 0.05]
    )  # n^(−1/4): 1, 1/2, 1/3
    assert MinMax().margins(FOUR_COUNTS) == pytest.approx([0.5, 0.05 + 0.45 * (1 / 2 - 1 / 3) / (2 / 3), 0.05, 0.05])
    assert MinMax().margins([7, 7]) == [0.5, 0.5]


def test_class_margins_replace_m_row_by_row() -> None:
    x, labels = batch_of_four()
    head = head_of_four(CosFace(m=0.35), FOUR_COUNTS, class_margins=Power())
    plain = head_of_four(NormFace())
    lowered = (plain.logits(x, labels) - head.logits(x, labels)).diagonal() / 8
    assert lowered.tolist() == pytest.approx(Power().margins(FOUR_COUNTS))


def test_sub_centres_with_a_margin_by_class_are_the_papers_loss_and_gradient() -> None:
    """Ha 2020, arXiv:2010.05350, in plain NumPy: c_j = max_k x̂·ŵ_jk, cos(θ_y + a·n_y^(−λ) + b), and th/mm past π."""
    random = np.random.default_rng(5)
    counts, labels, scale = [1, 7, 40, 300], np.array([0, 3, 1, 1, 2]), 8.0
    x, weights = random.normal(size=(5, 6)), random.normal(size=(4, 3, 6))
    x[1] = -weights[3].mean(0)  # θ > π − m

    def loss(weights: NDArray[np.float64]) -> float:
        unit = weights / np.linalg.norm(weights, axis=-1, keepdims=True)
        cosines = np.einsum("bd,ckd->bck", x / np.linalg.norm(x, axis=1, keepdims=True), unit).max(-1)
        m = 0.5 * np.array(counts)[labels] ** -0.25 + 0.05
        target = cosines[np.arange(5), labels]
        shifted = np.where(target > -np.cos(m), np.cos(np.arccos(target) + m), target - m * np.sin(m))
        logits = scale * cosines
        logits[np.arange(5), labels] = scale * shifted
        return float((np.log(np.exp(logits).sum(1)) - logits[np.arange(5), labels]).mean())

    steps = 1e-6 * np.eye(weights.size).reshape(-1, *weights.shape)
    gradient = [(loss(weights + step) - loss(weights - step)) / 2e-6 for step in steps]
    for mode in ({"type": "dense"}, {"type": "tiled", "tile": 3, "memory": 0}):
        config = HeadConfig.model_validate({"scale": scale, "class_margins": "power", "mode": mode})
        own = torch.nn.Parameter(torch.from_numpy(weights))
        margin = SubcenterArcFace(past_pi="linear")
        head = ClassHead(margin, 4, 6, config, counts=counts, class_weights=own, dtype=torch.float64)
        value = CrossEntropy()(head(torch.from_numpy(x), torch.from_numpy(labels))).mean()
        value.backward()  # type: ignore[no-untyped-call]
        assert value.item() == pytest.approx(loss(weights), abs=1e-12)
        assert own.grad is not None
        np.testing.assert_allclose(own.grad.numpy().ravel(), gradient, atol=1e-8)
