"""Where the positives of each query stand among all of the gallery: exact, in memory that is bounded whatever its size.

A query is compared with the images of its own class first; their similarities are then thresholds, and of all other
images it is only counted how many are above each. So nothing is sorted and no list of neighbours is kept, and a class
of 50,000 images takes no more memory than many small ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.similarity import BLOCK, TILE, UnitRows, check_sizes, similarities

OWN_ENTRIES = 1 << 20  # similarities of queries to images of their class held at once, 4 MiB in float32
CACHED = 256  # rows of a block that stay in a core's cache while they are compared several times: 1 MiB
FEW = 10  # thresholds up to which one comparison for each is quicker than a sort
SPARSE = 32  # one of so many images may be above a query's worst positive for each to be looked at by itself

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """Where the positives of some queries (gallery images of their class, themselves excluded) stand.

    queries: (T,) which queries these are. positives: (T,) how many each has. ranks: 1-based ranks of all positives,
    ascending within a query, one query after the other, (sum of positives,). nearest: (T,) gallery index of the first
    neighbour of all, −1 where there is none; nearest_similarity: (T,) its cosine, −inf where there is none;
    nearest_is_positive: (T,). gallery_size: how many neighbours a query has at most.
    Ranks are by descending cosine; equal cosines are ranked by gallery index.
    """

    queries: Integers
    positives: Integers
    ranks: Integers
    nearest: Integers
    nearest_similarity: NDArray[np.float64]
    nearest_is_positive: NDArray[np.bool_]
    gallery_size: int

    @property
    def query_of_rank(self) -> Integers:
        """(sum of positives,) the query, as a position in this ranking, that each rank belongs to."""
        return np.repeat(np.arange(len(self.positives)), self.positives)

    @property
    def order_of_rank(self) -> Integers:
        """(sum of positives,) 1 for a query's best-ranked positive, 2 for the next, …"""
        starts = np.cumsum(self.positives) - self.positives
        return np.arange(len(self.ranks)) - np.repeat(starts, self.positives) + 1


def rank(
    queries: Tensor,
    query_labels: Integers,
    gallery: Tensor | None = None,
    gallery_labels: Integers | None = None,
    *,
    itself: Integers | None = None,
    query_groups: Integers | None = None,
    gallery_groups: Integers | None = None,
    device: torch.device | None = None,
) -> Iterator[Ranking]:
    """Rank all of the gallery for each query by cosine, exactly, in the embeddings' precision; some queries at a time.

    queries: (Q, D), gallery: (N, D), of any length; labels as integers. Without a gallery the queries are their own
    (leave-one-out). itself: (Q,) the gallery index that is the query's own image and is left out, −1 for none;
    exclusion is by this index, never by distance, so that copies of an image stay findable.
    query_groups, gallery_groups: (Q,), (N,) such as cameras: a gallery image of the query's class and group is left
    out, neither right nor wrong (Zheng 2015, Market-1501, section 4); −1 for an image without a group.
    device: where to compute, by default where the gallery is.
    Queries without a positive stay in with positives = 0; metrics leave them out and say how many.
    Raises DataError on NaN, infinite or zero embeddings, and where there is not one label, and group, for each.
    """
    if gallery is None:
        gallery, gallery_labels, itself = queries, query_labels, np.arange(len(queries))
        gallery_groups = query_groups
    _check_numbers("query", len(queries), labels=query_labels, groups=query_groups, itself=itself)
    _check_numbers("gallery", len(gallery), labels=gallery_labels, groups=gallery_groups)
    if gallery_labels is None or (query_groups is None) != (gallery_groups is None):
        raise DataError("a gallery needs labels, and groups where the queries have them")
    check_sizes(queries, gallery)
    everyone = _Everyone(
        UnitRows(queries, "query", device),
        query_labels,
        UnitRows(gallery, "gallery", device),
        gallery_labels,
        np.full(len(queries), -1) if itself is None else itself,
        None if query_groups is None or gallery_groups is None else (query_groups, gallery_groups),
    )
    return everyone.rankings()


def _check_numbers(name: str, count: int, **given: Integers | None) -> None:
    for what, values in given.items():
        if values is not None and len(values) != count:
            raise DataError(f"{count:,} {name} embeddings and {len(values):,} {what}: one for each is needed")


class _Everyone:
    """All queries and all of the gallery, with the gallery's images put together by class."""

    def __init__(
        self,
        queries: UnitRows,
        query_labels: Integers,
        gallery: UnitRows,
        gallery_labels: Integers,
        itself: Integers,
        groups: tuple[Integers, Integers] | None,
    ) -> None:
        self.queries, self.gallery, self.itself, self.groups = queries, gallery, itself, groups
        self.by_class = np.argsort(gallery_labels, kind="stable")  # positions in the gallery
        ordered = gallery_labels[self.by_class]
        self.starts = np.searchsorted(ordered, query_labels)  # (Q,) in by_class
        self.sizes = np.searchsorted(ordered, query_labels, side="right") - self.starts
        self.order = np.lexsort((self.starts, self.sizes))  # queries whose classes are as large together, then by class
        self.gallery_size = len(gallery) - int((itself >= 0).any())

    def rankings(self) -> Iterator[Ranking]:
        """A ranking for some queries at a time."""
        begin = 0
        while begin < len(self.order):
            some = self.order[begin : begin + self._fitting(begin)]
            begin += len(some)
            yield self._ranking(some)

    def _fitting(self, begin: int) -> int:
        """How many queries from `begin` on are taken at once, so that what belongs to their classes is bounded."""
        some = self.order[begin : begin + TILE]
        sizes, starts = self.sizes[some], self.starts[some]
        new = _firsts(starts, sizes)
        rows = np.cumsum(np.where(new, sizes, 0))  # of the gallery, in their classes
        most = max(4 * BLOCK, len(self.gallery) // 2, sizes[0])  # one class always fits, else it goes query by query
        fits = (np.arange(1, len(some) + 1) * sizes <= OWN_ENTRIES) & (rows <= most)
        return max(1, int(fits.sum()))

    def _ranking(self, some: Integers) -> Ranking:
        tile, own = self.queries.chosen(some), _Own(self, some)
        positives = own.ranked(tile)
        best = torch.full((len(some),), -torch.inf, dtype=tile.dtype, device=tile.device)
        nearest = torch.full((len(some),), -1, device=tile.device)
        found = tile.new_empty(len(some), self.gallery.width)  # one for all blocks: fresh memory costs page faults
        for first, block in self.gallery.blocks():
            similarities(tile, block, found)
            own.leave_out(found, first)
            positives.count(found, first)
            highest = found.amax(1)
            better = torch.nonzero(highest > best).squeeze(1)
            if len(better):
                best[better] = highest[better]
                nearest[better] = found[better].argmax(1) + first
        return positives.ranking(some, nearest, best, self.gallery_size)


def _firsts(starts: Integers, sizes: Integers) -> NDArray[np.bool_]:
    """(T,) which of some queries is the first of its class, by where the class stands in the gallery.

    A class that the gallery lacks has the start of the one after it; its size tells it apart.
    """
    return np.append(True, (starts[1:] != starts[:-1]) | (sizes[1:] != sizes[:-1]))


class _Positives:
    """The positives of some queries, best first, and how many of the other images are above each.

    similarities: (T, R), descending, −inf beyond a query's positives; indices: (T, R) in the gallery, its length beyond
    them; counts: (T,) of positives.
    """

    def __init__(self, similarities: Tensor, indices: Tensor, counts: Tensor) -> None:
        self.similarities, self.indices, self.counts = similarities, indices, counts
        self.just_above = torch.nextafter(similarities, torch.full_like(similarities, torch.inf))
        none = similarities.new_full((len(counts), 1), torch.inf)
        finite = torch.cat([similarities.masked_fill(similarities == -torch.inf, torch.inf), none], 1)
        self.worst = finite.amin(1, keepdim=True)  # (T, 1) of the positives, ∞ where there is none
        self.above = torch.zeros_like(indices)

    def count(self, found: Tensor, first: int) -> None:
        """Count the images of a block that are above each positive. found: (T, n), of the gallery from `first`.

        At equal similarity an image is above a positive that comes after it in the gallery.
        """
        if not self.indices.shape[1]:
            return
        if found.device.type == "cpu" and self._counted_one_by_one(found, first):
            return
        stop = first + found.shape[1]
        limits = torch.where(self.indices >= stop, self.similarities, self.just_above)
        above = _count_at_least(found, limits)
        inside = (self.indices >= first) & (self.indices < stop)
        if inside.any():
            reached = _count_at_least(found, torch.where(inside, self.similarities, limits))
            rows, columns = torch.nonzero(reached > above, as_tuple=True)
            places = torch.arange(first, stop, device=found.device)
            for row, column in zip(rows.split(TILE), columns.split(TILE), strict=True):
                equal = found[row] == self.similarities[row, column].unsqueeze(1)
                before = places < self.indices[row, column].unsqueeze(1)
                above[row, column] += (equal & before).sum(1)
        self.above += above

    def _counted_one_by_one(self, found: Tensor, first: int) -> bool:
        """Count if few images reach a query's worst positive, and say whether: those alone are compared."""
        candidates = (found >= self.worst).numpy()
        if np.count_nonzero(candidates) * max(self.indices.shape[1], 8) > candidates.size * 8 // SPARSE:
            return False
        row, column = map(torch.from_numpy, np.divmod(np.flatnonzero(candidates), candidates.shape[1]))
        value, limits = found[row, column].unsqueeze(1), self.similarities[row]
        before = (column + first).unsqueeze(1) < self.indices[row]
        self.above.index_add_(0, row, ((value > limits) | ((value == limits) & before)).long())
        return True

    def ranking(self, queries: Integers, nearest: Tensor, best: Tensor, gallery_size: int) -> Ranking:
        """nearest, best: (T,) index and similarity of the nearest image that is no positive."""
        most, device = self.above.shape[1], self.above.device
        ranks = self.above + torch.arange(1, most + 1, device=device)
        there = torch.arange(most, device=device) < self.counts.unsqueeze(1)
        right = torch.zeros_like(nearest, dtype=torch.bool)
        if most:
            right = there[:, 0] & (ranks[:, 0] == 1)
            nearest = torch.where(right, self.indices[:, 0], nearest)
            best = torch.where(right, self.similarities[:, 0], best)
        return Ranking(
            queries,
            self.counts.cpu().numpy(),
            ranks[there].cpu().numpy(),
            nearest.cpu().numpy(),
            best.double().cpu().numpy(),
            right.cpu().numpy(),
            gallery_size,
        )


class _Own:
    """The gallery images of the classes of some queries, which stand in the order of `_Everyone`.

    rows: (G,) positions in the gallery, class by class.
    """

    def __init__(self, everyone: _Everyone, some: Integers) -> None:
        self.everyone, self.some = everyone, some
        starts, sizes = everyone.starts[some], everyone.sizes[some]
        new = _firsts(starts, sizes)
        self.class_of = np.cumsum(new) - 1  # (T,) among the classes here
        self.first_query = np.flatnonzero(new)
        self.queries_of = np.diff(np.append(self.first_query, len(some)))
        class_sizes = sizes[self.first_query]
        self.offsets = np.cumsum(class_sizes) - class_sizes  # of a class in rows
        self.class_of_row = np.repeat(np.arange(len(class_sizes)), class_sizes)
        within = np.arange(len(self.class_of_row)) - self.offsets[self.class_of_row]
        self.rows = everyone.by_class[starts[self.first_query][self.class_of_row] + within]
        self.by_position = np.argsort(self.rows)
        self.sizes, self.most = sizes, int(sizes.max(initial=0))

    def ranked(self, tile: Tensor) -> _Positives:
        """The queries' positives among these, best first. tile: (T, D) the queries."""
        device = tile.device
        columns = self.offsets[self.class_of][:, None] + np.arange(self.most)  # (T, R) in rows
        there = np.arange(self.most) < self.sizes[:, None]
        indices = self.rows[np.where(there, columns, 0)] if len(self.rows) else np.zeros(columns.shape, np.int64)
        there &= indices != self.everyone.itself[self.some][:, None]
        if self.everyone.groups is not None:
            mine, theirs = self.everyone.groups
            group = mine[self.some][:, None]
            there &= (group != theirs[indices]) | (group < 0)
        wanted, valid = torch.from_numpy(columns).to(device), torch.from_numpy(there).to(device)
        found = tile.new_full(columns.shape, -torch.inf)
        part = tile.new_empty(len(tile), self.everyone.gallery.width)
        for first in range(0, len(self.rows), part.shape[1]):
            block = self.everyone.gallery.chosen(self.rows[first : first + part.shape[1]])
            similarities(tile, block, part)
            inside = valid & (wanted >= first) & (wanted < first + len(block))
            found = torch.where(inside, part.gather(1, (wanted - first).clamp(0, len(block) - 1)), found)
        values, order = found.sort(dim=1, descending=True, stable=True)  # rows of a class ascend, so ties are by index
        positions = torch.from_numpy(np.where(there, indices, len(self.everyone.gallery))).to(device)
        return _Positives(values, positions.gather(1, order), valid.sum(1))

    def leave_out(self, found: Tensor, first: int) -> None:
        """Make −inf, in place, what is of a query's own class or itself. found: (T, n), of the gallery from `first`."""
        stop = first + found.shape[1]
        ordered = self.rows[self.by_position]
        here = self.by_position[np.searchsorted(ordered, first) : np.searchsorted(ordered, stop)]
        classes = self.class_of_row[here]
        times = self.queries_of[classes]
        columns = np.repeat(self.rows[here] - first, times)
        within = np.arange(len(columns)) - np.repeat(np.cumsum(times) - times, times)
        queries = np.repeat(self.first_query[classes], times) + within
        itself = self.everyone.itself[self.some]
        own = np.flatnonzero((itself >= first) & (itself < stop))
        at = np.concatenate([queries, own]), np.concatenate([columns, itself[own] - first])
        where = tuple(torch.from_numpy(each).to(found.device) for each in at)
        found.index_put_(where, found.new_tensor(-torch.inf))


def _count_at_least(found: Tensor, limits: Tensor) -> Tensor:
    """(T, R) how many entries of each row of found (T, n) are at least each of the row's limits (T, R), descending."""
    rows, width = found.shape
    if limits.shape[1] <= FEW:
        counts = torch.empty(limits.shape, dtype=torch.int64, device=found.device)
        for first in range(0, rows, CACHED):
            part = slice(first, first + CACHED)
            for i in range(limits.shape[1]):
                counts[part, i] = _count_true(found[part] >= limits[part, i : i + 1])
        return counts
    if limits.shape[1] <= width:
        ordered = torch.from_numpy(np.sort(found.numpy(), axis=1)) if found.device.type == "cpu" else found.sort(1)[0]
        return width - torch.searchsorted(ordered, limits)
    passed = torch.searchsorted(limits.flip(1), found, right=True)  # how many of the lowest limits each entry reaches
    counts = torch.zeros(rows, limits.shape[1] + 1, dtype=torch.int64, device=found.device)
    counts.scatter_add_(1, passed, torch.ones_like(passed))
    return counts.flip(1).cumsum(1)[:, :-1]


def _count_true(flags: Tensor) -> Tensor:
    """(T,) how many of each row's flags (T, n) are set, n a multiple of 8: bytes added up eight at a time.

    torch's own sum makes integers of them first and takes five times as long.
    """
    words = flags.view(torch.int64)
    parts = next(n for n in range(1, words.shape[1] + 1) if words.shape[1] % n == 0 and words.shape[1] // n <= 255)
    sums = words.view(len(flags), parts, -1).sum(2)  # a byte holds up to 255
    return sums.view(torch.uint8).sum(1)
