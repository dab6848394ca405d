"""Terms of the loss from class texts, by every mode of the head, beside the same written as plain loops."""

import math

import pytest
import torch
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.head.compatibility import check_mix
from eml.head.config import HeadConfig
from eml.head.text_terms import TextTerm
from eml.head.text_terms.anchor import Anchor
from eml.head.text_terms.language_guidance import LanguageGuidance
from eml.images.mixes.mixup import Mixup
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins.cosface import CosFace
from tests.head.heads import CLASSES, COUNTS, LABELS, LABELS_B, MODES, SIZE

TERMS = [Anchor(weight=0.7, decay=0), LanguageGuidance(weight=0.7, temperature=0.5)]
LOSS: Loss = CrossEntropy()


def texts_of_classes() -> Tensor:
    rows = torch.randn(CLASSES, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.normalize(rows)


def head_with(term: TextTerm | None, config: dict[str, object] | None = None, *, on: bool = True) -> ClassHead:
    torch.manual_seed(0)
    settings = HeadConfig.model_validate({"scale": 8.0} | (config or {}))
    head = ClassHead(CosFace(), CLASSES, SIZE, settings, counts=COUNTS, dtype=torch.float64, text=term)
    if head.text_term is not None and on:
        head.text_term.set(texts_of_classes())
    return head


def batch() -> Tensor:
    rows = torch.randn(len(LABELS), SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return (3 * rows).requires_grad_()


def by_hand(term: TextTerm, x: Tensor, weights: Tensor, labels: Tensor) -> list[Tensor]:
    """The penalty of each image, in loops."""
    texts, penalties = texts_of_classes(), []
    unit = [row / row.norm() for row in x]
    for place, label in enumerate(labels.tolist()):
        if isinstance(term, Anchor):
            centers = weights[label] if weights.ndim == 3 else weights[label].unsqueeze(0)
            cosines = [(row @ texts[label]) / row.norm() for row in centers]
            penalties.append(term.weight * (1 - torch.stack(cosines).max()))
            continue
        assert isinstance(term, LanguageGuidance)
        others = [other for other in range(len(labels)) if labels[other] != labels[place]]
        p = torch.stack([texts[label] @ texts[labels[other]] / term.temperature for other in others]).exp()
        q = torch.stack([unit[place] @ unit[other] / term.temperature for other in others]).exp()
        p, q = p / p.sum(), q / q.sum()
        penalties.append(term.weight * sum((a * (a / b).log() for a, b in zip(p, q, strict=True)), torch.zeros(())))
    return penalties


def weights_gradient(head: ClassHead) -> Tensor:
    """Return the gradient (C, …) by the class weights, in every mode."""
    if head.sampled is None:
        assert head.class_weights.grad is not None
        return head.class_weights.grad
    (sample,) = head.sampled.pending
    assert sample.ids is not None
    assert sample.weights.grad is not None
    return torch.zeros_like(head.class_weights).index_copy_(0, sample.ids, sample.weights.grad)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.type)
@pytest.mark.parametrize(
    "config",
    [*({"mode": mode} for mode in (MODES[0], MODES[2], MODES[6])), {"centers": 3}, {"prototypes": {"start": 0}}],
    ids=["dense", "tiled", "sampled", "centers", "vpl"],
)
def test_a_term_adds_to_losses_and_gradients_what_plain_loops_do(term: TextTerm, config: dict[str, object]) -> None:
    plain, head = head_with(None, config), head_with(term, config)
    x, y = batch(), batch()
    losses, expected = LOSS(head(x, LABELS)), LOSS(plain(y, LABELS))
    weights = plain.class_weights.detach().clone().requires_grad_()
    by_loops = torch.stack(by_hand(term, y, weights, LABELS))
    torch.testing.assert_close(losses, expected + by_loops, rtol=0, atol=1e-12)
    losses.mean().backward()
    (expected + by_loops).mean().backward()
    assert x.grad is not None
    assert y.grad is not None
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-12)
    both = weights_gradient(plain) + (0.0 if weights.grad is None else weights.grad)
    torch.testing.assert_close(weights_gradient(head), both, rtol=0, atol=1e-12)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.type)
def test_the_gradient_of_a_term_is_that_of_finite_differences(term: TextTerm) -> None:
    head, x = head_with(term), batch()

    def total(rows: Tensor, weights: Tensor) -> Tensor:
        head.class_weights.data.copy_(weights.detach())
        parameters = {"class_weights": weights}
        terms = torch.func.functional_call(head, parameters, (rows, LABELS))
        return LOSS(terms).mean()

    weights = head.class_weights.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(total, (x, weights), atol=1e-6)


def test_the_factor_falls_in_a_straight_line_to_zero_by_the_share_that_decay_says() -> None:
    anchor = Anchor(weight=2.0, decay=2.0)
    assert [anchor.factor(progress) for progress in (0.0, 0.25, 0.5, 1.0)] == [2.0, 1.0, 0.0, 0.0]
    assert [Anchor(weight=2.0).factor(progress) for progress in (0.0, 0.25, 1.0)] == [2.0, 1.5, 0.0]
    assert LanguageGuidance(weight=2.0).factor(1.0) == 2.0
    head, plain = head_with(anchor), head_with(None)
    for module in (head, plain):
        module.progress = 0.25
    added = LOSS(head(batch(), LABELS)) - LOSS(plain(batch(), LABELS))
    expected = torch.stack(by_hand(Anchor(weight=1.0), batch(), plain.class_weights, LABELS))
    torch.testing.assert_close(added, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.type)
def test_a_term_whose_texts_are_not_set_and_a_head_that_is_not_training_change_no_bit(term: TextTerm) -> None:
    plain, off, evaluated = head_with(None), head_with(term, on=False), head_with(term).eval()
    expected = LOSS(plain(batch(), LABELS))
    assert torch.equal(LOSS(off(batch(), LABELS)), expected)
    assert torch.equal(LOSS(evaluated(batch(), LABELS)), expected)


def test_an_image_without_another_class_in_its_batch_has_no_guidance_and_a_finite_gradient() -> None:
    head, plain, labels = head_with(TERMS[1]), head_with(None), torch.full_like(LABELS, 3)
    x = batch()
    losses = LOSS(head(x, labels))
    assert torch.equal(losses, LOSS(plain(batch(), labels)))
    losses.mean().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_mixed_images_pull_both_of_their_classes_by_their_shares_and_guidance_refuses_them() -> None:
    head, plain, share = head_with(TERMS[0]), head_with(None), torch.linspace(0.1, 0.9, len(LABELS)).double()
    added = LOSS.mixed(*head.mixed(batch(), LABELS, LABELS_B, share), share)
    added = added - LOSS.mixed(*plain.mixed(batch(), LABELS, LABELS_B, share), share)
    first, second = (torch.stack(by_hand(TERMS[0], batch(), plain.class_weights, rows)) for rows in (LABELS, LABELS_B))
    torch.testing.assert_close(added, share * first + (1 - share) * second, rtol=0, atol=1e-12)
    check_mix(CosFace(), HeadConfig(), Mixup(), TERMS[0])
    with pytest.raises(Exception, match=r"text\.type language_guidance .* set mix: null, .* two labels: anchor"):
        check_mix(CosFace(), HeadConfig(), Mixup(), TERMS[1])


def test_embeddings_too_long_for_their_squares_are_guided_like_others() -> None:
    head, x = head_with(TERMS[1]), batch()
    assert torch.allclose(LOSS(head(x.detach() * 1e20, LABELS)), LOSS(head(x, LABELS)))
    assert math.isfinite(LOSS(head(x.detach().float() * 1e25, LABELS)).mean().item())
