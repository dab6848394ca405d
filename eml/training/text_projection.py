"""Text vectors of classes, turned into the space of the embeddings, and whether they fit what images show."""

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


def project_texts(texts: Tensor, size: int, seed: int) -> Tensor:
    """Return (C, D) unit text vectors in D dimensions, float32.

    The text vectors are centred, since what all texts share says nothing about a class, and turned at random into the
    space of the embeddings. All cosines between them stay where they span at most D directions; else those D of the
    largest variance are kept. They are not fitted to the class means of the starting network: class weights that begin
    near the means leave the network little to learn, and unseen classes gain less (docs/benchmarks_recipe.md).

    Args:
        texts: (C, T).
        size: D.
        seed: Of the turn.
    """
    rows = centred(texts)
    variance, directions = torch.linalg.eigh(rows.T @ rows)  # (T, T): never a matrix C×C
    directions = directions[:, variance > FLAT * variance.max().clamp_min(FLAT)][:, -size:]
    random = torch.randn(size, directions.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    turn, _ = torch.linalg.qr(random)  # (D, r), orthonormal columns
    return unit_length(rows @ directions @ turn.T).float()
