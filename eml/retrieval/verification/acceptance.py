"""Measure what a threshold on the cosine accepts and refuses of an open set."""

from typing import Any

import numpy as np
import torch

from eml.retrieval.arrays import Booleans
from eml.retrieval.verification.crossed_pairs import count_crossed_pairs_at
from eml.retrieval.verification.open_set import OpenSet, find_answers
from eml.retrieval.verification.pair_counts import count_pairs_at


def measure_acceptance(data: OpenSet, threshold: float) -> dict[str, Any]:
    """Measure what a threshold accepts and refuses.

    Args:
        data: The images, their labels any integers.
        threshold: A cosine; an answer or a pair is accepted from it upwards.

    Returns:
        threshold, and rates in [0, 1], None for a share of nothing. accepted: share of the known queries whose nearest
        image is accepted. precision: share of the accepted ones that are right. recognised: share of the known queries
        that are accepted and right. false_accept_rate: share of the unknown queries that are accepted.
        pair_true_accept_rate, pair_false_accept_rate: share of all pairs of images of the same class, and of different
        classes, that are accepted; of a gallery of another model, a pair is an image by the one and an image by the
        other. known_queries, unknown_queries, same_pairs, different_pairs: how many there are.
        With images of unknown identity also unknown_identity_accepted, the share of these queries alone that are
        accepted, and unknown_identity_queries, their number. They are in no pair.

    Raises:
        DataError: Embeddings are NaN, infinite or zero.
    """
    paired = np.ones(len(data.labels), bool) if data.unknown is None else ~data.unknown
    answers = find_answers(data)
    rows, labels = torch.from_numpy(paired), data.labels[paired]
    if data.gallery_embeddings is None:
        pairs = count_pairs_at(data.embeddings[rows], labels, threshold)
    else:
        pairs = count_crossed_pairs_at(data.embeddings[rows], data.gallery_embeddings[rows], labels, threshold)
    known, unknown = answers.known, answers.nearest_other_class > -np.inf
    accepted = known & (answers.top >= threshold)
    rates = {
        "threshold": threshold,
        "accepted": _share(accepted, known),
        "precision": _share(accepted & answers.right, accepted),
        "recognised": _share(accepted & answers.right, known),
        "false_accept_rate": _share(unknown & (answers.nearest_other_class >= threshold), unknown),
        "pair_true_accept_rate": pairs.same / pairs.all_same if pairs.all_same else None,
        "pair_false_accept_rate": pairs.different / pairs.all_different if pairs.all_different else None,
        "known_queries": int(known.sum()),
        "unknown_queries": int(unknown.sum()),
        "same_pairs": pairs.all_same,
        "different_pairs": pairs.all_different,
    }
    if data.unknown is not None and (strangers := unknown & data.unknown[data.queries]).any():
        rates["unknown_identity_accepted"] = _share(strangers & (answers.top >= threshold), strangers)
        rates["unknown_identity_queries"] = int(strangers.sum())
    return rates


def _share(part: Booleans, whole: Booleans) -> float | None:
    return float(part.sum() / whole.sum()) if whole.any() else None
