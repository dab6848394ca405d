"""Open-set answers: a query is answered by its nearest gallery image only if their cosine is at least a threshold.

A query is known if a positive (another image of its class) is in the gallery. Each query is also searched as an
unknown query, with all images of its class taken out of the gallery, so that whatever is accepted is wrong. Queries of
classes with one image are unknown only. Copies of an image are images. Terms as in ISO/IEC 19795-1 and Phillips 2011
(Handbook of Face Recognition, ch. 21): the share of unknown queries that are accepted is the false-positive
identification rate, here the false-accept rate.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.retrieval.arrays import Booleans, Integers
from eml.retrieval.device import device_of, moved, queries_at_once
from eml.retrieval.similarity import UnitRows, similarity_tiles, unit_rows_alike

QUERIES, BLOCK = 512, 8192
"""Queries and gallery images compared at once: 16 MiB in float32, some 80 MiB with what is needed to tell classes."""

LISTED = 48
"""Classes kept for each query: in a random quarter of the classes all of them are missing only once in 10⁶."""


@dataclass(frozen=True)
class OpenSetAnswers:
    """The nearest images of Q queries.

    Attributes:
        nearest_positive: (Q,) cosine of the nearest image of the query's class, −inf without any.
        nearest_other_class: (Q,) cosine of the nearest image of another class, −inf without any.
        right: (Q,) whether the nearest image of all is a positive; equal cosines are ranked by gallery index.
    """

    nearest_positive: NDArray[np.float32]
    nearest_other_class: NDArray[np.float32]
    right: Booleans

    @property
    def known(self) -> Booleans:
        """(Q,) whether the query has a positive."""
        return self.nearest_positive > -np.inf

    @property
    def top(self) -> NDArray[np.float32]:
        """(Q,) cosine of the nearest image of all, −inf without any."""
        return np.maximum(self.nearest_positive, self.nearest_other_class)


@dataclass(frozen=True)
class NearestClasses:
    """The L classes nearest to each of Q queries, its own class left out, by the nearest image of each.

    Attributes:
        similarity: (Q, L) cosine of the nearest image of each class, descending, −inf where there are fewer classes.
            L is `LISTED`, or one less than the number of classes.
        labels: (Q, L) the classes, 0…C−1.
    """

    similarity: NDArray[np.float32]
    labels: Integers

    def of(self, queries: Integers) -> "NearestClasses":
        """Return the classes nearest to some queries, by position."""
        return NearestClasses(self.similarity[queries], self.labels[queries])

    def among(self, new_labels: Integers) -> "NearestClasses":
        """Return the classes that are left when only some are present.

        Args:
            new_labels: (C,) new label of each class, −1 for one that is absent.
        """
        present = (new_labels[self.labels] >= 0) & (self.similarity > -np.inf)
        order = np.argsort(~present, axis=1, kind="stable")
        similarity = np.where(present, self.similarity, np.float32(-np.inf))
        labels = new_labels[self.labels]
        return NearestClasses(np.take_along_axis(similarity, order, 1), np.take_along_axis(labels, order, 1))

    def nearest_within(self, queries: Integers, present: Booleans) -> NDArray[np.float32]:
        """Return (n,) cosine of the nearest image of a class that is present, for some queries; −inf without any.

        Args:
            queries: (n,) positions.
            present: (C,) whether the class is present.
        """
        inside = present[self.labels[queries]]
        similarity = np.where(inside, self.similarity[queries], np.float32(-np.inf))
        nearest: NDArray[np.float32] = np.take_along_axis(similarity, inside.argmax(1)[:, None], 1)[:, 0]
        return nearest


@dataclass(frozen=True)
class OpenSetQueries(OpenSetAnswers):
    """The answers of Q queries, with what is needed to answer them from a part of the classes.

    Attributes:
        labels: (Q,) classes of the queries, 0…C−1.
        classes: C.
        nearest_classes: Of each query; the first is that of `nearest_other_class`.
    """

    labels: Integers
    classes: int
    nearest_classes: NearestClasses

    def among(self, codes: Integers) -> "OpenSetQueries":
        """Return the queries of some classes, answered by a gallery of these classes alone.

        Args:
            codes: Distinct classes; they get new labels in this order, from 0.
        """
        new_labels = renumber(codes, self.classes)
        rows = np.flatnonzero(new_labels[self.labels] >= 0)
        near = self.nearest_classes.of(rows).among(new_labels)
        positive, nearest = self.nearest_positive[rows], near.similarity[:, 0]
        right = (positive > nearest) | ((positive == nearest) & self.right[rows])
        return OpenSetQueries(positive, nearest, right, new_labels[self.labels[rows]], len(codes), near)


@dataclass(frozen=True)
class OpenSet:
    """Embedded images with their roles in retrieval. An image is never its own answer.

    Attributes:
        embeddings: (N, D), of any length but 0.
        labels: (N,) integers; 0…C−1 where classes are counted.
        queries: (Q,) positions of the queries among the images.
        gallery: (G,) positions of the gallery among the images.
        groups: (N,) a group such as the camera, −1 for none. Gallery images of the query's class and group are left
            out.
        within: (N,) integers. Only gallery images of the query's value are compared with it.
        unknown: (N,) whether an image is of unknown identity. Each has a label of its own, after those of the classes,
            and is not compared with the others, since two of them may show the same thing.
        gallery_embeddings: (N, D) of the same images by the model of the gallery, where it is not that of the queries.
    """

    embeddings: Tensor
    labels: Integers
    queries: Integers
    gallery: Integers
    groups: Integers | None = None
    within: Integers | None = None
    unknown: Booleans | None = None
    gallery_embeddings: Tensor | None = None

    @classmethod
    def leave_one_out(cls, embeddings: Tensor, labels: Integers) -> "OpenSet":
        """Return the set in which each image is a query to all others."""
        return cls(embeddings, labels, np.arange(len(labels)), np.arange(len(labels)))

    @property
    def classes(self) -> int:
        """The number of labels C: of classes, and of images of unknown identity."""
        return int(self.labels.max()) + 1

    @property
    def num_unknown(self) -> int:
        """The number of images of unknown identity."""
        return 0 if self.unknown is None else int(self.unknown.sum())

    @property
    def known(self) -> "OpenSet":
        """The images of known identity; the set itself where all are."""
        return self.among(np.arange(self.classes - self.num_unknown)) if self.num_unknown else self

    def search(self) -> OpenSetQueries:
        """Search the queries' nearest images and nearest classes. Labels must be 0…C−1, C at least 2.

        Raises:
            DataError: Embeddings are NaN, infinite or zero.
        """
        answers, near = find_answers(self), find_nearest_classes(self)
        nearest = near.similarity[:, 0]  # of the search that `OpenSetQueries.among` uses
        return OpenSetQueries(
            answers.nearest_positive, nearest, answers.right, self.labels[self.queries], self.classes, near
        )

    def among(self, codes: Integers) -> "OpenSet":
        """Return the images of some classes.

        Args:
            codes: Distinct classes; they get new labels in this order, from 0.
        """
        new_labels = renumber(codes, self.classes)
        rows = np.flatnonzero(new_labels[self.labels] >= 0)
        place = np.full(len(self.labels), -1)
        place[rows] = np.arange(len(rows))
        queries, gallery = place[self.queries], place[self.gallery]
        return OpenSet(
            self.embeddings[rows],
            new_labels[self.labels[rows]],
            queries[queries >= 0],
            gallery[gallery >= 0],
            None if self.groups is None else self.groups[rows],
            None if self.within is None else self.within[rows],
            None if self.unknown is None else self.unknown[rows],
            None if self.gallery_embeddings is None else self.gallery_embeddings[rows],
        )


def renumber(codes: Integers, classes: int) -> Integers:
    """Return (classes,) the place of each class in codes, −1 for a class that is not in it."""
    places = np.full(classes, -1)
    places[codes] = np.arange(len(codes))
    return places


def find_answers(data: OpenSet) -> OpenSetAnswers:
    """Find the nearest image of its own and of another class for each query, exactly, in tiles.

    Raises:
        DataError: Embeddings are NaN, infinite or zero.
    """
    units = _unit_rows(data)
    most = queries_at_once(units[0].device, QUERIES)
    parts = [_find_answers(data, units, queries) for queries in _split(data.queries, most)]
    positive, nearest, right = (torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True))
    return OpenSetAnswers(positive, nearest, right)


def _unit_rows(data: OpenSet) -> tuple[UnitRows, UnitRows]:
    """Return the images' unit vectors as queries, and as images of the gallery."""
    device = device_of(data.embeddings)
    if data.gallery_embeddings is not None:
        return unit_rows_alike(data.embeddings, data.gallery_embeddings, device)
    (embeddings,) = moved(device, data.embeddings)
    rows = UnitRows(embeddings, "image", device)
    return rows, rows


def _split(positions: Integers, size: int) -> list[Integers]:
    return [positions[first : first + size] for first in range(0, max(1, len(positions)), size)]


def _find_answers(
    data: OpenSet, units: tuple[UnitRows, UnitRows], positions: Integers
) -> tuple[Tensor, Tensor, Tensor]:
    own, unit = units
    device = unit.device
    groups, within = (
        None if values is None else torch.tensor(values, device=device) for values in (data.groups, data.within)
    )
    labels, queries, gallery = (torch.tensor(a, device=device) for a in (data.labels, positions, data.gallery))
    unknown = None if data.unknown is None else torch.tensor(data.unknown, device=device)
    best = torch.full((2, len(queries)), -torch.inf, dtype=unit.dtype, device=device)
    place = torch.zeros(2, len(queries), dtype=torch.int64, device=device)
    for first, tile in similarity_tiles(own.select(positions), unit, positions=data.gallery, columns=BLOCK):
        block = gallery[first : first + BLOCK]
        same = labels[queries, None] == labels[block]
        tile.masked_fill_(queries[:, None] == block, -torch.inf)
        if groups is not None:
            together = (groups[queries, None] == groups[block]) & (groups[block] >= 0)
            tile.masked_fill_(same & together, -torch.inf)
        if within is not None:
            tile.masked_fill_(within[queries, None] != within[block], -torch.inf)
        if unknown is not None:
            tile.masked_fill_(unknown[queries, None] & unknown[block], -torch.inf)
        for kind, hidden in enumerate((~same, same)):
            values, places = tile.masked_fill(hidden, -torch.inf).max(1)
            better = values > best[kind]
            best[kind], place[kind] = best[kind].maximum(values), torch.where(better, places + first, place[kind])
    positive, nearest = best
    right = (positive > nearest) | ((positive == nearest) & (positive > -torch.inf) & (place[0] < place[1]))
    return positive, nearest, right


def find_nearest_classes(data: OpenSet) -> NearestClasses:
    """Find the classes nearest to each query, exactly, in tiles. Labels must be 0…C−1, C at least 2.

    The first is the class of `nearest_other_class`; the next ones answer the query if that class is taken out of the
    gallery. Groups play no part, since they concern images of the query's class.

    Raises:
        DataError: Embeddings are NaN, infinite or zero.
    """
    (own, unit), classes, count = _unit_rows(data), data.classes, min(LISTED, data.classes - 1)
    device = unit.device
    labels, gallery = torch.tensor(data.labels, device=device), torch.tensor(data.gallery, device=device)
    within = None if data.within is None else torch.tensor(data.within, device=device)
    unknown = None if data.unknown is None else torch.tensor(data.unknown, device=device)
    similarities, nearest = [], []
    most = queries_at_once(unit.device, QUERIES)
    for positions in _split(data.queries, max(1, min(most, BLOCK * most // classes))):
        queries = torch.tensor(positions, device=device)
        best = torch.full((len(queries), classes), -torch.inf, dtype=unit.dtype, device=device)
        for first, tile in similarity_tiles(own.select(positions), unit, positions=data.gallery, columns=BLOCK):
            block = gallery[first : first + BLOCK]
            if within is not None:
                tile.masked_fill_(within[queries, None] != within[block], -torch.inf)
            if unknown is not None:
                tile.masked_fill_(unknown[queries, None] & unknown[block], -torch.inf)
            best.scatter_reduce_(1, labels[block].expand(len(queries), -1), tile, "amax")
        best[torch.arange(len(queries), device=device), labels[queries]] = -torch.inf
        values, codes = best.topk(count, dim=1)
        similarities.append(values)
        nearest.append(codes)
    return NearestClasses(torch.cat(similarities).cpu().numpy(), torch.cat(nearest).cpu().numpy())
