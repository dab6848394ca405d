"""Text vectors of classes, rotated into the space of the embeddings, and whether they fit what images show."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize as unit_length

PERMUTATIONS = 999
CHANCE = 0.01
"""Share of permutations that may fit as well as the texts do; above it the texts are taken to say nothing."""
TESTED = 500
"""Classes that are compared in pairs, at most."""
FLAT = 1e-6
"""Directions whose variance is below this share of the largest have none."""


@dataclass(frozen=True)
class TextFit:
    """Whether classes with similar texts look alike.

    Attributes:
        correlation: Between the cosines of text vectors and those of class means, over pairs of classes.
        p_value: Share of permutations of the texts among the classes with such a correlation or a larger one.
        classes: That were compared.
    """

    correlation: float
    p_value: float
    classes: int

    @property
    def is_related(self) -> bool:
        """Whether the correlation is more than chance."""
        return self.correlation > 0 and self.p_value <= CHANCE

    @property
    def text(self) -> str:
        """The fit in words."""
        likeness = "look alike" if self.is_related else "do not look more alike than chance"
        figures = (
            f"correlation {self.correlation:.2f} over the pairs of {self.classes:,} classes, p = {self.p_value:.3f}"
        )
        return f"classes with similar texts {likeness} ({figures})"

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self)


def text_fit(texts: Tensor, means: Tensor, seed: int) -> TextFit:
    """Test whether classes with similar texts look alike: Mantel's test, 1967, Cancer Research 27, 209–220.

    Args:
        texts: (C, T) text vectors.
        means: (C, D) class means of images.
        seed: Of the permutations, and of the classes where there are more than are compared.
    """
    random = np.random.default_rng(seed)
    if len(texts) > TESTED:
        chosen = torch.from_numpy(np.sort(random.choice(len(texts), TESTED, replace=False)))
        texts, means = texts[chosen], means[chosen]
    count = len(texts)
    by_text, by_image = (_pair_scores(rows) for rows in (texts, means))
    if count < 3 or by_text is None or by_image is None:
        return TextFit(0.0, 1.0, count)
    correlation = float((by_text * by_image).sum())
    as_good = 1
    for _ in range(PERMUTATIONS):
        order = random.permutation(count)
        as_good += float((by_text[np.ix_(order, order)] * by_image).sum()) >= correlation - 1e-12
    return TextFit(correlation, as_good / (PERMUTATIONS + 1), count)


def _pair_scores(rows: Tensor) -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """Return (C, C) cosines of centred rows, with mean 0 and length 1 off the diagonal and 0 on it; None if equal."""
    unit = centred(rows)
    cosines = (unit @ unit.T).numpy()
    off = ~np.eye(len(cosines), dtype=bool)
    scores = np.where(off, cosines - cosines[off].mean(), 0.0) if off.any() else np.zeros_like(cosines)
    length = float(np.linalg.norm(scores))
    return scores / length if length > FLAT else None


def centred(rows: Tensor) -> Tensor:
    """Return unit vectors (C, …) of the rows without their mean, in float64; a row that is the mean becomes zeros."""
    unit = unit_length(rows.double())
    return unit_length(unit - unit.mean(0))


def project_texts(texts: Tensor, means: Tensor, classes: Tensor) -> Tensor:
    """Return (C, D) unit text vectors in the space of the embeddings, float32.

    The text vectors are centred, since what all texts share says nothing about a class. Then the rotation that brings
    those of some classes nearest to their centred means is applied to all (orthogonal Procrustes, Schönemann 1966,
    doi:10.1007/BF02289451). It keeps all cosines between the centred text vectors where these span at most D
    directions; else it keeps the D directions of the texts that have most in common with the means. So, unlike a
    least-squares map, it cannot turn texts that fit nothing into the class means themselves.

    Args:
        texts: (C, T).
        means: (n, D) class means of the starting network.
        classes: (n,) classes that these are of.
    """
    rows = centred(texts)
    variance, directions = torch.linalg.eigh(rows.T @ rows)  # (T, T): never a matrix C×C
    directions = directions[:, variance > FLAT * variance.max().clamp_min(FLAT)]
    coordinates = rows @ directions  # (C, r)
    u, _, v = torch.linalg.svd(coordinates[classes].T @ centred(means), full_matrices=False)
    return unit_length(coordinates @ (u @ v)).float()
