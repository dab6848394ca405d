import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from eml.errors import ConfigError
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.margins.adacos import AdaCos
from eml.margins.arcface import ArcFace
from eml.margins.cosface import CosFace
from eml.margins.normface import NormFace
from eml.margins.softmax import Softmax
from tests.head.heads import CLASSES, FOUR_COUNTS, LABELS, MODES, batch_of_four, embeddings, head_of, head_of_four


def test_scale_is_the_papers_or_automatic_or_a_number() -> None:
    assert ClassHead(ArcFace(), 5, 4).scale == 64
    assert ClassHead(ArcFace(), 101, 4, HeadConfig(scale="auto")).scale == pytest.approx(math.sqrt(2) * math.log(100))
    assert ClassHead(ArcFace(), 5, 4, HeadConfig(scale=12)).scale == 12
    assert ClassHead(Softmax(), 5, 4, HeadConfig(scale=12)).scale == 1


def test_automatic_scale_of_two_classes_is_an_error() -> None:
    with pytest.raises(ConfigError, match="0 for 2 classes"):
        ClassHead(ArcFace(), 2, 4, HeadConfig(scale="auto"))


def test_shapes_and_labels_that_do_not_fit_are_named() -> None:
    head = ClassHead(ArcFace(), 5, 4)
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"embeddings must be \(B, 4\), got \(3, 5\)"):
        head(torch.randn(3, 5), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"labels must be \(3,\) int64"):
        head(x, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"labels must be in \[0, 5\), got 0 to 5"):
        head(x, torch.tensor([0, 5, 2]))
    with pytest.raises(ValueError, match=r"embeddings must be floating point, got torch\.int64"):
        head(x.long(), torch.arange(3))
    with pytest.raises(ValueError, match="labels must be a tensor, got list"):
        head(x, [0, 1, 2])
    with pytest.raises(ValueError, match="the batch is empty: the loss needs at least 1 sample"):
        head(x[:0], torch.arange(0))
    for share in (1.5, float("nan"), torch.tensor([0.5, -0.1, 1])):
        with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got"):
            head.mixed(x, torch.arange(3), torch.arange(3), share)
    with pytest.raises(ValueError, match=r"share must be one number or \(3,\), got \(2,\)"):
        head.mixed(x, torch.arange(3), torch.arange(3), torch.rand(2))


@pytest.mark.parametrize(
    "weights, centers, message",
    [
        (torch.ones(4), 1, r"must be \(5, 4\) \(5 classes, 1 centre, embedding size 4\), got \(4,\)"),
        (torch.ones(6, 4), 1, r"must be \(5, 4\) .* got \(6, 4\)"),
        (torch.ones(5, 3), 1, r"must be \(5, 4\) .* got \(5, 3\)"),
        (torch.ones(5, 4), 3, r"must be \(5, 3, 4\) \(5 classes, 3 centres, embedding size 4\), got \(5, 4\)"),
        (torch.ones(5, 2, 4), 3, r"must be \(5, 3, 4\) .* got \(5, 2, 4\)"),
        (torch.ones(5, 4, dtype=torch.int64), 1, "must be a floating-point tensor, got torch.int64"),
    ],
)
def test_class_weights_that_do_not_fit_the_settings_are_refused(weights: Tensor, centers: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"class_weights {message}"):
        ClassHead(ArcFace(), 5, 4, HeadConfig(centers=centers), class_weights=weights)


def test_correct_counts_samples_whose_class_is_nearest_before_the_margin() -> None:
    head = ClassHead(ArcFace(), 4, 4)
    head.class_weights.data = torch.eye(4)
    terms = head(torch.eye(4)[:3] + 0.4 * torch.eye(4)[[1, 2, 3]], torch.tensor([0, 1, 3]))
    assert terms.correct.tolist() == [True, True, False]


@pytest.mark.parametrize("mode", [{"type": "dense"}, {"type": "tiled", "tile": 64}])
@pytest.mark.parametrize("product", ["full", "bfloat16"])
@pytest.mark.parametrize("size", [16, 384])
def test_a_class_that_ties_with_another_is_never_correct_whatever_the_rounding(
    mode: dict[str, object], product: str, size: int
) -> None:
    """Every class has a twin: the row-wise product of the target and the matrix product round differently."""
    torch.manual_seed(0)
    config = HeadConfig.model_validate({"mode": mode, "product": product})
    rows = torch.randn(100, size).repeat(2, 1)
    head = ClassHead(ArcFace(), 200, size, config, class_weights=rows.requires_grad_())
    assert not head(rows[:100].detach() + torch.randn(100, size) / 4, torch.arange(100)).correct.any()


@pytest.mark.parametrize("length", [1e-8, 1.0, 1e19, 1e25, 3e37])
def test_embeddings_of_any_length_give_one_loss_and_a_gradient_over_their_length(length: float) -> None:
    """Squares of numbers above 1.8e19 overflow float32; the gradient of a unit vector is that of 1 over the length."""
    torch.manual_seed(0)
    head, x, labels = ClassHead(ArcFace(), 50, 16), torch.randn(8, 16), torch.arange(8)
    results = []
    for factor in (1.0, length):
        scaled = (x * factor).requires_grad_()
        loss = CrossEntropy()(head(scaled, labels)).sum()
        loss.backward()
        results.append((loss.detach(), scaled.grad.double() * factor, scaled.detach()))
    torch.testing.assert_close(results[1][0], results[0][0])
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        head.normalise(results[1][2])[1], torch.linalg.vector_norm(results[1][2].double(), dim=1).float()
    )


def test_class_weights_too_long_for_their_squares_give_nan_and_not_a_gradient_of_zero() -> None:
    for mode in ({"type": "dense"}, {"type": "tiled", "tile": 2}):
        head = ClassHead(ArcFace(), 5, 4, HeadConfig.model_validate({"mode": mode}))
        with torch.no_grad():
            head.class_weights.mul_(1e25)
        assert CrossEntropy()(head(torch.randn(3, 4), torch.arange(3))).isnan().all()


def test_autocast_does_not_lower_the_heads_precision() -> None:
    torch.manual_seed(0)
    head, x, labels = ClassHead(ArcFace(), 50, 16), torch.randn(8, 16), torch.arange(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = head(x, labels)
    assert terms.log_sum_exp.dtype == torch.float32
    torch.testing.assert_close(terms.log_sum_exp, head(x, labels).log_sum_exp)


def test_classes_and_counts_that_do_not_fit_are_refused() -> None:
    x = embeddings(torch.float64, 0)
    with pytest.raises(ValueError, match="must contain all labels"):
        head_of(ArcFace(), {}, {"type": "sampled"}, torch.float64)(x, LABELS, classes=torch.tensor([0, 1]))
    for classes, message in (
        (torch.arange(CLASSES).flip(0), "sorted and without repeats"),
        (torch.tensor([0, 0, 3, 7, 10]), "sorted and without repeats"),
        (torch.tensor([0, 3, 7, 10, 11]), r"in \[0, 11\), got 0 to 11"),
        (torch.tensor([-1, 0, 3, 7, 10]), r"in \[0, 11\), got -1 to 10"),
        (torch.arange(CLASSES).double(), r"\(n,\) int64, got \(11,\) torch.float64"),
        ([0, 3, 7, 10], r"\(n,\) int64, got list"),
    ):
        with pytest.raises(ValueError, match=f"classes must be {message}"):
            head_of(ArcFace(), {}, {"type": "sampled"}, torch.float64)(x, LABELS, classes=classes)
    with pytest.raises(ValueError, match="only be given in mode sampled"):
        head_of(ArcFace(), {}, MODES[0], torch.float64)(x, LABELS, classes=torch.arange(CLASSES))
    with pytest.raises(ValueError, match=r"process 0 has 6 embeddings, counts says \[5\]"):
        head_of(ArcFace(), {}, MODES[0], torch.float64)(x, LABELS, counts=[5])


def test_mixup_updates_adacos_once_and_leaves_both_labels_out_of_its_negatives() -> None:
    head = head_of_four(AdaCos(), scale=2)
    x, labels = batch_of_four()
    other = labels.roll(1)
    cosine = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(head.class_weights).T
    keep = torch.ones(4, 4, dtype=torch.bool).scatter(1, torch.stack([labels, other], 1), False)
    mean = torch.stack([(2 * cosine[i][keep[i]]).exp().sum() for i in range(4)]).mean()
    target = 0.3 * cosine[range(4), labels] + 0.7 * cosine[range(4), other]
    expected = mean.log() / target.acos().median().clamp_max(math.pi / 4).cos()
    head.mixed(x, labels, other, 0.3)
    assert head.scale == pytest.approx(max(1, expected.item()))


def test_loss_weights_fall_with_the_count_and_are_one_over_the_images() -> None:
    head = head_of_four(CosFace(), FOUR_COUNTS, loss_weight_power=0.5)
    assert head.loss_weights is not None
    weights = head.loss_weights.tolist()
    assert weights[0] / weights[1] == pytest.approx(4)
    assert sum(w * n for w, n in zip(weights, FOUR_COUNTS, strict=True)) == pytest.approx(sum(FOUR_COUNTS))
    x, labels = batch_of_four()
    terms = head(x, labels)
    torch.testing.assert_close(CrossEntropy()(terms), head.loss_weights * CrossEntropy().per_sample(terms))


def test_a_learned_scale_starts_at_the_papers_and_gets_a_gradient() -> None:
    head = head_of_four(NormFace(), scale="learned")
    assert head.scale == pytest.approx(64)
    CrossEntropy()(head(*batch_of_four())).mean().backward()
    assert head.log_scale is not None
    assert head.log_scale.grad is not None
    assert head.log_scale.grad.item() != 0


STATES = Path(__file__).parent.parent / "fixtures" / "v0_1_0" / "head_states.safetensors"
SAVED_CONFIGS: dict[str, dict[str, object]] = {
    "": {},
    "class_margins": {"class_margins": {"type": "power"}},
    "learned_scale": {"scale": "learned"},
    "sampled": {"mode": {"type": "sampled"}},
    "vpl_and_centers": {"prototypes": "vpl", "centers": 2},
}


SAVED_LOSSES = {
    "adacos": 1.9714,
    "adaface": 64.0538,
    "arcface": 43.0484,
    "arcface+class_margins": 75.447,
    "arcface+learned_scale": 58.6839,
    "arcface+sampled": 51.2063,
    "arcface+vpl_and_centers": 59.5322,
    "circle": 429.502,
    "combined": 25.5316,
    "cosface": 59.9221,
    "curricularface": 48.1188,
    "elastic_arcface": 47.3287,
    "elastic_cosface": 84.5311,
    "li_arcface": 58.5872,
    "magface": 55.1095,
    "mv_softmax": 61.3574,
    "normface": 44.2589,
    "proxy_anchor": 31.5005,
    "soft_triple": 1.97572,
    "softmax": 1.37327,
    "sphereface": 1.92638,
    "sphereface2": 24.5654,
    "sphereface_r": 46.4882,
    "subcenter_arcface": 73.365,
    "uniface": 108.442,
    "vpl": 45.9523,
}
"""Mean loss that 0.1.0 computes with each saved state, in eval mode."""


def saved_states() -> dict[str, dict[str, Tensor]]:
    """Return the tensors by margin and setting, and by key of `state_dict`."""
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(STATES).items():
        setting, key = name.split("/")
        states.setdefault(setting, {})[key] = tensor
    return states


def test_saved_states_of_version_0_1_0_cover_every_margin() -> None:
    settings = saved_states().keys()
    assert {setting.split("+")[0] for setting in settings} == Margin.members().keys()
    assert settings == SAVED_LOSSES.keys()


@pytest.mark.parametrize("setting", SAVED_LOSSES)
def test_a_saved_state_of_version_0_1_0_loads_and_gives_its_loss(setting: str) -> None:
    name, _, config = setting.partition("+")
    margin = Margin.members()[name].model_validate({"type": name})
    head = ClassHead(margin, 5, 4, HeadConfig.model_validate(SAVED_CONFIGS[config]), counts=[1, 2, 3, 4, 5])
    head.load_state_dict(saved_states()[setting])
    x = torch.linspace(-2, 2, 20).reshape(5, 4).cos()
    loss = CrossEntropy()(head.eval()(x, torch.arange(5))).mean().item()
    assert loss == pytest.approx(SAVED_LOSSES[setting], rel=1e-5)
