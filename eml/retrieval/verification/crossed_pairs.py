"""Counts of pairs of images of which the first is embedded by one model and the second by another.

Unlike those of one model, the cosine of images i and j is not that of j and i: N images make N(N − 1) pairs. An image
is not paired with itself.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from eml.retrieval.arrays import Integers
from eml.retrieval.device import device_of, pairs_at_once
from eml.retrieval.products import product
from eml.retrieval.similarity import PAIR_ENTRIES, check_sizes, unit_rows_alike
from eml.retrieval.verification.pair_counts import (
    BINS_PER_UNIT,
    EXACT_PAIRS,
    AcceptedPairs,
    PairsAtThreshold,
    check_both_kinds,
    count_pairs,
)


def all_crossed_pairs(first: Tensor, second: Tensor, labels: Integers) -> AcceptedPairs:
    """Count all N(N − 1) pairs of an image by one model and another image by the other, at every threshold.

    Up to `EXACT_PAIRS` pairs are sorted; more are counted in bins of 2⁻¹⁹.

    Args:
        first: (N, D) embeddings by the model of the pairs' first images.
        second: (N, D) of the same images, by that of the second ones.
        labels: (N,) integers; pairs of equal labels are of the same class.

    Raises:
        DataError: Embeddings are NaN, infinite, zero or of two sizes, or all pairs are of one kind.
    """
    if len(labels) * (len(labels) - 1) > EXACT_PAIRS:
        return _count_in_bins(first, second, labels)
    similarities, matches = [torch.zeros(0)], [torch.zeros(0, dtype=torch.bool)]
    for cosine, same, counted in _tiles(first, second, labels):
        similarities.append(cosine[counted].cpu())
        matches.append(same[counted].cpu())
    return count_pairs(torch.cat(similarities).numpy(), torch.cat(matches).numpy())


def count_crossed_pairs_at(first: Tensor, second: Tensor, labels: Integers, threshold: float) -> PairsAtThreshold:
    """Count how many of all N(N − 1) pairs have a cosine of at least the threshold.

    Args:
        first: (N, D) embeddings by the model of the pairs' first images.
        second: (N, D) of the same images, by that of the second ones.
        labels: (N,) integers; pairs of equal labels are of the same class.
        threshold: A cosine.

    Raises:
        DataError: Embeddings are NaN, infinite, zero or of two sizes.
    """
    matched = total = 0
    for cosine, same, counted in _tiles(first, second, labels):
        accepted = (cosine >= threshold) & counted
        matched += int((accepted & same).sum())
        total += int(accepted.sum())
    sizes = np.unique(labels, return_counts=True)[1].astype(np.int64)
    all_same = int((sizes * (sizes - 1)).sum())
    return PairsAtThreshold(matched, total - matched, all_same, len(labels) * (len(labels) - 1) - all_same)


def _count_in_bins(first: Tensor, second: Tensor, labels: Integers) -> AcceptedPairs:
    bins = 2 * BINS_PER_UNIT + 1  # the last is that of 1, which rounding may exceed
    everything, matched = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
    for cosine, same, counted in _tiles(first, second, labels):
        place = (cosine * BINS_PER_UNIT).floor_().clamp_(-BINS_PER_UNIT, BINS_PER_UNIT).long() + BINS_PER_UNIT
        everything += torch.bincount(place[counted], minlength=bins).cpu().numpy()
        matched += torch.bincount(place[counted & same], minlength=bins).cpu().numpy()
    used = np.flatnonzero(everything)[::-1]
    edges, different = used / BINS_PER_UNIT - 1.0, everything - matched
    accepted = AcceptedPairs(edges, matched[used].cumsum(), different[used].cumsum(), 1 / BINS_PER_UNIT)
    return check_both_kinds(accepted)


def _tiles(first: Tensor, second: Tensor, labels: Integers) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield cosines (T, N) of some images to all, whether the two are of one class, and whether they are a pair."""
    check_sizes(first, second)
    device = device_of(first)
    rows, columns = unit_rows_alike(first, second, device)
    codes, everything = torch.tensor(labels, device=device), columns[:]
    at_once = max(1, pairs_at_once(device, PAIR_ENTRIES) // max(1, len(columns)))
    for begin in range(0, len(rows), at_once):
        block = rows[begin : begin + at_once]
        counted = torch.ones(len(block), len(columns), dtype=torch.bool, device=device)
        counted.diagonal(begin).fill_(False)
        yield product(block, everything), codes[begin : begin + at_once, None] == codes, counted
