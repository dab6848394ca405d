"""Margins without a published golden, against their papers' formulas written with `math` on a few angles."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.head.functional import margin_logits, margin_loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Context, Margin, Statistics
from eml.margins.adaface import AdaFace
from eml.margins.circle import Circle
from eml.margins.combined import Combined
from eml.margins.elastic_cosface import ElasticCosFace
from eml.margins.li_arcface import LiArcFace
from eml.margins.mv_softmax import MVSoftmax
from eml.margins.proxy_anchor import ProxyAnchor
from eml.margins.soft_triple import SoftTriple
from eml.margins.sphereface2 import SphereFace2
from eml.margins.sphereface_r import SphereFaceR

ANGLES = [0.1, 0.7, 1.2, 1.6, 2.3, 2.9, 3.1]


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def both(margin: Margin, own: float, other: float) -> tuple[float, float]:
    """The target's and one other class's cosine as the margin makes them, at two angles."""
    cosine = double([math.cos(own)])
    context = Context(cosine)
    return margin.target(cosine, context).item(), margin.negatives(double([math.cos(other)]).view(1, 1), context).item()


@pytest.mark.parametrize("own, other", list(itertools.product(ANGLES, ANGLES)))
def test_targets_and_negatives_are_the_papers_formulas(own: float, other: float) -> None:
    c, cj = math.cos(own), math.cos(other)
    hard = cj > math.cos(own + 0.5)
    expected = math.cos(own + 0.5) if own + 0.5 <= math.pi else -math.cos(own + 0.5) - 2
    assert both(MVSoftmax(), own, other) == pytest.approx((expected, 1.2 * cj + 0.2 if hard else cj))
    hard = cj > c - 0.35
    easy = MVSoftmax(kind="additive", m=0.35, past_pi="easy")
    assert both(easy, own, other)[0] == pytest.approx(c - 0.35 if c > 0 else c)
    additive = MVSoftmax(kind="additive", m=0.35)
    assert both(additive, own, other) == pytest.approx((c - 0.35, 1.2 * cj + 0.2 if hard else cj))
    expected = (math.pi - 2 * (own + 0.45)) / math.pi, (math.pi - 2 * other) / math.pi
    assert both(LiArcFace(), own, other) == pytest.approx(expected)
    for gradient in ("exact", "detached"):
        v1 = SphereFaceR(gradient=gradient)
        assert both(v1, own, other) == pytest.approx((math.cos(min(1.5 * own, math.pi)), cj))
        v2 = SphereFaceR(variant="v2", gradient=gradient)
        assert both(v2, own, other) == pytest.approx((c, math.cos(other / 1.5)))
        g, gj = (2 * ((each + 1) / 2) ** 3 - 1 for each in (c, cj))
        assert both(SphereFace2(gradient=gradient), own, other) == pytest.approx((g - 0.4, gj + 0.4))


def test_circles_weights_are_constants_in_the_backward_pass() -> None:
    """The slopes are α_p = [1+m−c]₊ and α_n = [c+m]₊ of Sun 2020."""
    cosine = double([-0.9, -0.1, 0.4, 0.95]).requires_grad_()
    (slope,) = torch.autograd.grad(Circle().target(cosine, Context(cosine)).sum(), cosine)
    assert slope.tolist() == pytest.approx([2.15, 1.35, 0.85, 0.3])
    (slope,) = torch.autograd.grad(Circle().negatives(cosine.unsqueeze(0), Context(cosine[:1])).sum(), cosine)
    assert slope.tolist() == pytest.approx([0, 0.15, 0.65, 1.2])


@pytest.mark.parametrize("m1", [0.8, 1.0, 2.5])
@pytest.mark.parametrize("theta", ANGLES)
def test_combined_takes_its_rule_on_the_whole_angle_and_m3_in_every_branch(m1: float, theta: float) -> None:
    total = m1 * theta + 0.4
    k = math.floor(total / math.pi)
    shift = math.pi - (math.pi - 0.4) / m1
    expected = {
        "none": math.cos(total),
        "smooth": (-1) ** k * math.cos(total) - 2 * k,
        "linear": math.cos(total) if k == 0 else math.cos(theta) - shift * math.sin(shift),
        "easy": math.cos(total) if math.cos(theta) > 0 else math.cos(theta),
    }
    cosine = double([math.cos(theta)])
    for past_pi, value in expected.items():
        margin = Combined.model_validate({"m1": m1, "m2": 0.4, "m3": 0.15, "past_pi": past_pi})
        assert margin.target(cosine, Context(cosine)).item() == pytest.approx(value - 0.15)


def test_soft_triple_pools_its_centres_and_merges_them() -> None:
    """Eq. 5 to 9 by loops over two classes of three centres."""
    torch.manual_seed(0)
    x, weights = torch.randn(2, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    margin = SoftTriple(centers=3)
    labels = torch.tensor([1, 0])
    units = weights / weights.norm(dim=-1, keepdim=True)
    cosine = torch.einsum("bd,ckd->bck", x / x.norm(dim=1, keepdim=True), units).tolist()
    pooled = [
        [sum(c * math.exp(c / 0.1) for c in each) / sum(math.exp(c / 0.1) for c in each) for each in row]
        for row in cosine
    ]
    near = sum(
        math.sqrt(2 + 1e-5 - 2 * float(units[j, k] @ units[j, other]))
        for j in range(2)
        for k, other in itertools.combinations(range(3), 2)
    )
    losses = []
    for row, label in zip(pooled, labels.tolist(), strict=True):
        logits = [20 * (s - 0.01 * (j == label)) for j, s in enumerate(row)]
        losses.append(math.log(sum(map(math.exp, logits))) - logits[label] + 0.2 * near / (2 * 3 * 2))
    assert margin_loss(margin, x, weights, labels).tolist() == pytest.approx(losses)


def test_proxy_anchor_does_not_overflow_where_exp_would() -> None:
    weights = torch.eye(3)
    x, labels = -torch.eye(3), torch.arange(3)
    value = margin_loss(ProxyAnchor(), x, weights, labels, config=HeadConfig(scale=1000.0))
    assert value.tolist() == pytest.approx([1100 + 100 + math.log(2)] * 3)  # ln(1+e^1100) + ln(1+2e^100)


def test_one_sample_does_not_change_adafaces_deviation() -> None:
    margin = AdaFace(alpha=0.5)
    state = {name: value.double() for name, value in margin.initial_state(3, 64.0).items()}
    one = margin.before(Statistics(double([0.1]), double([30.0])), state)
    assert one.keys() == {"mean"}
    assert one["mean"].item() == pytest.approx(25)
    two = margin.before(Statistics(double([0.1, 0.2]), double([30.0, 40.0])), state)
    assert two["std"].item() == pytest.approx(50 + math.sqrt(50) / 2)


def test_elastic_margins_are_drawn_anew_for_every_sample_and_step_and_plus_gives_hard_ones_more() -> None:
    torch.manual_seed(0)
    head = ClassHead(ElasticCosFace(sigma=0.1, plus=True), 2, 3, HeadConfig(scale=1.0))
    x, labels = torch.randn(4000, 3), torch.zeros(4000, dtype=torch.int64)
    first, second = head(x, labels), head(x, labels)
    margins = first.cosine_y - first.target_logit.detach()
    assert margins.mean().item() == pytest.approx(0.35, abs=0.01)
    assert margins.std().item() == pytest.approx(0.1, abs=0.01)
    assert not torch.equal(first.target_logit, second.target_logit)
    order = first.cosine_y.argsort()
    assert (margins[order].diff() <= 1e-6).all()
    assert CrossEntropy()(first).isfinite().all()


def test_sphereface2_bias_balances_positive_and_negative_gradients_at_right_angles() -> None:
    """Brute force over the definition: α·σ(−(a_y+b)) = (1−α)(C−1)·σ(a_j+b) at cos θ = 0."""
    for classes, alpha, scale in ((4, 0.7, 8), (50, 0.7, 40), (2, 0.9, 3), (100_000, 0.5, 40)):
        margin = SphereFace2(alpha=alpha)
        b, middle = margin.initial_bias(classes, scale), 2 * 0.5**3 - 1
        pull = alpha / (1 + math.exp(scale * (middle - 0.4) + b))
        push = (1 - alpha) * (classes - 1) / (1 + math.exp(-(scale * (middle + 0.4) + b)))
        assert pull == pytest.approx(push, rel=1e-9)


def test_circle_is_the_papers_formula() -> None:
    """Sun 2020 with α_p = [1+m−c]₊, α_n = [c+m]₊, Δ_p = 1−m, Δ_n = m, on two cosines by hand."""
    weights = torch.eye(2, dtype=torch.float64)
    x = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    logits = margin_logits(Circle(m=0.25), x, weights, torch.tensor([0]), config=HeadConfig(scale=256))
    assert logits[0].tolist() == pytest.approx([256 * 0.65 * (0.6 - 0.75), 256 * 1.05 * (0.8 - 0.25)])
