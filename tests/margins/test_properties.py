"""Properties over the whole registry: a new margin is tested without an edit here."""

import inspect
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

import eml.margins
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.head.text_weights import TextWeights
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Context, Margin, Prototypes
from eml.margins.normface import NormFace
from tests.head.text_towers import tower

MEMBERS = Margin.members()
CLASSES, SIZE = 5, 4


def variants() -> Iterator[tuple[str, Margin]]:
    """Each member with its defaults, and with each other value of each of its choices and switches."""
    for name, member in MEMBERS.items():
        yield name, member()
        for key, field in member.model_fields.items():
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            for value in [True, False] if field.annotation is bool else choices:
                if value != field.default:
                    yield f"{name}-{key}-{value}", member.model_validate({key: value})


VARIANTS = dict(variants())
NAMES = [name if name in MEMBERS else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
DETACHED = [name for name, margin in VARIANTS.items() if getattr(margin, "gradient", "") == "detached"]


def build(margin: Margin, seed: int = 0, **config: object) -> ClassHead:
    torch.manual_seed(seed)
    return ClassHead(margin, CLASSES, SIZE, HeadConfig.model_validate({"scale": 8.0} | config), dtype=torch.float64)


def batch(count: int = 6, seed: int = 1) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, SIZE, dtype=torch.float64, generator=random) * 8
    return x, torch.arange(count) % (CLASSES - 1)


def moved(head: ClassHead) -> ClassHead:
    """The head in eval mode, with a state that three steps of training have moved."""
    head.train()
    for seed in range(3):
        head(*batch(seed=10 + seed))
    return head.eval()


@contextmanager
def same_detached(recorded: list[Tensor]) -> Iterator[None]:
    """While open, the n-th `detach` gives what the n-th one gave the first time: detached factors are constants."""
    plain, taken = Tensor.detach, iter(list(recorded))
    first = not recorded

    def detach(self: Tensor) -> Tensor:
        if first:
            recorded.append(plain(self).clone())
            return recorded[-1]
        return next(taken)

    Tensor.detach = detach  # type: ignore[method-assign]
    try:
        yield
    finally:
        Tensor.detach = plain  # type: ignore[method-assign]


def test_every_file_of_the_folder_is_a_member_of_that_name() -> None:
    files = {path.stem for path in Path(eml.margins.__path__[0]).glob("*.py")} - {"__init__", "base"}
    assert set(MEMBERS) == files


@pytest.mark.parametrize("name", MEMBERS)
def test_docstring_cites_its_paper_by_arxiv_id_or_venue(name: str) -> None:
    text, paper = inspect.getdoc(MEMBERS[name]) or "", MEMBERS[name].paper
    assert re.fullmatch(r"[A-Z]\w+ \d{4}(, (arXiv:\d{4}\.\d{5}|[A-Z]{4}))?", paper)
    assert all(part in " ".join(text.split()) for part in paper.split(", "))
    assert MEMBERS[name].formula


@pytest.mark.parametrize("name", MEMBERS)
def test_every_field_but_the_type_is_described(name: str) -> None:
    for key, field in MEMBERS[name].model_fields.items():
        assert key in ("type", "memory") or field.description, key


@pytest.mark.parametrize("name", VARIANTS)
def test_config_survives_a_round_trip(name: str) -> None:
    margin = VARIANTS[name]
    assert type(margin).model_validate(margin.model_dump()) == margin


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_finite_differences_with_state_draws_and_detached_factors_frozen(name: str) -> None:
    """Along random directions, in which any wrong number shows."""
    check_gradients(name, in_random_directions=True)


@pytest.mark.wide
@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_equal_finite_differences_in_every_direction(name: str) -> None:
    check_gradients(name)


def check_gradients(name: str, *, in_random_directions: bool = False) -> None:
    head = moved(build(VARIANTS[name]))
    x, labels = batch(5)
    draws, recorded = torch.randn(5, dtype=torch.float64), list[Tensor]()
    numbers = {key: value for key, value in head.named_parameters() if key != "class_weights"}

    def losses_of(x: Tensor, weights: Tensor, *others: Tensor) -> Tensor:
        given = {"class_weights": weights} | dict(zip(numbers, others, strict=True))
        with same_detached(recorded):
            return CrossEntropy()(torch.func.functional_call(head, given, (x, labels), {"draws": draws}))

    x.requires_grad_()
    torch.manual_seed(2)  # of the directions
    inputs = (x, head.class_weights, *numbers.values())
    assert torch.autograd.gradcheck(losses_of, inputs, fast_mode=in_random_directions)


@pytest.mark.parametrize("name", DETACHED)
def test_detached_gradients_have_the_exact_ones_values_and_slope_one(name: str) -> None:
    detached = VARIANTS[name]
    exact = detached.model_copy(update={"gradient": "exact"})
    cosine = torch.linspace(-0.99, 0.99, 57, dtype=torch.float64, requires_grad=True)
    state = detached.initial_state(CLASSES, 8.0)
    context = Context(cosine, norms=torch.ones_like(cosine), state=state)
    torch.testing.assert_close(detached.target(cosine, context), exact.target(cosine, context))
    (slope,) = torch.autograd.grad(detached.target(cosine, context).sum(), cosine)
    torch.testing.assert_close(slope, torch.ones_like(slope))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
def test_loss_gradient_and_state_are_finite_on_aligned_opposed_and_zero_embeddings(name: str, training: bool) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        head = build(VARIANTS[name]).train(training)
        head.to(torch.float64 if dtype == torch.float64 else torch.float32)
        with torch.no_grad():  # along the axes, so that cosines are ±1 to the last bit
            head.class_weights.copy_(
                3 * torch.eye(CLASSES, SIZE).view(CLASSES, *[1] * (head.class_weights.ndim - 2), SIZE)
            )
        rows = 3 * torch.eye(CLASSES, SIZE)
        x = torch.stack([rows[0], -rows[0], torch.zeros_like(rows[0]), rows[1], 1e-20 * rows[0]]).to(dtype)
        x.requires_grad_()
        value = CrossEntropy()(head(x, torch.zeros(5, dtype=torch.int64)))  # row 3: aligned with a class not its own
        value.mean().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(x.grad).all()
        assert all(torch.isfinite(each.grad).all() for each in head.parameters())
        assert all(torch.isfinite(each).all() for each in head.buffers())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_batch_of_one_trains_and_leaves_a_finite_state(name: str) -> None:
    head = build(VARIANTS[name])
    x, labels = batch(1)
    for _ in range(3):
        assert torch.isfinite(CrossEntropy()(head(x, labels))).all()
    assert all(torch.isfinite(each).all() for each in head.buffers())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_permuted_batch_gives_permuted_losses_and_the_same_state(name: str) -> None:
    margin, (x, labels) = VARIANTS[name], batch()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    one, other = build(margin), build(margin)
    x, labels = x[:5], torch.arange(5)  # of two embeddings of a class, VPL remembers the later
    order = order[order < 5]
    draws = torch.randn(5, dtype=torch.float64)
    plus = bool(getattr(margin, "plus", False))  # deals the draws by rank, wherever they stand
    for _ in range(2):
        losses = CrossEntropy()(one(x, labels, draws=draws))
        permuted = CrossEntropy()(other(x[order], labels[order], draws=draws if plus else draws[order]))
        torch.testing.assert_close(permuted, losses[order])
    for ours, theirs in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", VARIANTS)
def test_state_is_frozen_in_eval_mode_and_survives_saving(name: str) -> None:
    head = moved(build(VARIANTS[name]))
    x, labels = batch()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    first = CrossEntropy()(head(x, labels))
    assert torch.equal(CrossEntropy()(head(x, labels)), first)  # no draws either
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())
    other = build(VARIANTS[name], seed=5).eval()
    other.load_state_dict(before)
    assert torch.equal(CrossEntropy()(other(x, labels)), first)


@pytest.mark.parametrize("name", [name for name, member in MEMBERS.items() if member.neutral is not None])
def test_with_its_neutral_parameters_a_margin_is_the_normalised_softmax(name: str) -> None:
    head = build(MEMBERS[name].model_validate(MEMBERS[name].neutral))
    x, labels = batch()
    terms = head(x, labels)
    plain = build(NormFace(), scale=head.scale)  # the scale that it has after its step
    plain.class_weights = head.class_weights
    torch.testing.assert_close(head.logits(x, labels), plain.logits(x, labels))
    ours, theirs = (CrossEntropy().per_sample(each) for each in (terms, plain(x, labels)))
    torch.testing.assert_close(ours, theirs)
    assert terms.penalty is None or not terms.penalty.any()


def brute_force_loss(margin: Margin, logits: Tensor, labels: Tensor) -> Tensor:
    """The reductions written out sample by sample and class by class."""
    count = len(labels)
    if margin.reduction == "softmax":
        return torch.stack([-logits[i].log_softmax(0)[labels[i]] for i in range(count)])
    if margin.reduction == "bce":
        positive, negative = margin.balance()
        return torch.stack(
            [
                -sum(
                    positive * logsigmoid(logits[i, j]) if j == labels[i] else negative * logsigmoid(-logits[i, j])
                    for j in range(CLASSES)
                )
                for i in range(count)
            ]
        )
    attract = [
        (1 + sum(torch.exp(-logits[i, j]) for i in range(count) if labels[i] == j)).log() for j in set(labels.tolist())
    ]
    repel = [(1 + sum(torch.exp(logits[i, j]) for i in range(count) if labels[i] != j)).log() for j in range(CLASSES)]
    return (sum(attract) / len(attract) + sum(repel) / CLASSES).expand(count)


@pytest.mark.parametrize("name", VARIANTS)
def test_terms_are_those_of_the_dense_logits(name: str) -> None:
    head = moved(build(VARIANTS[name]))
    x, labels = batch()
    terms, logits = head(x, labels), head.logits(x, labels)
    expected = brute_force_loss(head.margin, logits, labels) * terms.factor
    got = CrossEntropy()(terms) - (0 if terms.penalty is None else terms.penalty)
    torch.testing.assert_close(got, expected)


MIXED = ["arcface", "curricularface", "elastic_arcface", "adaface", "mv_softmax", "soft_triple"]
FALLING = ["arcface", "arcface-past_pi-linear", "combined", "sphereface", "arcface-past_pi-none"]


@pytest.mark.parametrize("name", MIXED)
def test_mixup_with_equal_labels_is_the_plain_loss(name: str) -> None:
    head = moved(build(VARIANTS[name]))
    x, labels = batch()
    mixed = CrossEntropy().mixed(*head.mixed(x, labels, labels, 0.3), 0.3)
    torch.testing.assert_close(mixed, CrossEntropy()(head(x, labels)))


@pytest.mark.parametrize("name", FALLING)
def test_only_the_bare_formula_rises_with_the_angle(name: str) -> None:
    angles = torch.linspace(1e-3, math.pi - 1e-3, 2000, dtype=torch.float64)
    margin, cosine = VARIANTS[name], angles.cos()
    context = Context(cosine, norms=torch.ones_like(cosine), state=margin.initial_state(CLASSES, 8.0))
    rises = (margin.target(cosine, context).diff() > 0).any()
    assert bool(rises) == (name == "arcface-past_pi-none")


def test_prototypes_and_centres_go_with_any_normalised_softmax_margin() -> None:
    memory = Prototypes(share=0.3, window=3, start=0).model_dump()
    for name, member in MEMBERS.items():
        own = "centers" in member.model_fields or member().prototypes() is not None
        if own or member.reduction != "softmax" or not member.normalised:
            continue
        head = build(member(), centers=2, prototypes=memory)
        x, labels = batch()
        plain = head.logits(x, labels)
        head(x, labels)
        head(x, labels)
        assert torch.isfinite(CrossEntropy()(head(x, labels))).all()
        assert (head.logits(x, labels) != plain).any(), name


def losses_known() -> list[Loss]:
    return [member() for member in Loss.members().values()]


@pytest.mark.parametrize("loss", losses_known(), ids=lambda loss: loss.type)
def test_every_loss_is_finite_where_the_target_is_certain(loss: Loss) -> None:
    head = build(NormFace(), scale=1000.0)
    x = head.class_weights.detach()[:2].clone().requires_grad_()
    if loss.compares_texts:
        texts = TextWeights(tower(SIZE, log_scale=math.log(1000)), [[f"{label} text"] for label in range(CLASSES)])
        head = ClassHead(NormFace(), CLASSES, SIZE, dtype=torch.float64, texts=texts)
        x = texts.embed(torch.arange(2)).detach().requires_grad_()
    value = loss(head(x, torch.tensor([0, 1])))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(x.grad).all()


def test_the_state_of_a_margin_keeps_moving_under_class_weights_of_half_precision() -> None:
    """Running means that move by a hundredth stand still in bfloat16."""
    moving = [name for name, member in MEMBERS.items() if member().initial_state(CLASSES, 8.0)]
    assert {"adacos", "adaface", "curricularface"} <= set(moving)
    for name in moving:
        states = []
        for dtype in (torch.float64, torch.bfloat16):
            head = ClassHead(MEMBERS[name](), CLASSES, SIZE, HeadConfig(scale=8), dtype=dtype)
            head.class_weights.data = build(MEMBERS[name]()).class_weights.detach().to(dtype)
            for seed in range(40):
                x, labels = batch(seed=seed)
                head(x.to(dtype).float(), labels)
            states.append(head.state())
        for key, value in states[1].items():
            assert value.dtype != torch.bfloat16
            torch.testing.assert_close(value.double(), states[0][key].double(), rtol=0.02, atol=0.02)
