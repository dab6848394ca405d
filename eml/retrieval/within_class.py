"""Whitening by the variance within classes: directions in which images of one class differ count less.

Hatch 2006, "Within-class covariance normalization for SVM-based speaker recognition" (WCCN), with a shrunk covariance;
to fewer dimensions it is linear discriminant analysis (Fisher 1936), shrunk likewise (Friedman 1989).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.affine import BLOCK, MOST_SAMPLES, AffineProjection, as_long_as, finite_rows, spaced_rows
from eml.retrieval.arrays import Embeddings, Labels, as_labels

Shrinkage = float | Literal["ledoit_wolf", "oas"]
NO_VARIANCE = 1e-12  # of the largest variance: directions below it are rounding
NO_DEVIATION = 1e-14  # of the features' squares: a variance below it is rounding
NO_VARIANCE_CODE = "no-variance-within-classes"


@dataclass(frozen=True)
class WithinClass:
    """Means and within-class variances of labelled features, from which projections are cheap.

    Attributes:
        mean: (F,) float64 mean of all images.
        class_means: (C, F) float64, less the mean.
        counts: (C,) images of each class.
        vectors: (F, r) float64 orthonormal columns, the directions of within-class variance, the largest first.
        variances: (r,) float64 variance along each; across all others it is 0.
        images: Images of classes with two or more, which alone differ within their class.
        fourth: Sum of the fourth powers of the lengths of their deviations, from which Ledoit and Wolf shrink.
        sample: (n, F) float64 features of some images, evenly spaced.
    """

    mean: Tensor
    class_means: Tensor
    counts: Tensor
    vectors: Tensor
    variances: Tensor
    images: int
    fourth: float
    sample: Tensor

    @classmethod
    def of(cls, features: Embeddings, labels: Labels) -> "WithinClass":
        """Learn the means and variances of features (N, F), as they are, with their labels (N,).

        Classes of one image count in the mean and between classes.

        Raises:
            DataError: Features or labels cannot be used, or no class has two images that differ.
        """
        rows, classes = _checked(features, labels)
        counts = torch.bincount(classes)
        total = torch.zeros(len(counts), rows.shape[1], dtype=torch.float64)
        for part, own in zip(rows.split(BLOCK), classes.split(BLOCK), strict=True):
            total.index_add_(0, own, part.cpu().double())
        mean, class_means = total.sum(0) / len(rows), total / counts.unsqueeze(1)
        members = (counts[classes] > 1).nonzero().flatten()
        vectors, variances, fourth = _decompose(rows, classes, class_means, members)
        some = spaced_rows(len(rows), MOST_SAMPLES)
        sample = rows[some.to(rows.device)].cpu().double()
        if not len(variances) or float(variances.sum()) <= NO_DEVIATION * float(class_means.square().sum(1).mean()):
            raise DataError(
                f"{len(rows):,} images of {len(counts):,} classes: no class has two images that differ, so nothing is "
                "known of the variance within a class; give classes with two images or more",
                code="no-variance-within-classes",
            )
        deviations = class_means - mean
        return cls(mean, deviations, counts, vectors, variances, len(members), fourth, sample)

    @classmethod
    def or_none(cls, features: Embeddings, labels: Labels) -> "WithinClass | None":
        """Return the same, or None where no class has two images that differ.

        Raises:
            DataError: Features or labels cannot be used.
        """
        try:
            return cls.of(features, labels)
        except DataError as error:
            if error.code != NO_VARIANCE_CODE:
                raise
            return None

    @property
    def features(self) -> int:
        """The number of features F."""
        return len(self.mean)

    def shrinkage(self, amount: Shrinkage) -> float:
        """Return a shrinkage as a number in [0, 1]: itself, or the estimate of that name.

        ledoit_wolf: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices".
        oas: Chen 2010, "Shrinkage algorithms for MMSE covariance estimation", eq. 23. Both are as in scikit-learn.

        Raises:
            DataError: It is neither.
        """
        size, count = self.features, self.images
        trace, squares = float(self.variances.sum()), float(self.variances.square().sum())
        spread = squares / size - (trace / size) ** 2  # mean square distance from the target
        if amount == "ledoit_wolf":
            error = (self.fourth / count - squares) / (size * count)
            return 1.0 if spread <= 0 else min(max(error, 0.0) / spread, 1.0)
        if amount == "oas":
            alpha, target = squares / size**2, (trace / size) ** 2
            below = (count + 1) * (alpha - target / size)
            return 1.0 if below <= 0 else min((alpha + target) / below, 1.0)
        if isinstance(amount, str) or not 0 <= amount <= 1:
            text = f"shrinkage must be from 0 to 1, ledoit_wolf or oas, got {amount}"
            raise DataError(text, code="out-of-range")
        return float(amount)

    def projection(self, shrinkage: Shrinkage = 0.5, size: int | None = None, power: float = 1.0) -> AffineProjection:
        """Return z = W (x − mean), W = ((1 − s) S + s τ I)^(−power/2), with S within classes and τ its mean variance.

        W is symmetric, so it does not depend on the signs and order of S's directions. Results are typically as long
        as the features.

        Args:
            shrinkage: s, from 0 (S alone) to 1 (centring alone).
            size: Keep so many dimensions: those in which class means differ the most after W. None: all F.
            power: 1 makes all directions alike within classes; 0 leaves them as they are.

        Raises:
            DataError: A value is out of its range, or s = 0 and some directions have no variance.
        """
        weight = self.shrinkage(shrinkage)
        if size is not None and not 1 <= size <= self.features:
            text = f"size must be from 1 to {self.features:,}, the number of features, got {size:,}"
            raise DataError(text, code="out-of-range", parameter="size")
        if not (math.isfinite(power) and power >= 0):
            raise DataError(f"power must be 0 or more, got {power}", code="out-of-range")
        mean_variance = float(self.variances.sum()) / self.features
        present = int((self.variances > NO_VARIANCE * self.variances[0]).sum())
        if weight == 0 and power > 0 and present < self.features:
            raise DataError(
                f"{self.images:,} images vary within their classes in {present:,} of {self.features:,} directions: "
                "without shrinkage there is no whitening; take a shrinkage above 0, or more images",
                code="too-few-images",
            )
        along = ((1 - weight) * self.variances + weight * mean_variance) ** (-power / 2)
        across = (weight * mean_variance) ** (-power / 2) if self.variances.shape[0] < self.features else 0.0
        matrix = (self.vectors * (along - across)) @ self.vectors.T
        matrix.diagonal().add_(across)
        if size is not None and size < self.features:
            matrix = self._directions(matrix, self.variances * along.square(), size) @ matrix
        return as_long_as(AffineProjection(self.mean, matrix), self.sample)

    def _directions(self, matrix: Tensor, variances: Tensor, size: int) -> Tensor:
        """Return (d, F) orthonormal rows: where whitened class means differ the most, then where images do.

        Args:
            matrix: (F, F), the whitening.
            variances: (r,) within classes after it, along the directions.
            size: d.
        """
        whitened = (self.class_means * self.counts.double().sqrt().unsqueeze(1)) @ matrix
        _, values, rows = torch.linalg.svd(whitened, full_matrices=False)
        rows = rows[values > NO_VARIANCE * values[0]][:size] if values[0] > 0 else rows[:0]
        if len(rows) < size:
            left = self.vectors * variances.sqrt()
            left = torch.cat([left.T - (left.T @ rows.T) @ rows, 0 * rows[:1]])
            covariance = left.T @ left
            covariance -= rows.T @ rows * (1 + float(covariance.diagonal().sum()))  # those that are taken come last
            _, vectors = torch.linalg.eigh(covariance)
            rows = torch.cat([rows, vectors.flip(1)[:, : size - len(rows)].T])
        largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
        signed: Tensor = rows * torch.where(largest < 0, -1.0, 1.0)
        return signed


def fit_within_class(
    features: Embeddings,
    labels: Labels,
    *,
    shrinkage: Shrinkage = 0.5,
    size: int | None = None,
    power: float = 1.0,
) -> AffineProjection:
    """Return the within-class whitening of features (N, F), as they are, with labels (N,).

    Raises:
        DataError: As `WithinClass.of` and `WithinClass.projection`.
    """
    return WithinClass.of(features, labels).projection(shrinkage, size, power)


def _checked(features: Embeddings, labels: Labels) -> tuple[Tensor, Tensor]:
    """Return features and the numbers of their classes. Raises DataError where they cannot be used."""
    rows, names = finite_rows(features), as_labels(labels, "labels")
    if len(rows) != len(names):
        raise DataError(f"{len(rows):,} features have {len(names):,} labels", code="wrong-shape", parameter="labels")
    return rows, torch.from_numpy(np.unique(names, return_inverse=True)[1].reshape(-1).astype(np.int64))


def _decompose(rows: Tensor, classes: Tensor, means: Tensor, members: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return directions (F, r) and variances (r,) within classes, and the sum of fourth powers of the deviations."""

    def deviations(part: Tensor) -> Tensor:
        return rows[part.to(rows.device)].cpu().double() - means[classes[part]]

    if len(members) < rows.shape[1]:
        few = deviations(members)
        _, singular, directions = torch.linalg.svd(few, full_matrices=False)
        fourth = float(few.square().sum(1).square().sum())
        return directions.T.contiguous(), singular.square() / max(len(members), 1), fourth
    covariance = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    fourth = 0.0
    for part in members.split(BLOCK):
        block = deviations(part)
        covariance += block.T @ block
        fourth += float(block.square().sum(1).square().sum())
    variances, vectors = torch.linalg.eigh(covariance / len(members))
    return vectors.flip(1), variances.flip(0).clamp_min(0), fourth
