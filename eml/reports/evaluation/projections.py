"""Projections of embeddings on a plane: principal components, t-SNE or UMAP."""

import importlib.util
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eml.errors import ConfigError

Floats = NDArray[np.float64]
ProjectionName = Literal["pca", "tsne", "umap"]

TITLES: dict[ProjectionName, str] = {"pca": "principal components", "tsne": "t-SNE", "umap": "UMAP"}
SEED = 28
PERPLEXITY, NEIGHBOURS = 30, 15  # images that t-SNE and UMAP take for the neighbourhood of one
COMPONENTS = 50  # that t-SNE and UMAP see: more only add noise and time


def check_projection(kind: ProjectionName) -> None:
    """Check before the work that a projection can be computed.

    Raises:
        ConfigError: Its package is not installed.
    """
    spec = importlib.util.find_spec("umap") if kind == "umap" else None
    if kind == "umap" and (spec is None or spec.origin is None):  # a folder of that name is no package
        raise ConfigError(
            "the map by UMAP needs the umap-learn package: pip install 'easy-metric-learning[umap]'; t-SNE needs none",
            code="missing-package",
            parameter="map",
        )


def project(vectors: Floats, kind: ProjectionName) -> tuple[Floats, float]:
    """Project vectors on a plane, the same way each time.

    Args:
        vectors: (N, D) of unit length, N ≥ 3, D ≥ 2, not all equal.
        kind: The projection.

    Returns:
        (N, 2), and the share of the variance along the first two principal components.
    """
    from sklearn.decomposition import PCA

    fitted = PCA(min(COMPONENTS if kind != "pca" else 2, *vectors.shape), svd_solver="randomized", random_state=SEED)
    components: Floats = fitted.fit_transform(vectors)
    variance = float(fitted.explained_variance_ratio_[:2].sum())
    if kind == "tsne":
        return _tsne(components), variance
    if kind == "umap":
        return _umap(components), variance
    return components[:, :2], variance


def _tsne(components: Floats) -> Floats:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(float(PERPLEXITY), (len(components) - 1) / 3)
    with threadpool_limits(1):  # its threads wait for one another thousands of times, for minutes on a busy machine
        plane: Any = TSNE(2, perplexity=perplexity, init="pca", random_state=SEED).fit_transform(components)
    return np.asarray(plane, np.float64)


def _umap(components: Floats) -> Floats:
    import umap

    neighbours = min(NEIGHBOURS, len(components) - 1)
    start = components[:, :2] * (10 / max(float(np.abs(components[:, :2]).max()), 1e-9))
    plane: Any = umap.UMAP(
        n_neighbors=neighbours, init=start.astype(np.float32), random_state=SEED, n_jobs=1
    ).fit_transform(components)
    return np.asarray(plane, np.float64)
