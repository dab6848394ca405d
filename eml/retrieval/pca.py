"""Principal components of embeddings: projection to fewer dimensions, with whitening or without."""

from dataclasses import dataclass

import torch
from torch import Tensor

from eml.errors import DataError
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
        whiten: Whether each component is divided by its standard deviation √λ.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    whiten: bool = True

    @property
    def size(self) -> int:
        """The number of components d."""
        return len(self.components)

    def truncated(self, size: int) -> "Pca":
        """Return the projection to the first `size` components alone."""
        return Pca(self.mean, self.components[:size], self.variances[:size], self.whiten)

    def matrix(self) -> Tensor:
        """Return (d, D), the components, divided by their standard deviations if they are whitened."""
        return self.components / self.variances.sqrt().unsqueeze(1) if self.whiten else self.components

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
    if len(rows) < 2:
        raise DataError(f"principal components need 2 embeddings or more, got {len(rows)}", code="too-few-images")
    blocks = range(0, len(rows), 1024)
    mean = torch.stack([rows.exactly(slice(first, first + 1024)).sum(0) for first in blocks]).sum(0) / len(rows)
    covariance = torch.zeros(rows.size, rows.size, dtype=torch.float64, device=mean.device)
    for first in blocks:
        centred = rows.exactly(slice(first, first + 1024)) - mean
        covariance += centred.T @ centred
    variances, vectors = torch.linalg.eigh(covariance / (len(rows) - 1))
    variances, vectors = variances.flip(0), vectors.flip(1)
    present = int((variances > NO_VARIANCE * variances[0]).sum()) if variances[0] > 0 else 0
    if not 0 < (count := present if size is None else size) <= present:
        raise DataError(
            f"{len(rows):,} embeddings of {rows.size} numbers have {present} components with variance, and "
            f"{count} are asked for; take fewer, or more images to learn from",
            code="too-few-images",
            parameter="size",
        )
    return Pca(mean.cpu(), vectors[:, :count].T.contiguous().cpu(), variances[:count].cpu(), whiten)
