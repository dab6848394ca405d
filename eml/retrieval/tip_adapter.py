"""Zero-shot classification with a cache of labelled images, which needs no training: Tip-Adapter."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Embeddings, Floats, Integers, Labels, as_embeddings, as_positions
from eml.retrieval.products import product
from eml.retrieval.similarity import check_sizes, unit_length
from eml.retrieval.zero_shot import ClassPlaces

SCALE = 100.0
"""What CLIP multiplies cosines by; the scale of networks that do not say their own."""
ALPHAS = (0.0, *(2.0**power for power in range(-5, 7)))
"""Weights of the cache that are tried, at a scale of 100."""
BETAS = tuple(2.0**power for power in range(7))
"""Sharpnesses that are tried."""
JUDGES = 4096  # most images that judge the weights
ENTRIES = 1 << 22  # cosines at once: 16 MiB in float32


@dataclass(frozen=True)
class TipAdapter:
    """logits = scale·cos(image, text) + α·Σ exp(−β(1 − cos(image, labelled image))) over the images of each class.

    Zhang 2022, arXiv:2111.03930, section 3.1, eq. 5: affinities with the cached images vote for their labels.

    Attributes:
        class_vectors: (C, D) unit vectors of the classes' texts.
        images: (N, D) unit vectors of the labelled images.
        labels: (N,) their classes, 0…C−1.
        scale: Of the cosines with texts.
        alpha: α, the weight of the cache.
        beta: β, its sharpness.
        judges: Labelled images that α and β were chosen by, each with a cache of all others.
        held_out: The share of them that is right with these α and β.
        held_out_names: The share of them that is right by the texts alone.
    """

    class_vectors: Tensor
    images: Tensor
    labels: Integers
    scale: float = SCALE
    alpha: float = 1.0
    beta: float = 5.5
    judges: int = 0
    held_out: float = float("nan")
    held_out_names: float = float("nan")

    def classify(self, queries: Embeddings, labels: Labels) -> ClassPlaces:
        """Return where the classes (Q,) of some images (Q, D) stand by the logits.

        Raises:
            DataError: Embeddings are NaN, infinite, zero or of another size, or labels are not 0…C−1.
        """
        rows = as_embeddings(queries, "query")
        check_sizes(rows, self.images)
        rows = unit_length(rows).to(self.images)
        classes = as_positions(labels, "classes of images", len(self.class_vectors))
        parts = [ClassPlaces.by_scores(self.logits(rows[part]), classes[part]) for part in self._parts(len(rows))]
        return ClassPlaces.join(parts)

    def without_images(self) -> "TipAdapter":
        """Return a copy without its vectors and images, which take memory: the weights alone."""
        empty = self.images[:0]
        return replace(self, class_vectors=empty, images=empty, labels=self.labels[:0])

    def logits(self, queries: Tensor) -> Tensor:
        """Return (T, C) logits of unit vectors (T, D)."""
        votes = self._votes(product(queries, self.images), self.beta)
        return self.scale * product(queries, self.class_vectors) + self.alpha * votes

    def _votes(self, cosines: Tensor, beta: float) -> Tensor:
        """Return (T, C) sums over the images of each class of exp(−β(1 − cosine)). cosines: (T, N)."""
        votes = cosines.new_zeros(len(cosines), len(self.class_vectors))
        return votes.index_add_(1, self._labels, cosines.sub(1).mul_(beta).exp_())

    @cached_property
    def _labels(self) -> Tensor:
        return torch.from_numpy(self.labels).to(self.images.device)

    def _parts(self, count: int) -> Iterator[slice]:
        """Yield parts of so many queries whose cosines and logits are bounded."""
        step = max(1, ENTRIES // max(len(self.images), len(self.class_vectors)))
        return (slice(first, first + step) for first in range(0, max(1, count), step))


def fit_tip_adapter(
    images: Embeddings, labels: Labels, class_vectors: Embeddings, *, scale: float = SCALE
) -> TipAdapter:
    """Return the adapter of labelled images with the α and β by which most of them are right, held out one by one.

    Each image is classified with a cache of all the others. Its own class has one image less then, so the sum of its
    votes is multiplied by n/(n − 1). Of equal shares the higher likelihood decides, then the lower α and β. An α of 0
    is among those tried: the texts alone. Images that are the only one of their class do not judge, and of more than
    `JUDGES` others these many do, evenly spaced by class.

    Args:
        images: (N, D) embeddings, of any length but 0.
        labels: (N,) classes, 0…C−1.
        class_vectors: (C, D) embeddings of the classes' texts.
        scale: Of the cosines with texts.

    Raises:
        DataError: Embeddings are NaN, infinite, zero or of two sizes, labels are not 0…C−1, or no class has two images.
    """
    rows, texts = as_embeddings(images, "image"), as_embeddings(class_vectors, "text")
    check_sizes(rows, texts)
    classes = as_positions(labels, "classes of images", len(texts))
    judges = _judges(classes)
    if not len(judges):
        text = f"{len(rows):,} labelled images: no class has two of them, so none can be held out to choose by"
        raise DataError(text, code="too-few-images")
    rows = unit_length(rows)
    adapter = TipAdapter(unit_length(texts).to(rows), rows, classes, scale)
    right, likelihood = _judge(adapter, judges)
    weight, sharpness = max(
        np.ndindex(right.shape), key=lambda place: (right[place], likelihood[place], -place[0], -place[1])
    )
    return TipAdapter(
        *(adapter.class_vectors, adapter.images, classes, scale),
        alpha=ALPHAS[weight] * scale / SCALE,
        beta=BETAS[sharpness],
        judges=len(judges),
        held_out=float(right[weight, sharpness] / len(judges)),
        held_out_names=float(right[0, 0] / len(judges)),
    )


def _judges(classes: Integers) -> Integers:
    """Return the images that judge: those whose class has another, at most `JUDGES`, evenly spaced by class."""
    order = np.argsort(classes, kind="stable")
    order = order[np.bincount(classes)[classes[order]] > 1]
    if len(order) > JUDGES:
        order = order[np.linspace(0, len(order) - 1, JUDGES).round().astype(np.int64)]
    return order


def _judge(adapter: TipAdapter, judges: Integers) -> tuple[Integers, Floats]:
    """Return (α, β) how many judges are right by each of the weights, and the sum of their log likelihoods."""
    right = np.zeros((len(ALPHAS), len(BETAS)), np.int64)
    likelihood = np.zeros(right.shape)
    sizes = np.bincount(adapter.labels, minlength=len(adapter.class_vectors))
    for part in adapter._parts(len(judges)):
        rows = torch.from_numpy(judges[part])
        own = torch.from_numpy(adapter.labels[judges[part]])
        queries = adapter.images[rows]
        names = adapter.scale * product(queries, adapter.class_vectors)
        cosines = product(queries, adapter.images)
        cosines[torch.arange(len(rows)), rows] = -torch.inf  # a vote of 0 for its own label
        factor = torch.from_numpy(sizes / np.maximum(1, sizes - 1)).to(names.dtype)[own]
        for j, beta in enumerate(BETAS):
            votes = adapter._votes(cosines, beta)
            votes[torch.arange(len(rows)), own] *= factor
            for i, alpha in enumerate(ALPHAS):
                logits = names + alpha * adapter.scale / SCALE * votes
                right[i, j] += int((logits.argmax(1) == own).sum())
                chosen = logits.gather(1, own[:, None]).squeeze(1)
                likelihood[i, j] += float((chosen - logits.logsumexp(1)).double().sum())
    return right, likelihood


def class_means(images: Embeddings, labels: Integers, num_classes: int) -> Tensor:
    """Return (C, D) float64 means of the unit vectors of each class. images: (N, D); labels: (N,) in 0…C−1."""
    rows = unit_length(images).double()
    sums = torch.zeros(num_classes, rows.shape[1], dtype=torch.float64, device=rows.device)
    sums.index_add_(0, torch.from_numpy(labels).to(rows.device), rows)
    counts = torch.from_numpy(np.bincount(labels, minlength=num_classes)).to(rows.device)
    return sums / counts.clamp_min(1)[:, None]
