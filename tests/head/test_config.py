"""What goes around any margin: class margins, schedules, weights, scale, centres, warnings, and what does not fit."""

import math

import pytest
import torch

from eml.errors import ConfigError
from eml.head.class_head import ClassHead
from eml.head.class_margins import MinMax, Power
from eml.head.compatibility import check_loss, smoothing_warning
from eml.head.config import HeadConfig, MarginSchedule
from eml.head.functional import margin_logits, margin_loss
from eml.losses.cross_entropy import CrossEntropy
from eml.losses.focal import Focal
from eml.margins import Margin
from eml.margins.adacos import AdaCos
from eml.margins.arcface import ArcFace
from eml.margins.circle import Circle
from eml.margins.combined import Combined
from eml.margins.cosface import CosFace
from eml.margins.normface import NormFace
from eml.margins.proxy_anchor import ProxyAnchor
from eml.margins.softmax import Softmax
from eml.margins.sphereface import SphereFace
from eml.margins.sphereface2 import SphereFace2
from eml.margins.subcenter_arcface import SubcenterArcFace
from eml.margins.uniface import UniFace
from eml.margins.vpl import VPL

COUNTS = [1, 16, 81, 81]


def head_of(margin: Margin, counts: list[int] | None = None, **config: object) -> ClassHead:
    torch.manual_seed(0)
    return ClassHead(margin, 4, 3, HeadConfig.model_validate({"scale": 8} | config), counts=counts, dtype=torch.float64)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.arange(4)


def test_class_margins_fall_with_the_count() -> None:
    assert Power().margins(COUNTS) == pytest.approx(
        [0.55, 0.3, 0.5 / 3 + 0.05, 0.5 / 3 + 0.05]
    )  # n^(−1/4): 1, 1/2, 1/3
    assert MinMax().margins(COUNTS) == pytest.approx([0.5, 0.05 + 0.45 * (1 / 2 - 1 / 3) / (2 / 3), 0.05, 0.05])
    assert MinMax().margins([7, 7]) == [0.5, 0.5]


def test_class_margins_take_the_place_of_m_row_by_row() -> None:
    x, labels = batch()
    head = head_of(CosFace(m=0.35), COUNTS, class_margins=Power())
    plain = head_of(NormFace())
    lowered = (plain.logits(x, labels) - head.logits(x, labels)).diagonal() / 8
    assert lowered.tolist() == pytest.approx(Power().margins(COUNTS))


@pytest.mark.parametrize(
    "shape, middle", [("linear", 0.55), ("cosine", 0.55), ("log", math.sqrt(0.1))], ids=["linear", "cosine", "log"]
)
def test_a_schedule_goes_from_its_start_to_the_whole_margin(shape: str, middle: float) -> None:
    schedule = MarginSchedule.model_validate({"shape": shape, "start": 0.1, "until": 0.5})
    assert schedule.factor(0) == pytest.approx(0.1)
    assert schedule.factor(0.25) == pytest.approx(middle)
    assert schedule.factor(0.5) == schedule.factor(1) == pytest.approx(1)


def test_a_schedule_scales_one_margin_and_class_margins_alike() -> None:
    x, labels = batch()
    for counts, whole in ((None, [0.35] * 4), (COUNTS, Power().margins(COUNTS))):
        margins = {"class_margins": Power()} if counts else {}
        head = head_of(CosFace(), counts, margin_schedule=MarginSchedule(start=0.2), **margins)
        head.progress = 0.5
        lowered = (head_of(NormFace()).logits(x, labels) - head.logits(x, labels)).diagonal() / 8
        assert lowered.tolist() == pytest.approx([0.6 * m for m in whole])


@pytest.mark.parametrize(
    "margin, config, counts, message",
    [
        (Combined(), {"class_margins": Power()}, COUNTS, "needs a margin with a field m, and combined has none"),
        (NormFace(), {"margin_schedule": MarginSchedule()}, None, "needs a margin with a field m, and normface has"),
        (ArcFace(), {"class_margins": Power()}, None, "needs the number of images of each class"),
        (ArcFace(), {"class_margins": Power()}, [3, 0, 1, 1], "class 1 has no image"),
        (ArcFace(), {"class_margins": Power(a=4)}, COUNTS, "makes margin.m 4.05, which arcface does not take"),
        (SphereFace(), {"class_margins": Power()}, COUNTS, "makes margin.m 0.2167, which sphereface does not take"),
        (SphereFace(), {"margin_schedule": MarginSchedule(start=0.2)}, None, "makes margin.m 0.8, which sphereface"),
        (AdaCos(), {"scale": "learned"}, None, "cannot be learned, adacos has its own"),
        (SubcenterArcFace(), {"centers": 2}, None, "subcenter_arcface has centres of its own"),
        (VPL(), {"prototypes": "vpl"}, None, "vpl has prototypes of its own"),
        (Softmax(), {"prototypes": "vpl"}, None, "needs normalised class weights"),
        (ProxyAnchor(), {"loss_weight_power": 0.5}, COUNTS, "proxy_anchor has no loss per sample"),
    ],
)
def test_what_does_not_fit_is_an_error(
    margin: Margin, config: dict[str, object], counts: list[int] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        head_of(margin, counts, **config)


@pytest.mark.parametrize("margin", [SphereFace2(), UniFace(), ProxyAnchor()])
def test_a_margin_that_is_a_loss_of_its_own_takes_neither_smoothing_nor_focal_nor_mixup(margin: Margin) -> None:
    check_loss(margin, CrossEntropy())
    for loss in (CrossEntropy(label_smoothing=0.1), Focal()):
        with pytest.raises(ConfigError, match=f"margin {margin.type} has its own loss"):
            check_loss(margin, loss)
    x, labels = batch()
    with pytest.raises(ConfigError, match="mixup does not go with"):
        head_of(margin).mixed(x, labels, labels, 0.5)


def test_mixup_of_stateful_margins_updates_once_and_leaves_both_labels_out_of_adacos_others() -> None:
    head = head_of(AdaCos(), scale=2)
    x, labels = batch()
    other = labels.roll(1)
    cosine = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(head.class_weights).T
    keep = torch.ones(4, 4, dtype=torch.bool).scatter(1, torch.stack([labels, other], 1), False)
    mean = torch.stack([(2 * cosine[i][keep[i]]).exp().sum() for i in range(4)]).mean()
    target = 0.3 * cosine[range(4), labels] + 0.7 * cosine[range(4), other]
    expected = mean.log() / target.acos().median().clamp_max(math.pi / 4).cos()
    head.mixed(x, labels, other, 0.3)
    assert head.scale == pytest.approx(max(1, expected.item()))


def test_loss_weights_fall_with_the_count_and_are_one_over_the_images() -> None:
    head = head_of(CosFace(), COUNTS, loss_weight_power=0.5)
    assert head.loss_weights is not None
    weights = head.loss_weights.tolist()
    assert weights[0] / weights[1] == pytest.approx(4)
    assert sum(w * n for w, n in zip(weights, COUNTS, strict=True)) == pytest.approx(sum(COUNTS))
    x, labels = batch()
    terms = head(x, labels)
    torch.testing.assert_close(CrossEntropy()(terms), head.loss_weights * CrossEntropy().per_sample(terms))


def test_a_learned_scale_begins_at_the_papers_and_gets_a_gradient() -> None:
    head = head_of(NormFace(), scale="learned")
    assert head.scale == pytest.approx(64)
    CrossEntropy()(head(*batch())).mean().backward()
    assert head.log_scale is not None
    assert head.log_scale.grad is not None
    assert head.log_scale.grad.item() != 0


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


def test_smoothing_that_opposes_the_margin_is_warned_of() -> None:
    head = ClassHead(ArcFace(), 10_000, 2)
    text = smoothing_warning(head, CrossEntropy(label_smoothing=0.1))
    assert text is not None
    assert "10,000 classes at scale 64" in text
    assert "0.18 above the others" in text  # ln((0.9 + 1e-5)·1e5)/64
    assert "opposes the margin of 0.48" in text  # sin 0.5
    assert smoothing_warning(head, CrossEntropy()) is None
    gentle = ClassHead(ArcFace(m=0.1), 100, 2, HeadConfig(scale=16))
    assert smoothing_warning(gentle, CrossEntropy(label_smoothing=0.1)) is None


def test_focal_loss_weighs_by_the_missing_probability() -> None:
    terms = head_of(CosFace())(*batch())
    p = (terms.target_logit - terms.log_sum_exp).exp()
    torch.testing.assert_close(Focal(gamma=2)(terms), (1 - p) ** 2 * -p.log())
    torch.testing.assert_close(Focal(gamma=0)(terms), CrossEntropy()(terms))


def test_the_functions_equal_the_module_and_let_gradients_through() -> None:
    x, labels = batch()
    for name, member in Margin.members().items():
        head = head_of(member.model_validate({"type": name})).eval()
        weights = head.class_weights.detach().clone().requires_grad_()
        config = HeadConfig(scale=8)
        logits = margin_logits(head.margin, x, weights, labels, config=config)
        torch.testing.assert_close(logits, head.logits(x, labels))
        losses = margin_loss(head.margin, x, weights, labels, config=config)
        torch.testing.assert_close(losses, CrossEntropy()(head(x, labels)))
        losses.sum().backward()
        assert weights.grad is not None
        assert weights.grad.any(), name
