"""Images classified by the texts of the classes: where each image's own class stands among all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Embeddings, Floats, Integers, Labels, as_positions
from eml.retrieval.ranking import rank
from eml.retrieval.statistics import Difference, Interval, intervals, nest, paired

TOP, MEAN_PER_CLASS = (1, 5), "mean_per_class"
ACCURACIES = {**{f"top_{k}": f"top-{k}" for k in TOP}, MEAN_PER_CLASS: "mean per class"}
"""Name in metrics.json → name in tables."""


@dataclass(frozen=True)
class ClassPlaces:
    """The place of the own class of each of Q images among C classes, and the class that comes first.

    Attributes:
        labels: (Q,) the class of each image, 0…C−1.
        ranks: (Q,) the place of that class, from 1; of equal scores the lower class comes first.
        answers: (Q,) the class that comes first.
        num_classes: C.
    """

    labels: Integers
    ranks: Integers
    answers: Integers
    num_classes: int

    @classmethod
    def by_scores(cls, scores: Tensor, labels: Integers) -> "ClassPlaces":
        """Return the places by scores (Q, C), of which the highest comes first."""
        own = scores.gather(1, torch.from_numpy(labels)[:, None].to(scores.device))
        before = torch.arange(scores.shape[1], device=scores.device) < torch.from_numpy(labels)[:, None].to(own.device)
        ranks = 1 + (scores > own).sum(1) + ((scores == own) & before).sum(1)
        return cls(labels, ranks.cpu().numpy(), scores.argmax(1).cpu().numpy(), scores.shape[1])

    @classmethod
    def join(cls, parts: Sequence["ClassPlaces"]) -> "ClassPlaces":
        """Return the places of several parts of the images, of the same classes, one after the other."""
        labels, ranks, answers = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "ranks", "answers")
        )
        return cls(labels, ranks, answers, parts[0].num_classes)

    def per_query(self) -> dict[str, Floats]:
        """Return top_1 and top_5, (Q,) values of 0 and 1; no top_5 of five classes, of which every answer is right."""
        return {f"top_{k}": (self.ranks <= k).astype(np.float64) for k in TOP if k == 1 or k < self.num_classes}

    def per_class(self) -> tuple[Integers, Floats]:
        """Return the classes that have images, and the (C,) share of the images of each that are right."""
        classes, codes, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        return classes, np.bincount(codes, self.ranks == 1) / counts

    def values(self) -> dict[str, float]:
        """Return the accuracies: of all images, and the mean over the classes of the accuracy in each."""
        values = {name: float(right.mean()) for name, right in self.per_query().items()}
        return values | {MEAN_PER_CLASS: float(self.per_class()[1].mean())}

    def intervals(self) -> dict[str, Interval]:
        """Return the 95 % intervals over classes of the accuracies."""
        classes, shares = self.per_class()
        own = nest(intervals(self.per_query(), self.labels), {"top_5": ("top_1",)})
        return own | intervals({MEAN_PER_CLASS: shares}, classes)

    def differences(self, before: "ClassPlaces") -> dict[str, Difference]:
        """Return how much the accuracies of the same images have changed, with intervals over classes."""
        own = paired(before.per_query(), self.per_query(), self.labels)
        (classes, after), (_, earlier) = self.per_class(), before.per_class()
        return own | paired({MEAN_PER_CLASS: earlier}, {MEAN_PER_CLASS: after}, classes)

    def chance(self) -> dict[str, float]:
        """Return the accuracies of answers at random."""
        values = {name: min(1.0, int(name.removeprefix("top_")) / self.num_classes) for name in self.per_query()}
        return values | {MEAN_PER_CLASS: 1 / self.num_classes}


@dataclass(frozen=True)
class MisnamedClass:
    """A class with few images that are classified right.

    Attributes:
        label: The class.
        images: The number of its images.
        right: The share of them that is right.
        answer: The class that most of the wrong answers name; None where none is wrong.
        times: How many of them name it.
    """

    label: str
    images: int
    right: float
    answer: str | None
    times: int


def classify_by_vectors(images: Embeddings, labels: Labels, class_vectors: Embeddings) -> ClassPlaces:
    """Rank the classes for each image by the cosine of the image and a vector of the class.

    With vectors of the classes' texts it is zero-shot classification (Radford 2021, arXiv:2103.00020, section 3.1),
    with the means of labelled images it is that by the nearest class mean.

    Args:
        images: (Q, D) embeddings, of any length but 0.
        labels: (Q,) the class of each image, 0…C−1.
        class_vectors: (C, D), of any length but 0.

    Raises:
        DataError: Embeddings are NaN, infinite, zero or of two sizes, or an image's class has no vector.
    """
    classes = np.arange(len(class_vectors))
    labels = as_positions(labels, "classes of images", len(classes))
    if (labels < 0).any():
        text = f"{int((labels < 0).sum()):,} images are of no class that has a vector"
        raise DataError(text, code="out-of-range")
    ranks, answers = np.zeros(len(labels), np.int64), np.zeros(len(labels), np.int64)
    for part in rank(images, labels, class_vectors, classes):
        ranks[part.queries], answers[part.queries] = part.ranks, part.nearest
    return ClassPlaces(labels, ranks, answers, len(classes))


def misnamed_classes(places: ClassPlaces, names: Sequence[str], most: int) -> list[MisnamedClass]:
    """Return the classes of the lowest accuracy, lowest first; of equal ones the larger first, then by label.

    Args:
        places: Of the images.
        names: (C,) names of the classes.
        most: Most classes returned.
    """
    classes, shares = places.per_class()
    sizes = np.bincount(places.labels, minlength=places.num_classes)[classes]
    order = np.lexsort((classes, -sizes, shares))[:most]
    worst = []
    for place in order.tolist():
        label = int(classes[place])
        wrong = places.answers[(places.labels == label) & (places.ranks > 1)]
        counts = np.bincount(wrong)
        answer = names[int(counts.argmax())] if len(wrong) else None
        times = int(counts.max()) if len(wrong) else 0
        worst.append(MisnamedClass(names[label], int(sizes[place]), float(shares[place]), answer, times))
    return worst
