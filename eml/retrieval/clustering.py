"""Agreement of k-means clusters with the classes: NMI and AMI. It is slow, and computed only on request."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError
from eml.retrieval.arrays import Integers

SEED = 28
SHOWN = {"nmi": "NMI", "ami": "AMI"}
"""Name of a value of `clustering` → its name in tables."""
FULL_WORK = 1 << 32
"""Images × clusters × dimensions of one round above which k-means uses mini-batches."""


def clustering(embeddings: NDArray[np.float32], labels: Integers, seed: int = SEED) -> dict[str, float]:
    """Compute nmi and ami of k-means with as many clusters as classes, over all images, classes of one image included.

    nmi: I(class; cluster) / ½(H(class) + H(cluster)), with the arithmetic mean as in scikit-learn and in Oh Song 2016
    (arXiv:1511.06452); some older papers use the geometric mean, which is larger. It grows with the number of clusters
    even for random ones. ami: the same with the value expected by chance subtracted, 0 for random clusters (Vinh 2010,
    JMLR 11). Both are in [0, 1]; ami may be slightly below 0.

    k-means++ with one start; mini-batches (Sculley 2010) above `FULL_WORK`, with a slightly lower NMI. A run with
    10,000 clusters takes minutes.

    Args:
        embeddings: (N, D) of unit length.
        labels: (N,) integers.
        seed: Of k-means.

    Raises:
        DataError: Embeddings are NaN or infinite, or there are fewer than two classes.
    """
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

    if not np.isfinite(embeddings).all():
        bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
        raise DataError(f"{bad} embeddings are NaN or infinite", code="invalid-embeddings")
    classes = len(np.unique(labels))
    if classes < 2:
        text = f"clustering needs two classes or more; there is {classes}"
        raise DataError(text, code="too-few-classes", parameter="clustering")
    clusters = _k_means(embeddings, classes, seed).fit_predict(embeddings)
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters, average_method="arithmetic")),
        "ami": float(adjusted_mutual_info_score(labels, clusters, average_method="arithmetic")),
    }


def _k_means(embeddings: NDArray[np.float32], clusters: int, seed: int) -> Any:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if embeddings.size * clusters <= FULL_WORK:
        return KMeans(clusters, n_init=1, random_state=seed)
    return MiniBatchKMeans(clusters, n_init=1, batch_size=max(4096, 2 * clusters), random_state=seed)
