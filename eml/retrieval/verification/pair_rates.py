"""Same or different? Decisions by a threshold on the cosine of two images, and how often they are right.

A pair is accepted as same when its cosine is at least the threshold, so pairs of equal cosine are accepted or refused
together. TAR (true accept rate): share of same pairs accepted. FAR (false accept rate): share of different pairs
accepted. Names as in ISO/IEC 19795-1 and LFW/IJB practice. Copies of an image are images: they make pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.similarity import UnitRows
from eml.retrieval.verification.pairs import Pairs

Floats = NDArray[np.float64]

EXACT_PAIRS = 1 << 22
"""So many pairs are sorted; more are counted in bins."""
BINS_PER_UNIT = 1 << 19
"""Bins of cosine are 2⁻¹⁹ ≈ 1.9e-6 wide: a power of two, so that a float32 cosine falls into its bin exactly."""
TILE_ENTRIES = 1 << 22
"""Similarities held at once: 16 MiB in float32, some 100 MiB with what counting needs."""
FALSE_ACCEPT_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
TAR = "tar_at_far_"
SHOWN = {
    "auc": "AUC",
    "eer": "EER",
    "eer_threshold": "threshold at EER",
    "same_pairs": "pairs of the same class",
    "different_pairs": "pairs of different classes",
    "bin_width": "step between thresholds",
    "auc_error": "error of the AUC, at most",
    "fold_accuracy": "accuracy over folds",
    "fold_accuracy_error": "standard error of that accuracy",
}
"""What the values of `verification` and `verification_of_pairs` are called in tables."""


def shown(name: str) -> str:
    """What a value is called in tables: `SHOWN`, and `TAR@FAR=1e-3` for tar_at_far_1e-3."""
    return f"TAR@FAR={name.removeprefix(TAR)}" if name.startswith(TAR) else SHOWN[name]


@dataclass(frozen=True)
class Accepted:
    """How many pairs of each kind are accepted at each threshold, (T,) descending.

    With bins, the thresholds are the lower edges of the bins that hold a pair: the counts there are exact, only
    thresholds between the edges are not looked at. bin_width: 0 where every distinct cosine is a threshold.
    """

    threshold: Floats
    same: NDArray[np.int64]
    different: NDArray[np.int64]
    bin_width: float = 0.0

    @property
    def true_accept_rate(self) -> Floats:
        """(T,)."""
        rate: Floats = self.same / self.same[-1]
        return rate

    @property
    def false_accept_rate(self) -> Floats:
        """(T,)."""
        rate: Floats = self.different / self.different[-1]
        return rate


def counted_pairs(similarity: NDArray[np.floating], same: NDArray[np.bool_]) -> Accepted:
    """Counts at every distinct similarity, by sorting. similarity, same: (P,).

    Raises DataError for NaN, and where all pairs are of one kind.
    """
    if bad := int((~np.isfinite(similarity)).sum()):
        raise DataError(f"{bad:,} of {len(similarity):,} pairs have no cosine (NaN or infinite)")
    order = np.argsort(-similarity, kind="stable")
    ordered, hits = similarity[order].astype(np.float64), same[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.zeros(0, np.int64)
    matched = np.cumsum(hits, dtype=np.int64)
    return _both_kinds(Accepted(ordered[last], matched[last], (last + 1) - matched[last]))


def all_pairs(embeddings: Tensor, labels: NDArray[np.int64]) -> Accepted:
    """Counts of all N(N−1)/2 pairs of images, same where their labels are. embeddings: (N, D), labels: (N,).

    Sorted where there are at most `EXACT_PAIRS`, else counted tile by tile into bins of 2⁻¹⁹: memory is then that of a
    tile and of the bins, whatever N. Raises DataError for NaN, infinite or zero embeddings and for one kind of pairs.
    """
    unit = unit_length(embeddings)
    if len(unit) * (len(unit) - 1) // 2 <= EXACT_PAIRS:
        tiles = list(pair_tiles(unit, labels))
        nothing = torch.zeros(0)
        similarity = torch.cat([each for each, *_ in tiles] or [nothing]).cpu().numpy()
        same = torch.cat([labels_equal(labels, a, b) for _, a, b in tiles] or [nothing.bool()]).cpu().numpy()
        return counted_pairs(similarity, same)
    return _binned(unit, labels)


def labels_equal(labels: NDArray[np.int64], first: Tensor, second: Tensor) -> Tensor:
    """(P,) bool: whether the images at two lists of positions are of one class."""
    codes = torch.tensor(labels).to(first.device)
    return codes[first] == codes[second]


def pair_tiles(unit: Tensor, labels: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every pair of images once, in tiles: (P,) cosines, first and second positions, first < second."""
    for first, similarity in _row_tiles(unit):
        above = torch.ones_like(similarity, dtype=torch.bool).triu_(1)
        a, b = torch.nonzero(above, as_tuple=True)
        yield similarity[above], a + first, b + first


def _row_tiles(unit: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Position of the first row, and (T, N − first) cosines to it and those after it: in the upper triangle all pairs.

    The cosines may be changed in place.
    """
    first, total = 0, len(unit)
    while first < total - 1:
        rows = min(max(1, TILE_ENTRIES // (total - first)), total - first)
        yield first, unit[first : first + rows] @ unit[first:].T
        first += rows


def _binned(unit: Tensor, labels: NDArray[np.int64]) -> Accepted:
    bins = 2 * BINS_PER_UNIT + 1  # the last is that of 1, which rounding may exceed
    everyone, same = torch.zeros(2, bins, dtype=torch.int64, device=unit.device)
    codes = torch.tensor(labels).to(unit.device)
    for first, similarity in _row_tiles(unit):  # a pair is twice in the first T columns
        rows = len(similarity)
        place = similarity.mul_(BINS_PER_UNIT).floor_().clamp_(-BINS_PER_UNIT, BINS_PER_UNIT).int() + BINS_PER_UNIT
        together = codes[first : first + rows, None] == codes[None, first:]
        above = torch.ones(rows, rows, dtype=torch.bool, device=unit.device).triu_(1)
        together[:, :rows] &= above
        for some in (place[:, :rows][above], place[:, rows:].reshape(-1)):
            everyone += torch.bincount(some, minlength=bins)
        same += torch.bincount(place[together], minlength=bins)
    same_counts = same.cpu().numpy()
    different = everyone.cpu().numpy() - same_counts
    used = np.flatnonzero(everyone.cpu().numpy())[::-1]
    edges = used / BINS_PER_UNIT - 1.0
    return _both_kinds(Accepted(edges, same_counts[used].cumsum(), different[used].cumsum(), 1 / BINS_PER_UNIT))


@dataclass(frozen=True)
class PairCounts:
    """Pairs of two images that a threshold accepts, and all there are."""

    same: int
    different: int
    all_same: int
    all_different: int


def pairs_at_least(embeddings: Tensor, labels: NDArray[np.int64], threshold: float) -> PairCounts:
    """How many of all N(N−1)/2 pairs have a cosine of at least the threshold, in tiles."""
    unit, codes = unit_length(embeddings), torch.tensor(labels)
    same = different = 0
    for first, similarity in _row_tiles(unit):
        accepted = (similarity >= threshold).triu_(1)
        together = accepted & (codes[first : first + len(similarity), None] == codes[None, first:])
        same += (matched := int(together.sum()))
        different += int(accepted.sum()) - matched
    sizes = np.unique(labels, return_counts=True)[1].astype(np.int64)
    all_same = int((sizes * (sizes - 1) // 2).sum())
    return PairCounts(same, different, all_same, len(labels) * (len(labels) - 1) // 2 - all_same)


def unit_length(embeddings: Tensor) -> Tensor:
    """(N, D) of length 1; no copy where they are. Raises DataError on NaN, infinite or zero embeddings."""
    return UnitRows(embeddings, "image")[:]


def _both_kinds(accepted: Accepted) -> Accepted:
    same, different = (int(each[-1]) if len(each) else 0 for each in (accepted.same, accepted.different))
    if not same or not different:
        which = f"{same:,} {'pair is' if same == 1 else 'pairs are'} of the same class"
        raise DataError(
            f"{which} and {different:,} of different ones; verification needs both: two classes at least, and one of "
            "two images or more"
        )
    return accepted


def area_under_curve(accepted: Accepted) -> float:
    """AUC = P(cosine of a same pair > that of a different one) + ½ P(equal), the area under TAR over FAR.

    Hanley & McNeil 1982. With bins, pairs of one bin count as equal; `area_error` bounds the difference.
    """
    tar, far = np.append(0, accepted.true_accept_rate), np.append(0, accepted.false_accept_rate)
    return float(((tar[1:] + tar[:-1]) / 2 * np.diff(far)).sum())


def area_error(accepted: Accepted) -> float:
    """How far the AUC can be from that of the cosines themselves: ½ Σ over bins of same · different; 0 if exact."""
    if not accepted.bin_width:
        return 0.0
    same, different = np.diff(accepted.true_accept_rate, prepend=0), np.diff(accepted.false_accept_rate, prepend=0)
    return float((same * different).sum() / 2)


def equal_error_rate(accepted: Accepted) -> tuple[float, float]:
    """(EER, its threshold): where FAR = 1 − TAR, on the straight lines between the points of the ROC.

    The threshold is that of the first point at or past the crossing (FAR ≥ 1 − TAR). ISO/IEC 19795-1.
    """
    far, frr = np.append(0, accepted.false_accept_rate), np.append(1, 1 - accepted.true_accept_rate)
    after = int(np.argmax(far >= frr))  # at the last threshold FAR = 1, FRR = 0
    gap = frr - far
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(far[after - 1] + share * (far[after] - far[after - 1])), float(accepted.threshold[after - 1])


def true_accept_rate_at(accepted: Accepted, false_accept_rate: float) -> tuple[float, float]:
    """(TAR@FAR, its threshold): the largest TAR of a threshold whose FAR is at most the one asked for.

    No interpolation, as in IJB's protocol (Maze 2018). (NaN, NaN) where FAR < 1 / number of different pairs: so few
    pairs cannot tell such a rate from none. The threshold is infinite where even the highest accepts too many.
    """
    if false_accept_rate * accepted.different[-1] < 1 - 1e-9:
        return float("nan"), float("nan")
    within = int(np.searchsorted(accepted.false_accept_rate, false_accept_rate * (1 + 1e-12), side="right"))
    if not within:
        return 0.0, float("inf")
    return float(accepted.true_accept_rate[within - 1]), float(accepted.threshold[within - 1])


def fold_accuracies(similarity: NDArray[np.floating], same: NDArray[np.bool_], fold: NDArray[np.int64]) -> Floats:
    """(folds,) share of right decisions in each fold, by the threshold that is best on the other folds.

    LFW's 10-fold accuracy is their mean, with the standard error std(ddof=1)/√folds (Huang 2007, UMass TR 07-49,
    section 5). The threshold lies halfway between two neighbouring cosines of the other folds, or beyond the outermost;
    of several equally good the highest. Raises DataError for fewer than two folds.
    """
    similarity = similarity.astype(np.float64)  # in float32 a threshold between two neighbours would be one of them
    folds = np.unique(fold)
    if len(folds) < 2:
        raise DataError("the accuracy over folds needs two folds or more; the pairs are in one")
    found = []
    for each in folds:
        held = fold == each
        threshold = _most_accurate(similarity[~held], same[~held])
        found.append(float(((similarity[held] >= threshold) == same[held]).mean()))
    return np.array(found)


def _most_accurate(similarity: Floats, same: NDArray[np.bool_]) -> float:
    order = np.argsort(-similarity, kind="stable")
    ordered, hits = similarity[order], same[order]
    right = np.append(0, np.cumsum(np.where(hits, 1, -1)))  # when the first k are accepted, less a constant
    cut = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    best = int(cut[np.argmax(right[cut])])
    if best == 0:
        return float(np.nextafter(ordered[0], np.inf))
    return float(ordered[-1] if best == len(ordered) else (ordered[best - 1] + ordered[best]) / 2)


def verification(accepted: Accepted, rates: Sequence[float] = FALSE_ACCEPT_RATES) -> dict[str, float]:
    """auc, eer, eer_threshold and tar_at_far_1e-3, … of counted pairs; rates that so few pairs cannot show are absent.

    Also the numbers of pairs, and with bins bin_width and auc_error.
    """
    error_rate, threshold = equal_error_rate(accepted)
    values = {"auc": area_under_curve(accepted), "eer": error_rate, "eer_threshold": threshold}
    for rate in rates:
        value, _ = true_accept_rate_at(accepted, rate)
        if not np.isnan(value):
            values[f"{TAR}{short(rate)}"] = value
    values |= {"same_pairs": int(accepted.same[-1]), "different_pairs": int(accepted.different[-1])}
    if accepted.bin_width:
        values |= {"bin_width": accepted.bin_width, "auc_error": area_error(accepted)}
    return values


def short(rate: float) -> str:
    """0.001 → `1e-3`, 0.025 → `2.5e-2`: a rate as it stands in names."""
    digits, _, power = f"{rate:.6e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def verification_of_pairs(embeddings: Tensor, pairs: Pairs) -> tuple[dict[str, float], Accepted]:
    """`verification` of the pairs of a file, with fold_accuracy and fold_accuracy_error where they have folds."""
    similarity = pair_similarities(embeddings, pairs.first, pairs.second)
    accepted = counted_pairs(similarity, pairs.same)
    values = verification(accepted)
    if pairs.fold is not None:
        each = fold_accuracies(similarity, pairs.same, pairs.fold)
        values |= {
            "fold_accuracy": float(each.mean()),
            "fold_accuracy_error": float(each.std(ddof=1) / len(each) ** 0.5),
        }
    return values, accepted


def pair_similarities(
    embeddings: Tensor, first: NDArray[np.int64], second: NDArray[np.int64], chunk: int = 1 << 16
) -> NDArray[np.float32]:
    """(P,) float32 cosines of the images at two lists of positions, a chunk of pairs at a time."""
    unit = unit_length(embeddings)
    done = [
        (unit[first[start : start + chunk]] * unit[second[start : start + chunk]]).sum(1)
        for start in range(0, len(first), chunk)
    ]
    return torch.cat(done).float().cpu().numpy() if done else np.zeros(0, np.float32)


def curve(accepted: Accepted, points: int = 400) -> dict[str, list[float]]:
    """The ROC for drawing: FAR, TAR and threshold at no more than `points` thresholds, evenly over log FAR and TAR.

    Starts at the highest threshold of the data; the point (0, 0) of an infinite one is left out.
    """
    far, tar = accepted.false_accept_rate, accepted.true_accept_rate
    if len(far) > points:
        half = points // 2
        wanted_far = np.geomspace(1 / accepted.different[-1], 1, half)
        places = [np.searchsorted(far, wanted_far), np.searchsorted(tar, np.linspace(tar[0], 1, half))]
        kept = np.unique(np.clip(np.concatenate(places), 0, len(far) - 1))
    else:
        kept = np.arange(len(far))
    return {
        "false_accept_rate": far[kept].tolist(),
        "true_accept_rate": tar[kept].tolist(),
        "threshold": accepted.threshold[kept].tolist(),
    }
