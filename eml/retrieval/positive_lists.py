"""The gallery images among which the positives of each query are: its class, or a list of its own."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from eml.retrieval.added_scores import AddedScores
from eml.retrieval.arrays import Booleans, Integers
from eml.retrieval.positive_counts import PositiveCounts
from eml.retrieval.similarity import UnitRows, similarity_tiles


@dataclass(frozen=True)
class PositiveLists:
    """A list of gallery images for each of Q queries.

    Attributes:
        images: (P,) gallery indices, list after list, ascending within each.
        starts: (Q,) the place in `images` where each query's list begins.
        sizes: (Q,) the length of each query's list.
        list_of_image: (N,) the start of the one list that each gallery image is in; None where lists overlap.
    """

    images: Integers
    starts: Integers
    sizes: Integers
    list_of_image: Integers | None = None

    @classmethod
    def of_classes(cls, query_labels: Integers, gallery_labels: Integers) -> "PositiveLists":
        """Return the lists of queries (Q,) whose positives are the gallery images (N,) of their class."""
        images = np.argsort(gallery_labels, kind="stable")
        ordered = gallery_labels[images]
        starts = np.searchsorted(ordered, query_labels)
        sizes = np.searchsorted(ordered, query_labels, side="right") - starts
        return cls(images, starts, sizes, np.searchsorted(ordered, gallery_labels))

    @classmethod
    def of_pairs(cls, queries: Integers, images: Integers, number: int) -> "PositiveLists":
        """Return the lists of Q queries from pairs (P,) of a query and a gallery image; repeated pairs count once.

        Args:
            queries: (P,) in 0…Q−1.
            images: (P,) gallery indices.
            number: Q.
        """
        width = int(images.max(initial=0)) + 1
        of_query, listed = np.divmod(np.unique(queries * width + images), width)
        sizes = np.bincount(of_query, minlength=number).astype(np.int64)
        return cls(listed, np.cumsum(sizes) - sizes, sizes)


def begins_list(starts: Integers, sizes: Integers) -> Booleans:
    """Return (T,) whether a query is the first of those with its list, by the place of the list.

    An empty list, such as that of a class that the gallery lacks, has the start of the one after it; its size tells
    the two apart.
    """
    return np.append(True, (starts[1:] != starts[:-1]) | (sizes[1:] != sizes[:-1]))


class ListedImages:
    """The gallery images in the lists of a batch of queries, in which queries of one list follow one another.

    Args:
        gallery: All images.
        lists: Of all queries.
        batch: (T,) the queries.
        itself: (T,) gallery index of each query's own image, −1 for none.
        groups: (T,) of the queries and (N,) of the gallery: an image of the query's list and group is no positive.

    Attributes:
        rows: (G,) positions in the gallery, list by list.
    """

    def __init__(
        self,
        gallery: UnitRows,
        lists: PositiveLists,
        batch: Integers,
        itself: Integers,
        groups: tuple[Integers, Integers] | None,
    ) -> None:
        self.gallery, self.lists, self.itself, self.groups = gallery, lists, itself, groups
        self.starts, self.sizes = lists.starts[batch], lists.sizes[batch]
        begins = begins_list(self.starts, self.sizes)
        self.list_of = np.cumsum(begins) - 1  # (T,) among the lists here
        list_starts, list_sizes = self.starts[begins], self.sizes[begins]
        self.offsets = np.cumsum(list_sizes) - list_sizes  # of a list in rows
        list_of_row = np.repeat(np.arange(len(list_sizes)), list_sizes)
        within = np.arange(len(list_of_row)) - self.offsets[list_of_row]
        self.rows = lists.images[list_starts[list_of_row] + within]
        self.most = int(self.sizes.max(initial=0))

    def positives(self, queries: Tensor, added: AddedScores | None, threads: Executor) -> PositiveCounts:
        """Return the positives of the queries (T, D), best first, with nothing counted yet."""
        device, gallery = queries.device, self.gallery
        columns = self.offsets[self.list_of][:, None] + np.arange(self.most)  # (T, R) in rows
        indices, present = self._members(columns)
        places, valid = torch.from_numpy(columns).to(device), torch.from_numpy(present).to(device)
        similarity = queries.new_full(columns.shape, -torch.inf)
        for first, tile in similarity_tiles(queries, gallery, positions=self.rows):
            count = min(tile.shape[1], len(self.rows) - first)
            if added is not None:
                added.add_at(tile, self.rows[first : first + count])
            inside = valid & (places >= first) & (places < first + count)
            similarity = torch.where(inside, tile.gather(1, (places - first).clamp(0, count - 1)), similarity)
        # The rows of a list ascend, so a stable sort puts equal similarities in the order of the gallery.
        similarity, order = similarity.sort(dim=1, descending=True, stable=True)
        positions = torch.from_numpy(np.where(present, indices, len(gallery))).to(device)
        return PositiveCounts(similarity, positions.gather(1, order), valid.sum(1), threads)

    def _members(self, columns: Integers) -> tuple[Integers, Booleans]:
        """Return (T, R) gallery indices of each query's list, and whether they are positives of the query."""
        present = np.arange(self.most) < self.sizes[:, None]
        indices = self.rows[np.where(present, columns, 0)] if len(self.rows) else np.zeros(columns.shape, np.int64)
        present &= indices != self.itself[:, None]
        if self.groups is not None:
            query_groups, gallery_groups = self.groups
            group = query_groups[:, None]
            present &= (group != gallery_groups[indices]) | (group < 0)
        return indices, present

    def leave_out(self, tile: Tensor, first: int) -> None:
        """Set to −inf, in place, each query's own list and own image. tile: (T, n), of the gallery from `first`."""
        if self._lists_on_device is not None:
            self._leave_out_on_device(tile, first, *self._lists_on_device)
            return
        queries, positions = self._own_pairs
        part = slice(*np.searchsorted(positions, (first, first + tile.shape[1])))
        places = queries[part] * tile.shape[1] + positions[part] - first
        tile.view(-1).index_fill_(0, torch.from_numpy(places).to(tile.device), -torch.inf)

    def _leave_out_on_device(self, tile: Tensor, first: int, lists: Tensor, itself: Tensor, of_image: Tensor) -> None:
        """Do what `leave_out` does without a list of places, which the host would make and the device wait for."""
        columns = of_image[first : first + tile.shape[1]]
        places = torch.arange(first, first + len(columns), device=tile.device)
        tile[:, : len(columns)].masked_fill_((columns == lists) | (places == itself), -torch.inf)

    @cached_property
    def _lists_on_device(self) -> Sequence[Tensor] | None:
        """(T, 1) the start of each query's list, −1 of an empty one, (T, 1) own image, and (N,) list of each image.

        None on a CPU, and where an image is in several lists.
        """
        device, of_image = self.gallery.device, self.lists.list_of_image
        if device.type == "cpu" or of_image is None:
            return None
        starts = np.where(self.sizes > 0, self.starts, -1)
        arrays = (starts[:, None], self.itself[:, None], of_image)
        return [torch.from_numpy(array).to(device) for array in arrays]

    @cached_property
    def _own_pairs(self) -> tuple[Integers, Integers]:
        """Return (n,) queries and (n,) gallery indices of their list and of themselves, by gallery index."""
        columns = self.offsets[self.list_of][:, None] + np.arange(self.most)
        within, known = np.arange(self.most) < self.sizes[:, None], self.itself >= 0
        queries = np.concatenate([np.nonzero(within)[0], np.flatnonzero(known)])
        positions = np.concatenate([self.rows[columns[within]], self.itself[known]])
        order = np.argsort(positions, kind="stable")
        return queries[order], positions[order]
