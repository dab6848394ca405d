"""The class of each query, by the images of every class in a gallery, so that the size of a class does not decide.

A vote of the k nearest images goes to the class with the most images, and the nearest image of all is rather one of a
large class. Here each class gets one score, on the scale of a cosine:

nearest      t·log(mean over the class' images of exp(cosine/t)), with the temperature t: the logarithm of a kernel
             density, to which the nearest images of the class contribute nearly all. It is a k-NN vote in which an
             image counts by the odds that it shows the query's class, which grow exponentially with the cosine, and in
             which every class has one voice. With one image it is its cosine.
centroids    the cosine of the query with the mean direction of the class' images.

Queries and gallery are compared in tiles, so that memory is bounded for galleries of any size.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import ConfigError
from eml.retrieval.arrays import Embeddings, Floats, Integers, as_embeddings, as_positions
from eml.retrieval.class_scores import NEIGHBOURS as NEIGHBOURS
from eml.retrieval.class_scores import ClassAnswers as ClassAnswers
from eml.retrieval.class_scores import Method as Method
from eml.retrieval.class_tiles import ClassTile, class_tiles
from eml.retrieval.products import product
from eml.retrieval.similarity import unit_length

Tiles = Iterable[tuple[Embeddings, Integers]] | Callable[[], Iterable[tuple[Embeddings, Integers]]]
"""Embeddings (G, D) and classes (G,) of a part of the gallery: a list, or a function that begins to yield them anew."""

TEMPERATURE = 0.05
RANKED = 3
"""Classes kept for each query: the answer, the runner-up, and who follows when one of them is taken out."""
ENTRIES = 1 << 25  # scores of queries and classes at once: 128 MiB
FEWEST, MOST = 16, 1024  # queries at once
LOWEST = -80.0  # exponents below it are raised to it, since slow denormal numbers follow


@dataclass(frozen=True)
class RankedClasses:
    """The first classes of Q queries, best first, and their nearest images.

    Attributes:
        codes: (Q, RANKED) classes, −1 where there are fewer.
        scores: (Q, RANKED) scores, −inf there.
        cosines: (Q, RANKED) cosine of the nearest image of each, −inf there.
        rows: (Q, RANKED) the row of that image in the gallery, −1 there.
        sizes: (Q, RANKED) images of each, 0 there.
        near_codes: (Q, NEIGHBOURS) classes of the nearest images, −1 where there are fewer.
        near_cosines: (Q, NEIGHBOURS) their cosines, descending, −inf there.
        method: What the scores are.
    """

    codes: Integers
    scores: Floats
    cosines: Floats
    rows: Integers
    sizes: Integers
    near_codes: Integers
    near_cosines: Floats
    method: Method

    def of(self, rows: Integers) -> "RankedClasses":
        """Return the classes of some queries, by position."""
        return RankedClasses(**{name: values[rows] for name, values in self._arrays().items()}, method=self.method)

    @classmethod
    def join(cls, parts: Sequence["RankedClasses"]) -> "RankedClasses":
        """Return the classes of several parts, of one method, one after the other."""
        names = parts[0]._arrays()
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, method=parts[0].method)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "method"}

    def answers(self) -> ClassAnswers:
        """Return the first class as the answer and the second as the runner-up."""
        supporters = ((self.near_codes == self.codes[:, :1]) & (self.near_codes >= 0)).sum(1)
        return ClassAnswers(
            best=self.codes[:, 0],
            runner_up=self.codes[:, 1],
            score=self.scores[:, 0],
            runner_up_score=self.scores[:, 1],
            cosine=self.cosines[:, 0],
            nearest_row=self.rows[:, 0],
            supporters=supporters.astype(np.int64),
            size=self.sizes[:, 0],
            method=self.method,
        )


def answer_by_classes(
    queries: Embeddings,
    tiles: Tiles,
    num_classes: int,
    method: Method = "nearest",
    *,
    temperature: float = TEMPERATURE,
) -> ClassAnswers:
    """Answer each query by the class with the highest score, exactly, in tiles.

    Args:
        queries: (Q, D) embeddings, of any length but 0.
        tiles: The gallery in parts: embeddings (G, D) and their classes (G,), 0…C−1, −1 for an image without a class,
            which is left out. It is read more than once: a list, an object whose iteration begins anew, or a function
            that returns an iterator. Rows are numbered through all parts.
        num_classes: C.
        method: `nearest` or `centroids`.
        temperature: Of `nearest`, in cosines.

    Raises:
        ConfigError: The method is unknown, or the tiles can be read only once.
        DataError: Embeddings are NaN, infinite, zero or of two sizes, or classes are not −1…C−1.
    """
    return rank_classes(queries, tiles, num_classes, method, temperature=temperature).answers()


def rank_classes(
    queries: Embeddings,
    tiles: Tiles,
    num_classes: int,
    method: Method = "nearest",
    *,
    temperature: float = TEMPERATURE,
    without: Integers | None = None,
) -> RankedClasses:
    """Rank the first classes of each query; like `answer_by_classes`.

    Args:
        queries: (Q, D) embeddings, of any length but 0.
        tiles: The gallery in parts.
        num_classes: C.
        method: `nearest` or `centroids`.
        temperature: Of `nearest`, in cosines.
        without: (Q,) class that is taken out of the gallery of each query, −1 for none.
    """
    if method not in get_args(Method):
        text = f"unknown method {method!r}; there are: {', '.join(get_args(Method))}"
        raise ConfigError(text, code="unknown-choice", parameter="method")
    queries = unit_length(as_embeddings(queries, "query"))
    without = (
        np.full(len(queries), -1)
        if without is None
        else as_positions(without, "classes that are taken out", num_classes)
    )
    read = _reader(tiles, num_classes, queries)
    size = min(MOST, max(FEWEST, ENTRIES // max(1, num_classes)))
    centroids = _centroids(read, num_classes, queries) if method == "centroids" else None
    parts = []
    for first in range(0, max(1, len(queries)), size):
        part = slice(first, first + size)
        search = _Search(queries[part], without[part], num_classes, method, temperature)
        parts.append(search.rank(read, centroids))
    return RankedClasses.join(parts)


def _reader(tiles: Tiles, num_classes: int, queries: Tensor) -> Callable[[], Iterator[ClassTile]]:
    """Return a function that reads the gallery from the beginning."""
    if isinstance(tiles, Iterator):
        raise ConfigError(
            "the tiles can be read only once, and are read several times; give a list, or a function that returns them",
            code="wrong-type",
            parameter="tiles",
        )
    begin = tiles if callable(tiles) else lambda: tiles

    def read() -> Iterator[ClassTile]:
        return class_tiles(begin(), num_classes, queries.shape[1])

    return read


@dataclass(frozen=True)
class _Centroids:
    """The mean directions (C, D) of the classes and their sizes (C,)."""

    directions: Tensor
    sizes: Integers


def _centroids(read: Callable[[], Iterator[ClassTile]], num_classes: int, queries: Tensor) -> _Centroids:
    sums = torch.zeros(num_classes, queries.shape[1], dtype=torch.float64)
    sizes = np.zeros(num_classes, np.int64)
    for tile in read():
        sums.index_add_(0, torch.from_numpy(np.repeat(tile.codes, tile.counts)), tile.embeddings.double().cpu())
        sizes[tile.codes] += tile.counts
    lengths = torch.linalg.vector_norm(sums, dim=1, keepdim=True)
    return _Centroids((sums / lengths.clamp_min(1e-12)).to(queries.dtype).to(queries.device), sizes)


class _Search:
    """The search for the first classes of a few queries.

    Args:
        queries: (B, D) unit vectors.
        without: (B,) class that is taken out of each query's gallery, −1 for none.
        num_classes: C.
        method: How classes are scored.
        temperature: In cosines.
    """

    def __init__(
        self, queries: Tensor, without: Integers, num_classes: int, method: Method, temperature: float
    ) -> None:
        self.queries, self.without, self.num_classes = queries, without, num_classes
        self.method, self.temperature = method, temperature
        self.near_codes = np.full((len(queries), NEIGHBOURS), -1)
        self.near_cosines = np.full((len(queries), NEIGHBOURS), -np.inf)

    def rank(self, read: Callable[[], Iterator[ClassTile]], centroids: _Centroids | None) -> RankedClasses:
        """Return the first classes of these queries."""
        sums = np.zeros((self.num_classes, len(self.queries)), np.float32)
        sizes = np.zeros(self.num_classes, np.int64)
        for tile in read():
            cosines = product(tile.embeddings.to(self.queries), self.queries).cpu()  # (G, B)
            self._keep_neighbours(tile, cosines)
            sizes[tile.codes] += tile.counts
            if centroids is None:
                weights = cosines.sub_(1).div_(self.temperature).clamp_(min=LOWEST).exp_().float().numpy()
                sums[tile.codes] += np.add.reduceat(weights, tile.starts, axis=0)
        if centroids is None:
            with np.errstate(divide="ignore"):
                scores = 1 + self.temperature * np.log(sums / np.maximum(1, sizes)[:, None])
        else:
            scores = product(centroids.directions, self.queries).cpu().numpy()
        scores[sizes == 0] = -np.inf
        columns = np.flatnonzero(self.without >= 0)
        scores[self.without[columns], columns] = -np.inf
        codes, values = _first(scores)
        cosine, row = self._nearest_images(read, codes)
        of_class = np.where(codes >= 0, np.append(sizes, 0)[codes], 0)
        return RankedClasses(codes, values, cosine, row, of_class, self.near_codes, self.near_cosines, self.method)

    def _keep_neighbours(self, tile: ClassTile, cosines: Tensor) -> None:
        """Keep the nearest images of those seen so far. cosines: (G, B)."""
        by_query = cosines.T.contiguous()
        image_codes = np.repeat(tile.codes, tile.counts)
        for query in np.flatnonzero(np.isin(self.without, tile.codes)):
            by_query[query, torch.from_numpy(image_codes == self.without[query])] = -torch.inf
        values, places = by_query.topk(min(NEIGHBOURS, len(image_codes)), dim=1)
        codes = np.where(values.numpy() > -np.inf, image_codes[places.numpy()], -1)
        all_values = np.concatenate([self.near_cosines, values.double().numpy()], 1)
        order = np.argsort(-all_values, axis=1, kind="stable")[:, :NEIGHBOURS]
        self.near_cosines = np.take_along_axis(all_values, order, 1)
        self.near_codes = np.take_along_axis(np.concatenate([self.near_codes, codes], 1), order, 1)

    def _nearest_images(self, read: Callable[[], Iterator[ClassTile]], codes: Integers) -> tuple[Floats, Integers]:
        """Return (B, RANKED) cosines, in float64, and rows of the nearest image of each query's first classes."""
        best, rows = np.full(codes.shape, -np.inf), np.full(codes.shape, -1)
        classes, order = np.unique(codes), np.argsort(codes.ravel(), kind="stable")
        ends = np.searchsorted(codes.ravel()[order], classes, side="right")
        askers = {int(code): order[first:end] for code, first, end in zip(classes, [0, *ends], ends, strict=False)}
        exact = self.queries.double()
        for tile in read():
            for number in np.flatnonzero(np.isin(tile.codes, classes)):
                places = askers[int(tile.codes[number])]
                part = slice(tile.starts[number], tile.starts[number] + tile.counts[number])
                cosines = product(exact[places // codes.shape[1]], tile.exactly(part).to(exact)).cpu()
                values, position = (result.numpy() for result in cosines.max(1))
                row = tile.rows[part][position]
                flat_best, flat_rows = best.reshape(-1), rows.reshape(-1)
                better = (values > flat_best[places]) | ((values == flat_best[places]) & (row < flat_rows[places]))
                flat_best[places[better]], flat_rows[places[better]] = values[better], row[better]
        return best, rows


def _first(scores: NDArray[np.floating]) -> tuple[Integers, Floats]:
    """Return (B, RANKED) classes and scores, descending, equal ones by class. scores: (C, B), changed in place."""
    count = scores.shape[1]
    codes, values, every = np.full((count, RANKED), -1), np.full((count, RANKED), -np.inf), np.arange(count)
    for place in range(min(RANKED, len(scores))):
        best = scores.argmax(0)
        values[:, place] = scores[best, every]
        codes[:, place] = np.where(values[:, place] > -np.inf, best, -1)
        scores[best, every] = -np.inf
    return codes, values
