"""Answers whose truth is known: every query once with the images of its class in the gallery, once without them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.class_answers import (
    NEIGHBOURS,
    RANKED,
    TEMPERATURE,
    ClassAnswers,
    Method,
    RankedClasses,
    rank_classes,
)
from eml.retrieval.products import product
from eml.retrieval.similarity import unit_length
from eml.retrieval.verification.open_set import OpenSet

MOST_QUERIES = 4000
"""Queries of a sample; of more, a random part of each class is taken."""
SEED = 28


class Scoring(NamedTuple):
    """The way in which classes are scored."""

    method: Method
    temperature: float


SCORINGS = (Scoring("nearest", 0.03), Scoring("nearest", 0.1), Scoring("centroids", TEMPERATURE))
"""The scorings that a calibration chooses from: the lower the temperature, the more the nearest image alone counts."""


@dataclass(frozen=True)
class AnswerSample:
    """Answers to K queries of known classes and U of unknown ones.

    Attributes:
        scoring: How classes were scored.
        known: The answers of queries whose class is in the gallery.
        right: (K,) whether the answer is right.
        second_right: (K,) whether the runner-up is.
        known_classes: (K,) classes of the queries; any integers.
        known_weights: (K,) how much each counts among the known ones.
        unknown: The answers of queries whose class is taken out of the gallery.
        unknown_classes: (U,) their classes, with the integers of `known_classes`.
        near_cosines: (K + U, NEIGHBOURS) cosines of the nearest images, −inf where there are fewer.
        near_same: (K + U, NEIGHBOURS) whether they are of the query's class.
        gallery_classes: The number of classes in the gallery.
        gallery_images: The number of images in the gallery.
    """

    scoring: Scoring
    known: ClassAnswers
    right: Booleans
    second_right: Booleans
    known_classes: Integers
    known_weights: Floats
    unknown: ClassAnswers
    unknown_classes: Integers
    near_cosines: Floats
    near_same: Booleans
    gallery_classes: int
    gallery_images: int


class OwnImages(NamedTuple):
    """The images of each query's class in the gallery.

    Attributes:
        score: (Q,) the class' score, −inf without images.
        cosines: (Q, NEIGHBOURS) cosines of the nearest ones, descending, −inf where there are fewer.
        number: (Q,) how many there are.
    """

    score: Floats
    cosines: Floats
    number: Integers


def sample_open_set(data: OpenSet, scoring: Scoring, seed: int = SEED) -> AnswerSample:
    """Answer the queries of a set by its own gallery.

    Args:
        data: The images, their labels 0…C−1; what a query is compared with is as in `OpenSet`.
        scoring: How classes are scored.
        seed: Of the draw of queries, if there are more than `MOST_QUERIES`.
    """
    labels = data.labels
    queries = data.queries[draw_queries(labels[data.queries], seed)]
    unit = unit_length(data.embeddings)
    own = find_own(queries, labels, lambda code: _own_gallery(data, queries, code), unit, scoring)
    ranked = _rank_others(data, unit, queries, scoring)
    strangers = np.zeros(len(queries), bool) if data.unknown is None else data.unknown[queries]
    own = own._replace(number=np.where(strangers, 0, own.number))
    gallery = labels[data.gallery]
    return join_own(scoring, ranked, own, labels[queries], len(np.unique(gallery)), len(gallery))


def draw_queries(labels: Integers, seed: int, most: int = MOST_QUERIES) -> Integers:
    """Return the positions of all queries, or of at most about `most`, the same number of each class where there are.

    Args:
        labels: (Q,) classes.
        seed: Of the draw.
        most: Their number.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    starts = np.unique(labels[by_class], return_index=True)[1]
    place = np.arange(len(labels)) - np.repeat(starts, np.diff([*starts, len(labels)]))
    chosen = np.argsort(place, kind="stable")[:most]
    return np.sort(by_class[chosen])


class OwnGallery(NamedTuple):
    """The images (n,) that the m queries of a class are compared with, by position, and which each may use (m, n)."""

    positions: Integers
    allowed: Booleans


def _own_gallery(data: OpenSet, queries: Integers, code: int) -> OwnGallery:
    rows = queries[data.labels[queries] == code]
    positions = data.gallery[data.labels[data.gallery] == code]
    allowed = rows[:, None] != positions
    if data.groups is not None:
        allowed &= (data.groups[rows, None] != data.groups[positions]) | (data.groups[positions] < 0)
    if data.within is not None:
        allowed &= data.within[rows, None] == data.within[positions]
    return OwnGallery(positions, allowed)


def find_own(
    queries: Integers, labels: Integers, gallery_of: Callable[[int], OwnGallery], unit: Tensor, scoring: Scoring
) -> OwnImages:
    """Find what each query finds of its own class.

    Args:
        queries: (Q,) positions of the queries among the images.
        labels: (N,) classes of the images.
        gallery_of: Class → what its queries are compared with.
        unit: (N, D) unit vectors.
        scoring: How classes are scored.
    """
    count = len(queries)
    own = OwnImages(np.full(count, -np.inf), np.full((count, NEIGHBOURS), -np.inf), np.zeros(count, np.int64))
    for code in np.unique(labels[queries]).tolist():
        places = np.flatnonzero(labels[queries] == code)
        positions, allowed = gallery_of(code)
        if not allowed.any():
            continue
        images, askers = unit[torch.from_numpy(positions)].double(), unit[torch.from_numpy(queries[places])].double()
        cosines = product(askers, images).cpu().numpy()
        own.number[places] = allowed.sum(1)
        own.score[places] = _score(cosines, allowed, images, askers, scoring)
        nearest = -np.sort(-np.where(allowed, cosines, -np.inf), axis=1)[:, :NEIGHBOURS]
        own.cosines[places, : nearest.shape[1]] = nearest
    return own


def _score(cosines: Floats, allowed: Booleans, images: Tensor, askers: Tensor, scoring: Scoring) -> Floats:
    """Return (m,) the score of a class for some queries (m, D), by the images (n, D) that each may use (m, n)."""
    count = allowed.sum(1)
    if scoring.method == "nearest":
        weights = np.exp((cosines - 1) / scoring.temperature) * allowed
        with np.errstate(divide="ignore"):
            score: Floats = 1 + scoring.temperature * np.log(weights.sum(1) / np.maximum(1, count))
        return score
    sums = torch.from_numpy(allowed.astype(np.float64)) @ images.cpu()
    lengths = torch.linalg.vector_norm(sums, dim=1).clamp_min(1e-12)
    score = ((sums * askers.cpu()).sum(1) / lengths).numpy()
    return np.where(count > 0, score, -np.inf)


def _rank_others(data: OpenSet, unit: Tensor, queries: Integers, scoring: Scoring) -> RankedClasses:
    """Rank the other classes of each query, of those images that it is compared with."""
    within = np.zeros(len(data.labels), np.int64) if data.within is None else data.within
    unknown = np.zeros(len(data.labels), bool) if data.unknown is None else data.unknown
    parts, order = [], []
    for value in np.unique(within[queries]).tolist():
        for stranger in (False, True):
            places = np.flatnonzero((within[queries] == value) & (unknown[queries] == stranger))
            gallery = data.gallery[(within[data.gallery] == value) & ~(unknown[data.gallery] & stranger)]
            if not len(places):
                continue
            tile = (unit[torch.from_numpy(gallery)], data.labels[gallery])
            parts.append(
                rank_classes(
                    unit[torch.from_numpy(queries[places])],
                    [tile],
                    data.classes,
                    scoring.method,
                    temperature=scoring.temperature,
                    without=data.labels[queries[places]],
                )
            )
            order.append(places)
    if not parts:
        return rank_classes(unit[:0], [], data.classes, scoring.method)
    return RankedClasses.join(parts).of(np.argsort(np.concatenate(order)))


def join_own(
    scoring: Scoring,
    others: RankedClasses,
    own: OwnImages,
    classes: Integers,
    gallery_classes: int,
    gallery_images: int,
) -> AnswerSample:
    """Join what each query finds of its own class and of the others."""
    known, answered = np.flatnonzero(own.number > 0), np.flatnonzero(others.codes[:, 0] >= 0)
    answers, place, near_cosines, near_same = _with_own(others, own, known)
    return AnswerSample(
        scoring=scoring,
        known=answers,
        right=place == 0,
        second_right=place == 1,
        known_classes=classes[known],
        known_weights=np.ones(len(known)),
        unknown=others.of(answered).answers(),
        unknown_classes=classes[answered],
        near_cosines=np.concatenate([near_cosines, others.near_cosines[answered]]),
        near_same=np.concatenate([near_same, np.zeros((len(answered), NEIGHBOURS), bool)]),
        gallery_classes=gallery_classes,
        gallery_images=gallery_images,
    )


def _with_own(others: RankedClasses, own: OwnImages, rows: Integers) -> tuple[ClassAnswers, Integers, Floats, Booleans]:
    """Return the answers of some queries with their own class in the gallery, its place, and their nearest images."""
    mine = np.full((len(rows), 1), np.iinfo(np.int64).max)  # a code that no class of the gallery has
    part = others.of(rows)
    first = own.cosines[rows, :1]
    columns = {
        "codes": (mine, part.codes),
        "scores": (own.score[rows, None], part.scores),
        "cosines": (first, part.cosines),
        "rows": (np.full((len(rows), 1), -1), part.rows),
        "sizes": (own.number[rows, None], part.sizes),
    }
    order = np.argsort(-np.concatenate(columns["scores"], 1), axis=1, kind="stable")
    joined = {name: np.take_along_axis(np.concatenate(pair, 1), order, 1)[:, :RANKED] for name, pair in columns.items()}
    near = np.concatenate([own.cosines[rows], part.near_cosines], 1)
    near_codes = np.concatenate([np.where(own.cosines[rows] > -np.inf, mine, -1), part.near_codes], 1)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, :NEIGHBOURS]
    near, near_codes = np.take_along_axis(near, nearest, 1), np.take_along_axis(near_codes, nearest, 1)
    ranked = RankedClasses(**joined, near_codes=near_codes, near_cosines=near, method=others.method)
    return ranked.answers(), order.argmin(1), near, near_codes == mine
