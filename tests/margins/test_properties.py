"""Properties over the whole registry: a new margin is tested without an edit here."""

import inspect
import math
from pathlib import Path

import pytest
import torch

import eml.margins
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Context, Margin
from eml.margins.arcface import ArcFace
from eml.models.config import HeadConfig
from eml.models.head import ClassHead

MEMBERS = Margin.members()


def build(name: str, num_classes: int = 7, size: int = 5) -> ClassHead:
    torch.manual_seed(0)
    return ClassHead(MEMBERS[name](), num_classes, size, HeadConfig(scale=8.0))


def loss_of(head: ClassHead, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return CrossEntropy().per_sample(head(x, labels))


def test_every_file_of_the_folder_is_a_member_of_that_name() -> None:
    files = {path.stem for path in Path(eml.margins.__path__[0]).glob("*.py")} - {"__init__", "base"}
    assert set(MEMBERS) == files


@pytest.mark.parametrize("name", MEMBERS)
def test_docstring_cites_its_paper(name: str) -> None:
    text = inspect.getdoc(MEMBERS[name]) or ""
    assert any(f" {year}" in text for year in range(1985, 2030))


@pytest.mark.parametrize("name", MEMBERS)
def test_config_survives_a_round_trip(name: str) -> None:
    margin = MEMBERS[name]()
    assert MEMBERS[name].model_validate(margin.model_dump()) == margin


@pytest.mark.parametrize("name", MEMBERS)
def test_gradients_equal_finite_differences(name: str) -> None:
    head = build(name).double()
    x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])

    def of_both(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        terms = torch.func.functional_call(head, {"class_weights": weights}, (x, labels))
        return CrossEntropy().per_sample(terms)

    assert torch.autograd.gradcheck(of_both, (x, head.class_weights))


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_loss_and_gradient_are_finite_on_aligned_opposed_and_zero_embeddings(name: str, dtype: torch.dtype) -> None:
    head = build(name)
    weights = head.class_weights.detach()
    x = torch.stack([weights[0], -weights[0], torch.zeros(5), weights[1], 1e-20 * weights[0]]).to(dtype)
    x.requires_grad_()
    value = loss_of(head, x, torch.tensor([0, 0, 0, 0, 0]))  # row 3 is aligned with a class that is not its own
    value.mean().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(head.class_weights.grad).all()


@pytest.mark.parametrize("name", MEMBERS)
def test_a_batch_of_one_and_a_permuted_batch_give_the_same_losses(name: str) -> None:
    head = build(name).double().eval()
    x, labels = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0])
    whole, order = loss_of(head, x, labels), torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(loss_of(head, x[order], labels[order]), whole[order])
    assert torch.isfinite(loss_of(head, x[:1], labels[:1])).all()


@pytest.mark.parametrize("past_pi", ["smooth", "linear"])
def test_arcface_never_rises_with_the_angle(past_pi: str) -> None:
    angles = torch.linspace(1e-3, math.pi - 1e-3, 2000, dtype=torch.float64)
    cosine = angles.cos()
    target = ArcFace(m=0.5, past_pi=past_pi).target(cosine, Context(cosine))  # type: ignore[arg-type]
    assert (target.diff() < 0).all()


def test_arcface_without_correction_rises_past_pi_minus_m() -> None:
    cosine = torch.linspace(math.pi - 0.45, math.pi - 0.01, 50, dtype=torch.float64).cos()
    target = ArcFace(m=0.5, past_pi="none").target(cosine, Context(cosine))
    assert (target.diff() > 0).all()
