"""Verification: how often a threshold on the cosine of two images decides rightly whether they are of one class.

TAR (true accept rate) is the share of the pairs of the same class that are accepted, FAR (false accept rate) that of
the pairs of different classes. Names as in ISO/IEC 19795-1 and in LFW and IJB practice.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.similarity import check_sizes, pair_similarities
from eml.retrieval.verification.pair_counts import AcceptedPairs, count_pairs
from eml.retrieval.verification.pairs import Pairs

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
"""Name of a value of `verification_metrics` or `verify_listed_pairs` → its name in tables."""


def shown(name: str) -> str:
    """Return the name of a value in tables: that of `SHOWN`, and `TAR@FAR=1e-3` for tar_at_far_1e-3."""
    return f"TAR@FAR={name.removeprefix(TAR)}" if name.startswith(TAR) else SHOWN[name]


def verification_metrics(accepted: AcceptedPairs, rates: Sequence[float] = FALSE_ACCEPT_RATES) -> dict[str, float]:
    """Compute the verification metrics of counted pairs.

    Args:
        accepted: Counts at every threshold.
        rates: The FARs of the values tar_at_far_…

    Returns:
        auc, eer, eer_threshold, tar_at_far_1e-3 and so on (without the rates that so few pairs cannot show),
        same_pairs and different_pairs; with bins also bin_width and auc_error.
    """
    error_rate, threshold = equal_error_rate(accepted)
    values = {"auc": area_under_curve(accepted), "eer": error_rate, "eer_threshold": threshold}
    for rate in rates:
        value, _ = true_accept_rate_at(accepted, rate)
        if not np.isnan(value):
            values[f"{TAR}{_short(rate)}"] = value
    values |= {"same_pairs": int(accepted.same[-1]), "different_pairs": int(accepted.different[-1])}
    if accepted.bin_width:
        values |= {"bin_width": accepted.bin_width, "auc_error": area_error(accepted)}
    return values


def _short(rate: float) -> str:
    """Format a rate for a name: 0.001 as `1e-3`, 0.025 as `2.5e-2`."""
    digits, _, power = f"{rate:.6e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def verify_listed_pairs(
    embeddings: Tensor, pairs: Pairs, second_embeddings: Tensor | None = None
) -> tuple[dict[str, float], AcceptedPairs]:
    """Compute the verification metrics of the pairs of a file, and their counts at every threshold.

    Args:
        embeddings: (N, D) of the images that the pairs' positions count, of any length but 0.
        pairs: As `read_pairs` returns them.
        second_embeddings: (N, D) by the model of the pairs' second images, where it is not that of the first ones.

    Returns:
        The values of `verification_metrics`, with fold_accuracy and fold_accuracy_error if the pairs have folds; and
        the counts.

    Raises:
        DataError: Embeddings are NaN, infinite or zero, all pairs are of one kind, or of one fold.
    """
    second = pairs.second
    if second_embeddings is not None:
        check_sizes(embeddings, second_embeddings)
        embeddings, second = torch.cat([embeddings, second_embeddings]), second + len(embeddings)
    similarity = pair_similarities(embeddings, pairs.first, second)
    accepted = count_pairs(similarity, pairs.same)
    values = verification_metrics(accepted)
    if pairs.fold is not None:
        accuracies = fold_accuracies(similarity, pairs.same, pairs.fold)
        values |= {
            "fold_accuracy": float(accuracies.mean()),
            "fold_accuracy_error": float(accuracies.std(ddof=1) / len(accuracies) ** 0.5),
        }
    return values, accepted


def area_under_curve(accepted: AcceptedPairs) -> float:
    """AUC = P(cosine of a same pair > that of a different one) + ½ P(equal), the area under TAR over FAR.

    Hanley & McNeil 1982. With bins, pairs of one bin count as equal; `area_error` bounds the difference.
    """
    tar, far = np.append(0, accepted.true_accept_rate), np.append(0, accepted.false_accept_rate)
    return float(((tar[1:] + tar[:-1]) / 2 * np.diff(far)).sum())


def area_error(accepted: AcceptedPairs) -> float:
    """½ Σ over bins of same · different: the most that bins can change the AUC; 0 without bins."""
    if not accepted.bin_width:
        return 0.0
    same, different = np.diff(accepted.true_accept_rate, prepend=0), np.diff(accepted.false_accept_rate, prepend=0)
    return float((same * different).sum() / 2)


def equal_error_rate(accepted: AcceptedPairs) -> tuple[float, float]:
    """Return the EER, where FAR = 1 − TAR on the straight lines between the points of the ROC, and its threshold.

    The threshold is that of the first point at or past the crossing (FAR ≥ 1 − TAR). ISO/IEC 19795-1.
    """
    far, frr = np.append(0, accepted.false_accept_rate), np.append(1, 1 - accepted.true_accept_rate)
    after = int(np.argmax(far >= frr))  # at the last threshold FAR = 1, FRR = 0
    gap = frr - far
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(far[after - 1] + share * (far[after] - far[after - 1])), float(accepted.threshold[after - 1])


def true_accept_rate_at(accepted: AcceptedPairs, false_accept_rate: float) -> tuple[float, float]:
    """Return TAR@FAR, the largest TAR of a threshold whose FAR is at most `false_accept_rate`, and that threshold.

    There is no interpolation, as in IJB's protocol (Maze 2018).

    Returns:
        (NaN, NaN) if FAR < 1/(number of different pairs), since so few pairs cannot tell such a rate from 0; (0, ∞) if
        even the highest threshold accepts too many.
    """
    if false_accept_rate * accepted.different[-1] < 1 - 1e-9:
        return float("nan"), float("nan")
    within = int(np.searchsorted(accepted.false_accept_rate, false_accept_rate * (1 + 1e-12), side="right"))
    if not within:
        return 0.0, float("inf")
    return float(accepted.true_accept_rate[within - 1]), float(accepted.threshold[within - 1])


def fold_accuracies(similarity: NDArray[np.floating], same: Booleans, fold: Integers) -> Floats:
    """Return the share of right decisions in each fold, by the threshold that is best on the other folds.

    LFW's 10-fold accuracy is their mean, with the standard error std(ddof=1)/√folds (Huang 2007, UMass TR 07-49,
    section 5). The threshold lies halfway between two neighbouring cosines of the other folds, or beyond the outermost;
    of several equally good ones it is the highest.

    Args:
        similarity: (P,) cosines of pairs.
        same: (P,) whether the pair is of one class.
        fold: (P,) integers.

    Returns:
        (folds,) in the order of the folds' numbers.

    Raises:
        DataError: There are fewer than two folds.
    """
    similarity = similarity.astype(np.float64)  # in float32 a threshold between two neighbours would be one of them
    folds = np.unique(fold)
    if len(folds) < 2:
        raise DataError("the accuracy over folds needs two folds or more; the pairs are in one", code="too-few-folds")
    accuracies = []
    for number in folds:
        held_out = fold == number
        threshold = _most_accurate(similarity[~held_out], same[~held_out])
        accuracies.append(float(((similarity[held_out] >= threshold) == same[held_out]).mean()))
    return np.array(accuracies)


def _most_accurate(similarity: Floats, same: Booleans) -> float:
    order = np.argsort(-similarity, kind="stable")
    ordered, matches = similarity[order], same[order]
    right = np.append(0, np.cumsum(np.where(matches, 1, -1)))  # when the first k are accepted, less a constant
    cut = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    best = int(cut[np.argmax(right[cut])])
    if best == 0:
        return float(np.nextafter(ordered[0], np.inf))
    return float(ordered[-1] if best == len(ordered) else (ordered[best - 1] + ordered[best]) / 2)


def curve(accepted: AcceptedPairs, points: int = 400) -> dict[str, list[float]]:
    """Return the ROC for drawing, at no more than `points` thresholds, evenly over log FAR and over TAR.

    Returns:
        false_accept_rate, true_accept_rate and threshold, from the highest threshold of the data to the lowest; the
        point (0, 0) of an infinite threshold is left out.
    """
    far, tar = accepted.false_accept_rate, accepted.true_accept_rate
    if len(far) > points:
        half = points // 2
        rates = np.geomspace(1 / accepted.different[-1], 1, half)
        places = [np.searchsorted(far, rates), np.searchsorted(tar, np.linspace(tar[0], 1, half))]
        rows = np.unique(np.clip(np.concatenate(places), 0, len(far) - 1))
    else:
        rows = np.arange(len(far))
    return {
        "false_accept_rate": far[rows].tolist(),
        "true_accept_rate": tar[rows].tolist(),
        "threshold": accepted.threshold[rows].tolist(),
    }
