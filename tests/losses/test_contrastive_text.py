"""The loss between images and the texts of their classes."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from eml.losses.contrastive_text import ContrastiveText
from tests.head.heads import embeddings
from tests.head.text_towers import TEXTS, head_of

LABELS = torch.tensor([5, 0, 2, 5, 3, 0])
ONE_OF_EACH = torch.tensor([6, 2, 0, 3, 1, 5])


def by_loops(x: Tensor, labels: Tensor, texts: Tensor, classes: list[int], scale: float) -> Tensor:
    """The loss by its definition: texts (C, D) of all classes, of which `classes` are compared."""
    x, texts = normalize(x), normalize(texts)
    logits = scale * x @ texts.T
    total = x.new_zeros(())
    for image, label in enumerate(labels.tolist()):
        total -= logits[image, label] - logits[image, classes].logsumexp(0)
    for label in set(labels.tolist()):
        images = (labels == label).nonzero().flatten().tolist()
        spread = sum(logits[image, label] - logits[:, label].logsumexp(0) for image in images) / len(images)
        total -= len(images) * spread
    return total / (2 * len(labels))


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, inputs))


def test_one_image_of_each_class_is_clips_loss() -> None:
    head, own = head_of()
    x, labels = embeddings(torch.float64, 0), ONE_OF_EACH
    loss = ContrastiveText()(head(x, labels)).mean()
    logits = own.logit_scale.exp() * normalize(x) @ normalize(own(own.tokenize([TEXTS[i][0] for i in labels]))).T
    target = torch.arange(6)
    expected = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    weights = [x, *own.parameters()]
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(gradients(loss, *weights), gradients(expected, *weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("negatives", ["batch", "all"])
@pytest.mark.parametrize("mode", ["dense", "tiled"])
def test_several_images_of_a_class_share_the_target_of_its_text(negatives: str, mode: str) -> None:
    head, own = head_of(mode=mode, negatives=negatives)
    x = embeddings(torch.float64, 0)
    terms = head(x, LABELS)
    loss = ContrastiveText()(terms).mean()
    classes = list(range(7)) if negatives == "all" else [0, 2, 3, 5]
    expected = by_loops(x, LABELS, own(own.tokenize([text for (text,) in TEXTS])), classes, math.exp(2.0))
    weights = [x, *own.network.parameters()]
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(gradients(loss, *weights), gradients(expected, *weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    cosines = normalize(x) @ normalize(own(own.tokenize([text for (text,) in TEXTS]))).T
    torch.testing.assert_close(terms.cosine_y, cosines[torch.arange(6), LABELS].detach())
    others = cosines[:, classes].detach().masked_fill(torch.tensor(classes) == LABELS.unsqueeze(1), -1.0)
    torch.testing.assert_close(terms.nearest, others.amax(1))


@pytest.mark.parametrize("negatives", ["batch", "all"])
def test_a_tower_with_a_bias_goes_on_with_sigmoids(negatives: str) -> None:
    head, own = head_of(negatives=negatives, bias=-2.0)
    x = embeddings(torch.float64, 0)
    loss = ContrastiveText()(head(x, LABELS)).mean()
    texts = normalize(own(own.tokenize([text for (text,) in TEXTS])))
    assert own.logit_bias is not None
    expected = x.new_zeros(())
    for image, label in zip(normalize(x), LABELS.tolist(), strict=True):
        for other in range(7) if negatives == "all" else [0, 2, 3, 5]:
            sign = 1 if other == label else -1
            expected -= (sign * (own.logit_scale.exp() * image @ texts[other] + own.logit_bias)).sigmoid().log() / 6
    weights = [x, *own.parameters()]
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(gradients(loss, *weights), gradients(expected, *weights), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.xdist_group("clip")
def test_one_image_of_each_class_is_the_loss_of_open_clips_own_code() -> None:
    losses = pytest.importorskip("open_clip").loss
    x = embeddings(torch.float64, 0)
    for bias, reference in ((None, losses.ClipLoss()), (-2.0, losses.SigLipLoss())):
        head, own = head_of(bias=bias)
        texts = normalize(own(own.tokenize([TEXTS[label][0] for label in ONE_OF_EACH])))
        scales = [own.logit_scale.exp(), *([] if own.logit_bias is None else [own.logit_bias])]
        expected = reference(normalize(x), texts, *scales)
        torch.testing.assert_close(ContrastiveText()(head(x, ONE_OF_EACH)).mean(), expected, rtol=1e-12, atol=0)
