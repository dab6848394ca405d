"""Class weights that are embeddings of texts, and the loss between images and texts."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from eml.errors import ConfigError
from eml.head.class_head import ClassHead
from eml.head.shards import Shard
from eml.head.text_weights import TextWeights
from eml.losses.contrastive_text import ContrastiveText
from eml.margins.cosface import CosFace
from eml.margins.normface import NormFace
from tests.head.heads import SIZE, embeddings
from tests.head.text_towers import TEXTS, head_of, tower

LABELS = torch.tensor([5, 0, 2, 5, 3, 0])


def test_texts_in_parts_step_as_at_once_with_the_activations_of_one_part() -> None:
    results = []
    for at_once in (2, 256):
        head, own = head_of(negatives="all", at_once=at_once)
        loss = ContrastiveText()(head(embeddings(torch.float64, 0), LABELS)).mean()
        forward = own.network.calls
        results.append([loss.detach(), *torch.autograd.grad(loss, list(own.parameters()))])
        assert (forward, own.network.calls) == ((4, 8) if at_once == 2 else (1, 1))
    for divided, whole in zip(*results, strict=True):
        torch.testing.assert_close(divided, whole, rtol=1e-12, atol=1e-15)


def test_a_text_of_several_is_drawn_by_seed_step_and_class_alone() -> None:
    texts = [(f"{letter}a", f"{letter}b", f"{letter}c") for letter in "klmnopq"]
    (head, own), (same, _), (other, _) = (head_of(texts, seed=seed) for seed in (3, 3, 4))
    vectors = own(own.tokenize([text for of_class in texts for text in of_class])).view(7, 3, SIZE)

    def drawn(head: ClassHead, step: int, classes: list[int]) -> list[int]:
        head.start_step(step, 100)
        assert head.texts is not None
        rows = head.texts.embed(torch.tensor(classes))
        return [int((vectors[i] - row).abs().sum(1).argmin()) for i, row in zip(classes, rows, strict=True)]

    steps = [drawn(head, step, list(range(7))) for step in range(30)]
    assert [drawn(same, step, list(range(7))) for step in range(29, -1, -1)] == steps[::-1]
    assert [drawn(same, step, [2, 5]) for step in range(30)] == [[row[2], row[5]] for row in steps]
    assert [drawn(other, step, list(range(7))) for step in range(30)] != steps
    counts = np.bincount(np.array(steps).ravel(), minlength=3) / 210
    assert counts == pytest.approx([1 / 3] * 3, abs=0.1)


def test_a_mean_of_texts_is_that_of_their_unit_vectors() -> None:
    texts = [("a", "b"), ("c",), ("dog", "eel", "a")]
    head, own = head_of(texts, texts="mean")
    assert head.texts is not None
    rows = head.texts.embed(torch.tensor([0, 2]))
    means = [normalize(own(own.tokenize(texts[i]))).mean(0) for i in (0, 2)]
    torch.testing.assert_close(rows, normalize(torch.stack(means)))


def test_a_tower_that_does_not_train_embeds_each_text_once() -> None:
    head, own = head_of(negatives="all")
    own.requires_grad_(False)
    for seed in range(3):
        ContrastiveText()(head(embeddings(torch.float64, seed), LABELS)).mean().backward()
    assert own.network.calls == 1


def test_the_scale_stays_within_the_bounds_of_clip() -> None:
    for bias, moved, kept in [(None, 9.0, math.log(100)), (None, -1.0, 0.0), (None, 3.0, 3.0), (-10.0, 4.7, 4.7)]:
        own = tower(SIZE, bias=bias)
        head = ClassHead(NormFace(), 7, SIZE, dtype=torch.float64, texts=TextWeights(own, TEXTS))
        with torch.no_grad():
            own.logit_scale.fill_(moved)
        head.step(0.1)
        assert own.logit_scale.item() == pytest.approx(kept)
        assert head.scale == pytest.approx(math.exp(kept))


def test_a_margin_acts_on_image_to_text_alone() -> None:
    (plain, own), (with_margin, _) = head_of(), head_of(margin=CosFace(m=0.2))
    x = embeddings(torch.float64, 0)
    terms, others = plain(x, LABELS), with_margin(x, LABELS)
    torch.testing.assert_close(others.target_logit, terms.target_logit - 0.2 * own.logit_scale.exp())
    torch.testing.assert_close(others.text_to_image, terms.text_to_image)


def test_the_head_has_no_weights_of_its_own_and_says_what_it_embeds() -> None:
    head, _ = head_of()
    assert not list(head.parameters())
    assert not head.state_dict()
    assert str(head.plan(4)) == "class head: 7 classes, up to 4 texts embedded per step, compared all at once"
    assert "up to 7 texts" in str(head_of(negatives="all")[0].plan(4))
    texts = [("a", "b"), ("c",), ("d", "e", "f")]
    assert "up to 5 texts" in str(head_of(texts, texts="mean")[0].plan(2))


def test_a_process_without_a_class_of_the_batch_has_gradients_of_zero() -> None:
    own = tower(SIZE)
    weights = TextWeights(own, TEXTS)
    active = weights.active([LABELS], [LABELS], Shard(7, 6, 7))
    assert active.weights.shape == (0, SIZE)
    assert active.places[0].tolist() == [-1] * 6
    active.weights.sum().backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in own.network.parameters())


def test_what_does_not_go_with_texts_is_said_at_once() -> None:
    head, _ = head_of()
    with pytest.raises(ConfigError, match="mixup does not go with texts"):
        head.mixed(embeddings(torch.float64, 0), LABELS, LABELS, 0.5)
    with pytest.raises(ValueError, match="contrastive_text needs a class head that compares images with texts"):
        ContrastiveText()(ClassHead(NormFace(), 7, SIZE, dtype=torch.float64)(embeddings(torch.float64, 0), LABELS))
    with pytest.raises(ValueError, match="one text at least"):
        TextWeights(tower(SIZE), [("a",), ()])
