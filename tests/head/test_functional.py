import math
from pathlib import Path

import pytest
import torch

from eml.config import load_plugins
from eml.errors import ConfigError
from eml.head.config import HeadConfig
from eml.head.functional import margin_logits, margin_loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.margins.arcface import ArcFace
from eml.margins.li_arcface import LiArcFace
from eml.margins.soft_triple import SoftTriple
from tests.head.heads import batch_of_four, head_of_four


def test_the_functions_equal_the_module_and_let_gradients_through() -> None:
    x, labels = batch_of_four()
    for name, member in Margin.members().items():
        head = head_of_four(member.model_validate({"type": name})).eval()
        weights = head.class_weights.detach().clone().requires_grad_()
        config = HeadConfig(scale=8)
        logits = margin_logits(head.margin, x, weights, labels, config=config)
        torch.testing.assert_close(logits, head.logits(x, labels))
        losses = margin_loss(head.margin, x, weights, labels, config=config)
        torch.testing.assert_close(losses, CrossEntropy()(head(x, labels)))
        losses.sum().backward()
        assert weights.grad is not None
        assert weights.grad.any(), name


def test_functions_read_the_centres_from_the_shape_of_the_weights() -> None:
    torch.manual_seed(0)
    x, weights, labels = torch.randn(3, 4), torch.randn(5, 2, 4), torch.tensor([0, 4, 2])
    logits = margin_logits(LiArcFace(m=0), x, weights, labels)
    units = weights / weights.norm(dim=-1, keepdim=True)
    cosine = torch.einsum("bd,ckd->bck", x / x.norm(dim=1, keepdim=True), units).amax(-1)
    torch.testing.assert_close(logits, 64 * (1 - 2 * cosine.acos() / math.pi))


def test_functions_take_one_centre_from_plain_weights_and_refuse_a_number_that_was_set_and_differs() -> None:
    torch.manual_seed(0)
    x, weights, labels = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([0, 4, 2])
    units = [torch.nn.functional.normalize(rows) for rows in (x, weights)]
    target = 20 * torch.nn.functional.one_hot(labels, 5) * 0.01
    torch.testing.assert_close(margin_logits(SoftTriple(), x, weights, labels), 20 * units[0] @ units[1].T - target)
    for margin, config in ((SoftTriple(centers=3), None), (ArcFace(), HeadConfig(centers=3))):
        with pytest.raises(ValueError, match=r"class_weights must be \(5, 3, 4\) .* got \(5, 4\)"):
            margin_loss(margin, x, weights, labels, config=config)
    with pytest.raises(ValueError, match=r"class_weights must be a tensor \(C, D\) or \(C, K, D\), got \(4,\)"):
        margin_loss(ArcFace(), x, weights[0], labels)


SHORT = """
from typing import ClassVar, Literal
from eml.margins import Margin

class Short(Margin):
    type: Literal["short"] = "short"
    formula: ClassVar[str] = "c"
    paper: ClassVar[str] = "own"
    paper_scale: ClassVar[float] = 8.0

    def target(self, cosine, context):
        return cosine

    def {method}(self, cosine, context):
        return cosine[:1]
"""


@pytest.mark.usefixtures("plugins_forgotten")
@pytest.mark.parametrize(
    ("method", "shape"), [("target", r"\(4,\), got \(1,\)"), ("negatives", r"\(4, 5\), got \(1, 5\)")]
)
def test_a_shape_that_would_broadcast_is_refused(method: str, shape: str, tmp_path: Path) -> None:
    (file := tmp_path / "short.py").write_text(SHORT.format(method=method))
    load_plugins(file)
    text = rf"{file}: margin short: Short\.{method} must return the shape of the cosines, {shape}"
    with pytest.raises(ConfigError, match=text):
        margin_loss(Margin.members()["short"](), torch.randn(4, 3), torch.randn(5, 3), torch.tensor([0, 4, 2, 2]))
