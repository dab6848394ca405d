"""How well k-means finds the classes again: NMI and AMI. Slow, and off unless asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError

SEED = 28
SHOWN = {"nmi": "NMI", "ami": "AMI"}
"""What the values of `clustering` are called in tables."""
FULL_WORK = 1 << 32
"""Above so many images × clusters × dimensions a round, k-means goes by mini-batches."""


def clustering(embeddings: NDArray[np.float32], labels: NDArray[np.int64], seed: int = SEED) -> dict[str, float]:
    """nmi and ami of k-means with as many clusters as there are classes, over all images, singletons too.

    nmi: I(class; cluster) / ½(H(class) + H(cluster)), the arithmetic mean as scikit-learn has it (Oh Song 2016,
    arXiv:1511.06452, takes the same; some older papers the geometric mean, which is larger). It grows with
    the number of clusters even for random ones. ami: the same less what chance gives, 0 for random clusters (Vinh
    2010, JMLR 11). Both in [0, 1], ami slightly below 0 at worst. embeddings: (N, D) of unit length.

    k-means++ with one start and the seed; mini-batches (Sculley 2010) where `FULL_WORK` is exceeded, whose NMI is a
    little lower. A run with 10,000 clusters takes minutes. Raises DataError for NaN and for fewer than two classes.
    """
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

    if not np.isfinite(embeddings).all():
        raise DataError(f"{int((~np.isfinite(embeddings).all(axis=1)).sum())} embeddings are NaN or infinite")
    classes = len(np.unique(labels))
    if classes < 2:
        raise DataError(f"clustering needs two classes or more; there is {classes}")
    found = _k_means(embeddings, classes, seed).fit_predict(embeddings)
    return {
        "nmi": float(normalized_mutual_info_score(labels, found, average_method="arithmetic")),
        "ami": float(adjusted_mutual_info_score(labels, found, average_method="arithmetic")),
    }


def _k_means(embeddings: NDArray[np.float32], clusters: int, seed: int) -> Any:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if embeddings.size * clusters <= FULL_WORK:
        return KMeans(clusters, n_init=1, random_state=seed)
    return MiniBatchKMeans(clusters, n_init=1, batch_size=max(4096, 2 * clusters), random_state=seed)
