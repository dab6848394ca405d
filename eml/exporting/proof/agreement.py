"""Two models' embeddings of the same images, compared: how far an image moves, and whether it finds the same images."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize as unit_length

from eml.evaluation.evaluate import rank_gallery
from eml.evaluation.retrieval_set import RetrievalSet
from eml.exporting.proof.record import TOP, ProvedMetric
from eml.retrieval.chance import chance_of_map_at_r, chance_of_recall
from eml.retrieval.metrics import Summary, summarise
from eml.retrieval.search import nearest
from eml.retrieval.statistics import Difference, as_pair, paired

METRICS = ("recall_at_1", "map_at_r")
LEAST_LENGTH = 1e-6
"""An embedding below this length has no direction."""


@dataclass(frozen=True)
class Agreement:
    """Embeddings (N, D) of N images by two models, compared.

    Attributes:
        cosine: (N,) between the two embeddings of each image.
        difference: (N,) length of the difference of both, brought to unit length.
        typical_distance: Median distance of two different images by the reference, of unit length.
        lengths: (N,) of the exported embeddings as they are.
        top_10: (N,) share of the 10 nearest images of the reference that are so by the exported model too; empty where
            there are no more images than that.
        metrics: Metric → both values, with the paired interval.
        summaries: The retrieval of the reference and of the exported model.
    """

    cosine: NDArray[np.float64]
    difference: NDArray[np.float64]
    typical_distance: float
    lengths: NDArray[np.float64]
    top_10: NDArray[np.float64]
    metrics: dict[str, ProvedMetric]
    summaries: tuple[Summary, Summary]


def shape_problem(reference: Tensor, exported: Tensor) -> str:
    """Return why embeddings (N, D) cannot be compared with the reference's; empty: they can be."""
    if exported.shape != reference.shape:
        return f"it gives embeddings of shape {tuple(exported.shape)}, and the checkpoint {tuple(reference.shape)}"
    finite = torch.isfinite(exported).all(1)
    if not finite.all():
        count = int((~finite).sum())
        return f"{count:,} of {len(finite):,} embeddings hold NaN or infinite numbers"
    short = exported.double().norm(dim=1) < LEAST_LENGTH
    return f"{int(short.sum()):,} of {len(short):,} embeddings are zero" if short.any() else ""


def compare_embeddings(reference: Tensor, exported: Tensor, retrieval: RetrievalSet) -> Agreement:
    """Compare finite embeddings (N, D), none of them zero, of the images of a retrieval set by two models."""
    before, after = (unit_length(embeddings.double(), dim=1) for embeddings in (reference, exported))
    difference = (before - after).norm(dim=1)
    top = nearest_of_each(before), nearest_of_each(after)
    shared = [len(set(first) & set(second)) / TOP for first, second in zip(*top, strict=True)]
    summaries = (summarise(rank_gallery(before, retrieval)), summarise(rank_gallery(after, retrieval)))
    return Agreement(
        cosine=(before * after).sum(1).clamp(-1, 1).numpy(),
        difference=difference.numpy(),
        typical_distance=float(torch.pdist(before).median()),
        lengths=exported.double().norm(dim=1).numpy(),
        top_10=np.array(shared if len(before) > TOP + 1 else [], np.float64),
        metrics=_metrics(*summaries, retrieval),
        summaries=summaries,
    )


def nearest_of_each(embeddings: Tensor, count: int = TOP) -> NDArray[np.int64]:
    """Return (N, count) the nearest other images of each, best first."""
    rows = np.arange(len(embeddings))
    return nearest(embeddings, embeddings, count, itself=rows).indices


def largest_difference(reference: Tensor, exported: Tensor) -> tuple[float, float]:
    """Return the least cosine and the length of the largest difference of embeddings (N, D) of the same images."""
    before, after = (unit_length(embeddings.double(), dim=1) for embeddings in (reference, exported))
    cosine = (before * after).sum(1).clamp(-1, 1)
    return float(cosine.min()), float((before - after).norm(dim=1).max())


def _metrics(before: Summary, after: Summary, retrieval: RetrievalSet) -> dict[str, ProvedMetric]:
    classes = retrieval.labels[retrieval.queries]
    differences = paired(
        {name: before.per_query[name] for name in METRICS}, {name: after.per_query[name] for name in METRICS}, classes
    )
    positives = np.bincount(classes)[classes] - 1
    gallery = len(classes) - 1
    chance = {
        "recall_at_1": chance_of_recall(positives, gallery, 1),
        "map_at_r": chance_of_map_at_r(positives, gallery),
    }
    return {name: _proved(difference, chance[name]) for name, difference in differences.items()}


def _proved(difference: Difference, chance: float) -> ProvedMetric:
    low, high = (None, None) if difference.alike else as_pair(difference.interval)
    return ProvedMetric(
        reference=difference.before,
        exported=difference.after,
        low=low,
        high=high,
        alike=difference.alike,
        chance=chance,
    )
