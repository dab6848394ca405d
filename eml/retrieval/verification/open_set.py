"""Answers of a gallery that may be refused: the nearest image counts only if its cosine is at least a threshold.

A known query has a positive (another image of its class) in the gallery. As an unknown query it is asked once more
with all of its class taken out of the gallery, so that whatever is accepted is wrong. Queries of classes with one
image are unknown only. Copies of an image are images. Terms as in ISO/IEC 19795-1 and Phillips 2011 (Handbook of
Face Recognition, ch. 21): what is accepted of unknown queries is the false-positive identification rate.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.retrieval.verification.pair_rates import pairs_at_least, unit_length

QUERIES, BLOCK = 512, 8192
"""Queries and gallery images compared at once: 16 MiB in float32, some 80 MiB with what is needed to tell classes."""

LISTED = 48
"""Classes kept of each query: in a quarter of the classes, drawn at random, there is one of them but once in 10⁶."""


@dataclass(frozen=True)
class Answers:
    """Of each query: the cosine of its nearest positive, and of the nearest image of another class; −inf: none.

    right: (Q,) whether the nearest of all is a positive; equal cosines go by gallery index, as everywhere.
    """

    positive: NDArray[np.float32]
    stranger: NDArray[np.float32]
    right: NDArray[np.bool_]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(Q,) whether it has a positive."""
        return self.positive > -np.inf

    @property
    def top(self) -> NDArray[np.float32]:
        """(Q,) cosine of the nearest of all."""
        return np.maximum(self.positive, self.stranger)


def answers(
    embeddings: Tensor,
    labels: NDArray[np.int64],
    queries: NDArray[np.int64] | None = None,
    gallery: NDArray[np.int64] | None = None,
    *,
    groups: NDArray[np.int64] | None = None,
    within: NDArray[np.int64] | None = None,
) -> Answers:
    """The nearest of its own and of another class for each query, exactly, in tiles.

    embeddings: (N, D), labels: (N,); queries, gallery: positions among them, by default all (leave-one-out). An image
    is never its own answer. groups: (N,), −1 for none: gallery images of the query's class and group do not count.
    within: (N,): only gallery images of the query's value count. Raises DataError for NaN, infinite or zero
    embeddings.
    """
    unit = unit_length(embeddings)
    everyone = np.arange(len(labels))
    asking = torch.tensor(everyone if queries is None else queries)
    asked = torch.tensor(everyone if gallery is None else gallery)
    facts = [None if each is None else torch.tensor(each) for each in (labels, groups, within)]
    found = [_nearest_of_both(unit, facts, some, asked) for some in asking.split(QUERIES)]
    positive, stranger, right = (torch.cat([each[place] for each in found]).cpu().numpy() for place in range(3))
    return Answers(positive, stranger, right)


def _nearest_of_both(
    unit: Tensor, facts: list[Tensor | None], asking: Tensor, asked: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    labels, groups, within = facts
    assert labels is not None
    best = torch.full((2, len(asking)), -torch.inf, dtype=unit.dtype)
    place = torch.zeros(2, len(asking), dtype=torch.int64)
    for first in range(0, len(asked), BLOCK):
        block = asked[first : first + BLOCK]
        similarity = unit[asking] @ unit[block].T  # (T, B)
        same = labels[asking, None] == labels[block]
        similarity.masked_fill_(asking[:, None] == block, -torch.inf)
        if groups is not None:
            together = (groups[asking, None] == groups[block]) & (groups[block] >= 0)
            similarity.masked_fill_(same & together, -torch.inf)
        if within is not None:
            similarity.masked_fill_(within[asking, None] != within[block], -torch.inf)
        for kind, other in enumerate((~same, same)):
            values, places = similarity.masked_fill(other, -torch.inf).max(1)
            better = values > best[kind]
            best[kind], place[kind] = best[kind].maximum(values), torch.where(better, places + first, place[kind])
    positive, stranger = best
    right = (positive > stranger) | ((positive == stranger) & (positive > -torch.inf) & (place[0] < place[1]))
    return positive, stranger, right


@dataclass(frozen=True)
class NearestClasses:
    """Of each query the classes nearest to it, its own aside: cosine of the nearest image of each, descending.

    similarity: (Q, L), −inf where there are fewer classes; code: (Q, L) their labels. L is `LISTED`, or one less than
    there are classes.
    """

    similarity: NDArray[np.float32]
    code: NDArray[np.int64]

    def among(self, number: NDArray[np.int64]) -> "NearestClasses":
        """Those that are left when only some classes are there. number: (classes,) their new labels, −1: not there."""
        there = (number[self.code] >= 0) & (self.similarity > -np.inf)
        order = np.argsort(~there, axis=1, kind="stable")
        left = np.where(there, self.similarity, np.float32(-np.inf))
        return NearestClasses(*(np.take_along_axis(each, order, 1) for each in (left, number[self.code])))


@dataclass(frozen=True)
class Asked(Answers):
    """Queries and what answers them. code: (Q,) their labels, 0…classes−1; near: what comes after the stranger too."""

    code: NDArray[np.int64]
    classes: int
    near: NearestClasses

    def among(self, codes: NDArray[np.int64]) -> "Asked":
        """Queries and gallery of some classes alone, which are numbered anew in the order given."""
        number = np.full(self.classes, -1)
        number[codes] = np.arange(len(codes))
        kept = np.flatnonzero(number[self.code] >= 0)
        near = NearestClasses(self.near.similarity[kept], self.near.code[kept]).among(number)
        positive, stranger = self.positive[kept], near.similarity[:, 0]
        right = (positive > stranger) | ((positive == stranger) & self.right[kept])
        return Asked(positive, stranger, right, number[self.code[kept]], len(codes), near)


def asked(
    embeddings: Tensor,
    labels: NDArray[np.int64],
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
    within: NDArray[np.int64] | None = None,
) -> Asked:
    """Both searches, `answers` and `nearest_classes`, of the same queries. labels: (N,) 0…C−1, C at least 2."""
    found = answers(embeddings, labels, queries, gallery, groups=groups, within=within)
    near = nearest_classes(embeddings, labels, queries, gallery, within=within)
    stranger = near.similarity[:, 0]  # of the search that `Asked.among` goes by
    return Asked(found.positive, stranger, found.right, labels[queries], int(labels.max()) + 1, near)


def nearest_classes(
    embeddings: Tensor,
    labels: NDArray[np.int64],
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
    *,
    within: NDArray[np.int64] | None = None,
) -> NearestClasses:
    """What `answers` calls stranger, and those that come next if that class is not there. labels: (N,) 0…C−1.

    Groups play no part, since they are about images of the query's class.
    """
    unit, classes = unit_length(embeddings), int(labels.max()) + 1
    codes, some = torch.tensor(labels), None if within is None else torch.tensor(within)
    asking, asked, count = torch.tensor(queries), torch.tensor(gallery), min(LISTED, classes - 1)
    found = []
    for tile in asking.split(max(1, min(QUERIES, BLOCK * QUERIES // classes))):
        best = torch.full((len(tile), classes), -torch.inf, dtype=unit.dtype)
        for block in asked.split(BLOCK):
            similarity = unit[tile] @ unit[block].T
            if some is not None:
                similarity.masked_fill_(some[tile, None] != some[block], -torch.inf)
            best.scatter_reduce_(1, codes[block].expand(len(tile), -1), similarity, "amax")
        best[torch.arange(len(tile)), codes[tile]] = -torch.inf
        found.append(best.topk(count, dim=1))
    similarities, nearest = (torch.cat([each[place] for each in found]).numpy() for place in range(2))
    return NearestClasses(similarities, nearest)


def acceptance(
    embeddings: Tensor,
    labels: NDArray[np.int64],
    threshold: float,
    queries: NDArray[np.int64] | None = None,
    gallery: NDArray[np.int64] | None = None,
    *,
    groups: NDArray[np.int64] | None = None,
    within: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """What a threshold accepts and refuses of a set; arguments as of `answers`.

    accepted: share of known queries whose nearest is accepted. precision: share of those accepted that are right (None:
    nothing is accepted). recognised: share of known queries that are accepted and right. false_accept_rate: share of
    unknown queries accepted. pair_true_accept_rate, pair_false_accept_rate: of all two images of the same class, of
    different ones. known_queries, unknown_queries, same_pairs, different_pairs: how many there are; a share of none is
    None.
    """
    found = answers(embeddings, labels, queries, gallery, groups=groups, within=within)
    known, unknown = found.known, found.stranger > -np.inf
    accepted = known & (found.top >= threshold)
    pairs = pairs_at_least(embeddings, labels, threshold)
    return {
        "threshold": threshold,
        "accepted": _share(accepted, known),
        "precision": _share(accepted & found.right, accepted),
        "recognised": _share(accepted & found.right, known),
        "false_accept_rate": _share(unknown & (found.stranger >= threshold), unknown),
        "pair_true_accept_rate": pairs.same / pairs.all_same if pairs.all_same else None,
        "pair_false_accept_rate": pairs.different / pairs.all_different if pairs.all_different else None,
        "known_queries": int(known.sum()),
        "unknown_queries": int(unknown.sum()),
        "same_pairs": pairs.all_same,
        "different_pairs": pairs.all_different,
    }


def _share(some: NDArray[np.bool_], of: NDArray[np.bool_]) -> float | None:
    return float(some.sum() / of.sum()) if of.any() else None
