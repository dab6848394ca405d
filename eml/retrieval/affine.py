"""An affine map of embeddings, z = M (x − mean): what PCA and within-class whitening learn, and a linear neck holds."""

from dataclasses import dataclass

import torch
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Embeddings, as_embeddings

BLOCK = 4096  # rows that are mapped at once, in float64
MOST_SAMPLES = 1024  # images by which the length of the results is set


@dataclass(frozen=True)
class AffineProjection:
    """z = M (x − mean), of features as they are, whatever their length.

    Attributes:
        mean: (F,) float64, subtracted first.
        matrix: (d, F) float64.
    """

    mean: Tensor
    matrix: Tensor

    @property
    def size(self) -> int:
        """The number of dimensions d of what it returns."""
        return len(self.matrix)

    @property
    def bias(self) -> Tensor:
        """(d,) float64, by which it is z = M x + bias."""
        return -(self.matrix @ self.mean)

    def apply(self, features: Embeddings) -> Tensor:
        """Return (N, d) float64 of features (N, F), not brought to unit length.

        Raises:
            DataError: They are no matrix of real numbers with F columns.
        """
        rows = as_embeddings(features, "image")
        if rows.shape[1] != len(self.mean):
            text = f"the projection is of {len(self.mean):,} numbers, and the features have {rows.shape[1]:,}"
            raise DataError(text, code="wrong-shape")
        parts = [(part.cpu().double() - self.mean) @ self.matrix.T for part in rows.split(BLOCK)]
        return torch.cat(parts) if parts else torch.empty(0, self.size, dtype=torch.float64)

    def transform(self, features: Embeddings) -> Tensor:
        """Return (N, d) float32 unit vectors of features (N, F).

        Raises:
            DataError: They are no matrix of real numbers with F columns.
        """
        return torch.nn.functional.normalize(self.apply(features)).float()

    def scaled(self, factor: float) -> "AffineProjection":
        """Return the map whose results are so many times as long; their directions stay."""
        return AffineProjection(self.mean, self.matrix * factor)


def spaced_rows(count: int, most: int) -> Tensor:
    """Return at most so many of `count` positions, evenly spaced and in order."""
    return torch.arange(count) if count <= most else torch.arange(most) * count // most


def as_long_as(projection: AffineProjection, sample: Tensor) -> AffineProjection:
    """Return the projection, scaled so that its results are typically as long as a sample of features (n, F) float64.

    Typical is the root mean square.
    """
    typical = float(projection.apply(sample).square().sum(1).mean().sqrt())
    return projection.scaled(float(sample.square().sum(1).mean().sqrt()) / typical if typical > 0 else 1.0)


def finite_rows(features: Embeddings) -> Tensor:
    """Return features (N, F) as a tensor on their device.

    Raises:
        DataError: They are no matrix of real numbers, there are none, or some are NaN or infinite.
    """
    rows = as_embeddings(features, "image")
    if not len(rows) or not rows.shape[1]:
        raise DataError("there are no features to learn from", code="too-few-images")
    bad = [not bool(part.isfinite().all()) for part in rows.split(BLOCK)]
    if any(bad):
        first = bad.index(True) * BLOCK
        row = first + int((~rows[first : first + BLOCK].isfinite().all(1)).nonzero()[0])
        raise DataError(f"features are NaN or infinite, first: row {row}", code="invalid-embeddings")
    return rows
