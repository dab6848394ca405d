"""Principal components of embeddings: projection to fewer dimensions, with whitening or without."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.affine import MOST_SAMPLES, AffineProjection, as_long_as, finite_rows, spaced_rows
from eml.retrieval.arrays import Embeddings
from eml.retrieval.similarity import UnitRows

NO_VARIANCE = 1e-9  # of the largest variance: components below it are rounding


@dataclass(frozen=True)
class Pca:
    """x′ = diag(1/√λ) Pᵀ (x − mean) / ‖…‖ with whitening. Jégou & Chum 2012, section 3.2 (PCA, whitening, new norm).

    Attributes:
        mean: (D,) float64 mean of the unit vectors that it was learnt from.
        components: (d, D) float64 orthonormal rows, those of the most variance first.
        variances: (d,) float64 variance along each, λ.
        whiten: Whether each component is divided by its standard deviation √λ, or by a power of it.
        power: p of λ^(−p/2), by which components are multiplied if they are whitened: 1 divides by the standard
            deviation, ½ by its root.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    whiten: bool = True
    power: float = 1.0

    @property
    def size(self) -> int:
        """The number of components d."""
        return len(self.components)

    def truncated(self, size: int) -> "Pca":
        """Return the projection to the first `size` components alone."""
        return Pca(self.mean, self.components[:size], self.variances[:size], self.whiten, self.power)

    def with_power(self, power: float) -> "Pca":
        """Return the projection whose components are multiplied by λ^(−power/2).

        Raises:
            DataError: The power is below 0.
        """
        if not (math.isfinite(power) and power >= 0):
            raise DataError(f"power must be 0 or more, got {power}", code="out-of-range")
        return Pca(self.mean, self.components, self.variances, power > 0, power)

    def matrix(self) -> Tensor:
        """Return (d, D), the components, divided by their standard deviations if they are whitened."""
        if not self.whiten:
            return self.components
        return self.components / (self.variances ** (self.power / 2)).unsqueeze(1)

    def affine(self) -> AffineProjection:
        """Return it as a map of embeddings of unit length, z = M (x − mean)."""
        return AffineProjection(self.mean, self.matrix())

    def transform(self, embeddings: Embeddings) -> Tensor:
        """Return (N, d) float32 unit vectors of embeddings (N, D), of any length but 0."""
        rows, matrix = UnitRows(embeddings, "image"), self.matrix()
        parts = [
            torch.nn.functional.normalize(
                (rows.exactly(slice(first, first + 1024)).cpu() - self.mean) @ matrix.T
            ).float()
            for first in range(0, len(rows), 1024)
        ]
        return torch.cat(parts) if parts else torch.empty(0, self.size)


def fit_pca(embeddings: Embeddings, size: int | None = None, *, whiten: bool = True) -> Pca:
    """Learn the principal components of embeddings (N, D), of any length but 0, which are scaled to length 1 first.

    Args:
        embeddings: At least 2, as a rule those of training images.
        size: Number of components d; by default all that have variance, at most D and N − 1.
        whiten: Whether `transform` divides each component by its standard deviation.

    Raises:
        DataError: There are fewer components with variance than `size`.
    """
    rows = UnitRows(embeddings, "image")
    return Pca(*_components(rows.exactly, len(rows), rows.size, size), whiten)


def fit_pca_projection(features: Embeddings, size: int | None = None, *, power: float = 0.5) -> AffineProjection:
    """Learn principal components of features (N, F) as they are, whatever their lengths, as a map of such features.

    It can be part of a linear neck, which `fit_pca` cannot, since that brings embeddings to length 1 first. The results
    are typically as long as the features.

    Args:
        features: At least 2.
        size: Number of components d; by default all that have variance.
        power: p of λ^(−p/2), by which each component is multiplied: 0 leaves them, 1 whitens.

    Raises:
        DataError: There are fewer components with variance than `size`, the features are NaN or infinite, or the power
            is below 0.
    """
    rows = finite_rows(features)
    components = _components(lambda part: rows[part].cpu().double(), len(rows), rows.shape[1], size)
    projection = Pca(*components).with_power(power).affine()
    sample = rows[spaced_rows(len(rows), MOST_SAMPLES).to(rows.device)].cpu().double()
    return as_long_as(projection, sample)


def _components(
    read: Callable[[slice], Tensor], count: int, width: int, size: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, components and variances of the rows (n, width) float64 that `read` gives."""
    if count < 2:
        raise DataError(f"principal components need 2 embeddings or more, got {count}", code="too-few-images")
    blocks = [slice(first, min(first + 1024, count)) for first in range(0, count, 1024)]
    mean = torch.stack([read(block).sum(0) for block in blocks]).sum(0) / count
    covariance = torch.zeros(width, width, dtype=torch.float64, device=mean.device)
    for block in blocks:
        centred = read(block) - mean
        covariance += centred.T @ centred
    variances, vectors = torch.linalg.eigh(covariance / (count - 1))
    variances, vectors = variances.flip(0), vectors.flip(1)
    present = int((variances > NO_VARIANCE * variances[0]).sum()) if variances[0] > 0 else 0
    if not 0 < (number := present if size is None else size) <= present:
        raise DataError(
            f"{count:,} embeddings of {width} numbers have {present} components with variance, and "
            f"{number} are asked for; take fewer, or more images to learn from",
            code="too-few-images",
            parameter="size",
        )
    return mean.cpu(), vectors[:, :number].T.contiguous().cpu(), variances[:number].cpu()
