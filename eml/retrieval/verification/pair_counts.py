"""Counts of the pairs of images of the same class, and of different classes, that a cosine threshold accepts.

A pair is accepted as same if its cosine is at least the threshold, so pairs of equal cosine are accepted or refused
together. Copies of an image are images: they make pairs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.similarity import pair_tiles, unit_length_on_device

EXACT_PAIRS = 1 << 22
"""Up to so many pairs are sorted; more are counted in bins."""
BINS_PER_UNIT = 1 << 19
"""Bins of cosine are 2⁻¹⁹ ≈ 1.9e-6 wide: a power of two, so that a float32 cosine falls into its bin exactly."""


@dataclass(frozen=True)
class AcceptedPairs:
    """Counts of the pairs of each kind that are accepted at each of T thresholds.

    Attributes:
        threshold: (T,) descending. At the lowest all pairs are accepted. With bins these are the lower edges of the
            bins that hold a pair; the counts there are exact, and thresholds between the edges are left out.
        same: (T,) number of accepted pairs of the same class.
        different: (T,) number of accepted pairs of different classes.
        bin_width: 0 if every distinct cosine is a threshold.
    """

    threshold: Floats
    same: Integers
    different: Integers
    bin_width: float = 0.0

    @property
    def true_accept_rate(self) -> Floats:
        """(T,) TAR: share of the pairs of the same class that are accepted."""
        rate: Floats = self.same / self.same[-1]
        return rate

    @property
    def false_accept_rate(self) -> Floats:
        """(T,) FAR: share of the pairs of different classes that are accepted."""
        rate: Floats = self.different / self.different[-1]
        return rate


def count_pairs(similarity: NDArray[np.floating], same: Booleans) -> AcceptedPairs:
    """Count listed pairs at every distinct similarity, by sorting.

    Args:
        similarity: (P,) cosines.
        same: (P,) whether the pair is of one class.

    Raises:
        DataError: A cosine is NaN or infinite, or all pairs are of one kind.
    """
    if bad := int((~np.isfinite(similarity)).sum()):
        text = f"{bad:,} of {len(similarity):,} pairs have no cosine (NaN or infinite)"
        raise DataError(text, code="invalid-embeddings")
    order = np.argsort(-similarity, kind="stable")
    ordered, matches = similarity[order].astype(np.float64), same[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.zeros(0, np.int64)
    matched = np.cumsum(matches, dtype=np.int64)
    return check_both_kinds(AcceptedPairs(ordered[last], matched[last], (last + 1) - matched[last]))


def all_pairs(embeddings: Tensor, labels: Integers) -> AcceptedPairs:
    """Count all N(N − 1)/2 pairs of images at every threshold.

    Up to `EXACT_PAIRS` pairs are sorted. More are counted tile by tile in bins of 2⁻¹⁹, in the memory of one tile and
    the bins.

    Args:
        embeddings: (N, D), of any length but 0.
        labels: (N,) integers; pairs of equal labels are of the same class.

    Raises:
        DataError: Embeddings are NaN, infinite or zero, or all pairs are of one kind.
    """
    unit = unit_length_on_device(embeddings)
    codes = torch.tensor(labels, device=unit.device)
    if len(unit) * (len(unit) - 1) // 2 > EXACT_PAIRS:
        return _count_in_bins(unit, codes)
    similarities, matches = [torch.zeros(0, dtype=unit.dtype)], [torch.zeros(0, dtype=torch.bool)]
    for first, tile in pair_tiles(unit):
        above = torch.ones_like(tile, dtype=torch.bool).triu_(1)
        similarities.append(tile[above].cpu())
        matches.append(same_class(codes, first, tile)[above].cpu())
    return count_pairs(torch.cat(similarities).numpy(), torch.cat(matches).numpy())


def same_class(codes: Tensor, first: int, tile: Tensor) -> Tensor:
    """Return (T, N − first) whether the images of a tile of `pair_tiles` have the same label. codes: (N,) labels."""
    return codes[first : first + len(tile), None] == codes[None, first:]


def _count_in_bins(unit: Tensor, codes: Tensor) -> AcceptedPairs:
    bins = 2 * BINS_PER_UNIT + 1  # the last is that of 1, which rounding may exceed
    everything, same = torch.zeros(2, bins, dtype=torch.int64, device=unit.device)
    for first, tile in pair_tiles(unit):  # a pair is twice in the first T columns
        rows, matches = len(tile), same_class(codes, first, tile)
        place = tile.mul_(BINS_PER_UNIT).floor_().clamp_(-BINS_PER_UNIT, BINS_PER_UNIT).int() + BINS_PER_UNIT
        above = torch.ones(rows, rows, dtype=torch.bool, device=unit.device).triu_(1)
        matches[:, :rows] &= above
        for part in (place[:, :rows][above], place[:, rows:].reshape(-1)):
            everything += torch.bincount(part, minlength=bins)
        same += torch.bincount(place[matches], minlength=bins)
    same_counts = same.cpu().numpy()
    different = everything.cpu().numpy() - same_counts
    used = np.flatnonzero(everything.cpu().numpy())[::-1]
    edges = used / BINS_PER_UNIT - 1.0
    accepted = AcceptedPairs(edges, same_counts[used].cumsum(), different[used].cumsum(), 1 / BINS_PER_UNIT)
    return check_both_kinds(accepted)


@dataclass(frozen=True)
class PairsAtThreshold:
    """The pairs of images that one threshold accepts, and all there are.

    Attributes:
        same: Accepted pairs of the same class.
        different: Accepted pairs of different classes.
        all_same: All pairs of the same class.
        all_different: All pairs of different classes.
    """

    same: int
    different: int
    all_same: int
    all_different: int


def count_pairs_at(embeddings: Tensor, labels: Integers, threshold: float) -> PairsAtThreshold:
    """Count how many of all N(N − 1)/2 pairs have a cosine of at least the threshold.

    Args:
        embeddings: (N, D), of any length but 0.
        labels: (N,) integers; pairs of equal labels are of the same class.
        threshold: A cosine.

    Raises:
        DataError: Embeddings are NaN, infinite or zero.
    """
    unit = unit_length_on_device(embeddings)
    codes = torch.tensor(labels, device=unit.device)
    same = different = 0
    for first, tile in pair_tiles(unit):
        accepted = (tile >= threshold).triu_(1)
        matched = int((accepted & same_class(codes, first, tile)).sum())
        same += matched
        different += int(accepted.sum()) - matched
    sizes = np.unique(labels, return_counts=True)[1].astype(np.int64)
    all_same = int((sizes * (sizes - 1) // 2).sum())
    return PairsAtThreshold(same, different, all_same, len(labels) * (len(labels) - 1) // 2 - all_same)


def check_both_kinds(accepted: AcceptedPairs) -> AcceptedPairs:
    """Return the counts, or raise DataError where all pairs are of one kind."""
    same, different = (int(counts[-1]) if len(counts) else 0 for counts in (accepted.same, accepted.different))
    if not same or not different:
        pairs = f"{same:,} {'pair is' if same == 1 else 'pairs are'} of the same class"
        raise DataError(
            f"{pairs} and {different:,} of different ones; verification needs both: two classes at least, and one of "
            "two images or more",
            code="too-few-pairs",
        )
    return accepted
