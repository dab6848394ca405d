"""Thin a retrieval set: fewer queries and gallery images, spread over classes, drawn from a seed."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eml.evaluation.positives import positive_counts
from eml.evaluation.retrieval_set import RetrievalSet

LEAST = 2
"""Queries and gallery images of a class that are kept where it has so many: fewer show nothing of the class."""


class ThinnedSet(NamedTuple):
    """A part of a retrieval set, and the rows of the set's frame that it consists of."""

    images: RetrievalSet
    rows: NDArray[np.int64]


def thin(images: RetrievalSet, most: int, seed: int) -> ThinnedSet | None:
    """Return a part of at most so many images; None where the set has no more, or the part would measure nothing.

    Each class keeps the same share of its queries and of its other images, and of both at least two where it has them.
    Where that is too many, some classes are left out, drawn at random. Images that are no positive of any query
    (classes of one image, images of unknown identity) are thinned by the same share. Of groups and categories
    (`leave_out_same`, `within`) as many as possible are kept.

    Args:
        images: The set.
        most: Images to keep at most.
        seed: Draws them; the same set and seed give the same part.
    """
    if len(images.frame) <= most:
        return None
    random = np.random.default_rng([seed, len(images.frame)])
    cells = _cells(images)
    order = _spread(cells, images.groups, random)
    rows = _draw(order, cells, most, random)
    part = part_of(images, np.sort(rows))
    return part if len(rows) > 1 and positive_counts(part.images).any() else None


def _cells(images: RetrievalSet) -> NDArray[np.int64]:
    """(N,) number of the rows that are thinned together, −1 for distractors.

    It is 2·c for the queries of the class (and category) c, 2·c + 1 for its other images.
    """
    count = len(images.frame)
    is_query = np.zeros(count, bool)
    is_query[images.queries] = True
    classes = images.labels if images.within is None else images.labels * (images.within.max() + 2) + images.within + 1
    measured = np.isin(classes, classes[images.queries[positive_counts(images) > 0]])
    return np.where(measured & images.known, classes * 2 + ~is_query, -1)


def _spread(
    cells: NDArray[np.int64], groups: NDArray[np.int64] | None, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows in random order, such that the first ones of each cell are of as many groups as possible."""
    order = random.permutation(len(cells))
    if groups is None:
        return order
    keys = cells[order] * (groups.max() + 2) + groups[order] + 1
    by_key = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(keys[by_key]) != 0])
    place = np.empty(len(cells), np.int64)
    place[by_key] = np.arange(len(cells)) - np.repeat(starts, np.diff(np.r_[starts, len(cells)]))
    return np.asarray(order[np.argsort(place, kind="stable")])


def _draw(
    order: NDArray[np.int64], cells: NDArray[np.int64], most: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows to keep: the first ones of each cell, in the order given."""
    distractors = order[cells[order] < 0]
    distractors = distractors[: len(distractors) * most // len(order)]
    rest = order[cells[order] >= 0]
    if not len(rest):
        return distractors
    numbers, sizes = np.unique(cells[rest], return_counts=True)
    kept = _counts(sizes, numbers // 2, most - len(distractors), random)
    by_cell = rest[np.argsort(cells[rest], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    chosen = [by_cell[start : start + count] for start, count in zip(starts, kept, strict=True)]
    return np.concatenate([distractors, *chosen])


def _counts(
    sizes: NDArray[np.int64], classes: NDArray[np.int64], most: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many images of each cell are kept, at most so many together.

    sizes: images of each cell; classes: of each cell the number of its class.
    """
    least = np.minimum(sizes, LEAST)
    if least.sum() > most:
        names, owner = np.unique(classes, return_inverse=True)
        needed = np.bincount(owner, weights=least).astype(np.int64)
        drawn = random.permutation(len(names))
        return np.where(np.isin(owner, drawn[np.cumsum(needed[drawn]) <= most]), least, 0)
    exact = np.maximum(least, _share(sizes, least, most) * sizes)
    counts = np.floor(exact).astype(np.int64)
    nearest = random.permutation(len(sizes))
    nearest = nearest[np.argsort((counts - exact)[nearest], kind="stable")]
    nearest = nearest[counts[nearest] < sizes[nearest]][: int(most - counts.sum())]
    counts[nearest] += 1
    return np.asarray(counts)


def _share(sizes: NDArray[np.int64], least: NDArray[np.int64], most: int) -> float:
    """Return the share of each cell that gives at most so many images together, with the least of each."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(least, middle * sizes).sum() <= most else (low, middle)
    return low


def part_of(images: RetrievalSet, rows: NDArray[np.int64]) -> ThinnedSet:
    """Return the part of a set that consists of some of its rows, in order."""
    number = np.full(len(images.frame), -1)
    number[rows] = np.arange(len(rows))

    def kept(places: NDArray[np.int64]) -> NDArray[np.int64]:
        return number[places][number[places] >= 0].astype(np.int64)

    part = replace(
        images,
        frame=images.frame.iloc[rows].reset_index(drop=True),
        labels=np.unique(images.labels[rows], return_inverse=True)[1].astype(np.int64),
        queries=kept(images.queries),
        gallery=kept(images.gallery),
        groups=None if images.groups is None else images.groups[rows],
        within=None if images.within is None else images.within[rows],
        rows=rows if images.rows is None else images.rows[rows],
        unknown=None if images.unknown is None else images.unknown[rows],
        unknown_queries=kept(images.unknown_queries),
    )
    return ThinnedSet(part, rows)
