"""Images whose label is probably wrong, ranked; and images that no label explains well."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import normalize

from eml.retrieval.label_errors.label_votes import Votes

NONE = 1e-4  # added to a share of the votes, so that the odds of labels without any are finite
ASKED = 3  # nearest images whose mean similarity says whether an image is near to anything
FENCE = 3.0  # interquartile ranges below the lower quartile: Tukey 1977, "far out"
HELD = 1 << 22  # cosines to class centres at once, 32 MiB
COUNTED = 10  # nearest images that are told by number


@dataclass(frozen=True)
class LabelErrors:
    """What the images nearby say of each label; each (N,).

    own, other: share of the votes for the image's own label, and for the label that has the most of the others.
    suggested: that other label, −1 where there is none. score: other / (own + other), 0 to 1: the odds of a label error
    as a share; NaN of an image that cannot be judged: it is the only one of its label, or of all, in its space.
    toward: cosine to the nearest centre of another label less that to its own label's, see `toward_other_centres`.
    place: 0 to 1, where it stands among all by score and by toward, the mean of the two; NaN where there is no score.
    near: mean cosine to its three nearest images. outlier: whether that is far below what is usual in its space.
    nearest_own, nearest_suggested: how many of its ten nearest images have that label.
    """

    own: NDArray[np.float64]
    other: NDArray[np.float64]
    suggested: NDArray[np.int64]
    score: NDArray[np.float64]
    toward: NDArray[np.float64]
    place: NDArray[np.float64]
    near: NDArray[np.float64]
    outlier: NDArray[np.bool_]
    nearest_own: NDArray[np.int64]
    nearest_suggested: NDArray[np.int64]

    def suspects(self, least: float) -> NDArray[np.int64]:
        """Rows with a score of at least that, by falling place; of equal ones the highest score, then by row."""
        rows = np.flatnonzero(np.nan_to_num(self.score, nan=-1.0) >= least)
        return rows[np.lexsort((rows, -self.score[rows], -self.place[rows]))]

    def ambiguous(self, least: float) -> NDArray[np.int64]:
        """Rows between two labels: a score from 1/3 to below `least`; the most undecided first."""
        score = np.nan_to_num(self.score, nan=-1.0)
        rows = np.flatnonzero((score < least) & (score >= 1 / 3))
        return rows[np.lexsort((rows, np.abs(score[rows] - 0.5)))]

    def outliers(self) -> NDArray[np.int64]:
        """Rows of images that are near to nothing, the farthest first."""
        rows = np.flatnonzero(self.outlier)
        return rows[np.lexsort((rows, self.near[rows]))]


def find_label_errors(votes: Votes, embeddings: Tensor) -> LabelErrors:
    """Score of each image: s(other) / (s(own) + s(other)), s a label's share of the votes of the images nearby.

    The image itself has no vote, and a network that has not been trained on it, or on nothing, has not learnt its
    label: this is the "out-of-sample" that confident learning asks for (Northcutt 2021, arXiv:1911.00068, section 3),
    whose ranking by normalised margin it is, with odds in the place of the difference. Odds rank better: two labels
    that an image lies between take votes from each other, a wrong one gets none. Labels of few images can have
    few votes at most; what is voted on is who is nearest, not how many there are.

    The order is by the mean of two ranks (Borda), of the score and of the nearness to another label's centre: the one
    looks at a few images nearby, the other at the whole label, and where they agree both are right more often.
    embeddings: (N, D) that the votes were made of.
    """
    number = len(votes.labels)
    own, other = np.zeros(number), np.zeros(number)
    suggested = np.full(number, -1)
    for rows, labels, shares in votes.shares():
        same = labels == votes.labels[rows]
        own[rows[same]] = shares[same]
        rows, labels, shares = rows[~same], labels[~same], shares[~same]
        order = np.lexsort((-labels, shares, rows))  # the largest share of a row last; of equal ones the first label
        last = order[np.append(rows[order][1:] != rows[order][:-1], True)] if len(order) else order
        other[rows[last]], suggested[rows[last]] = shares[last], labels[last]
    score = (other + NONE) / (own + other + 2 * NONE)
    score[_alone(votes) | ((own == 0) & (other == 0))] = np.nan
    toward = np.where(np.isnan(score), np.nan, toward_other_centres(embeddings, votes.labels, votes.spaces))
    near = _near(votes)
    first = np.where(votes.nearest[:, :COUNTED] >= 0, votes.labels[votes.nearest[:, :COUNTED]], -2)
    return LabelErrors(
        own=own,
        other=other,
        suggested=suggested,
        score=score,
        toward=toward,
        place=_mean_place(score, toward),
        near=near,
        outlier=_far_out(near, votes.spaces),
        nearest_own=(first == votes.labels[:, None]).sum(1),
        nearest_suggested=(first == suggested[:, None]).sum(1),
    )


def toward_other_centres(
    embeddings: Tensor, labels: NDArray[np.int64], spaces: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(N,) cosine to the nearest class centre of another label less that to the own label's, in its space.

    A centre is the direction of the sum of a label's unit vectors; the image itself is left out of its own. NaN where
    a label has no other image in the space, or the space no other label.
    """
    found = np.full(len(labels), np.nan)
    for space in np.unique(spaces):
        rows = np.flatnonzero(spaces == space)
        unit = normalize(embeddings[rows].double(), dim=1)
        names, of = np.unique(labels[rows], return_inverse=True)
        codes, counts = torch.from_numpy(of), np.bincount(of)
        sums = unit.new_zeros(len(names), unit.shape[1]).index_add_(0, codes, unit)
        centres = normalize(sums, dim=1)
        for part in torch.arange(len(rows)).split(max(1, HELD // len(names))):
            cosines = unit[part] @ centres.T
            cosines.scatter_(1, codes[part, None], -torch.inf)
            own = (unit[part] * normalize(sums[codes[part]] - unit[part], dim=1)).sum(1)
            found[rows[part.numpy()]] = (cosines.amax(1) - own).numpy()
        found[rows[counts[of] == 1]] = np.nan
    found[~np.isfinite(found)] = np.nan
    return found


def _mean_place(*figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) mean over figures of the rank of each row, 1 for the highest; equal ones share it; NaN where one is NaN."""
    judged = np.all([np.isfinite(each) for each in figures], axis=0)
    place = np.full(len(judged), np.nan)
    if judged.any():
        place[judged] = np.mean([rankdata(each[judged]) for each in figures], axis=0) / judged.sum()
    return place


def most_similar(embeddings: Tensor, votes: Votes, row: int, among: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Those of the rows `among` that are nearest to an image, at most `count`, of its space and without itself."""
    rows = among[(votes.spaces[among] == votes.spaces[row]) & (among != row)]
    vectors, one = embeddings[rows].double(), embeddings[row].double()
    cosines = (vectors @ one / (vectors.norm(dim=1) * one.norm())).numpy()
    return np.asarray(rows[np.argsort(-cosines, kind="stable")[:count]])


def _alone(votes: Votes) -> NDArray[np.bool_]:
    """(N,) whether an image is the only one of its label in its space."""
    keys = np.stack([votes.spaces, votes.labels], 1)
    _, place, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(counts[place.ravel()] == 1)


def _near(votes: Votes) -> NDArray[np.float64]:
    """(N,) mean cosine to the nearest, NaN of an image that is alone."""
    first = votes.similarities[:, :ASKED].astype(np.float64)
    there = np.isfinite(first)
    counts = there.sum(1)
    sums = np.where(there, first, 0).sum(1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(first), np.nan), where=counts > 0))


def _far_out(near: NDArray[np.float64], spaces: NDArray[np.int64]) -> NDArray[np.bool_]:
    outlier = np.zeros(len(near), bool)
    for space in np.unique(spaces):
        rows = np.flatnonzero((spaces == space) & np.isfinite(near))
        if len(rows):
            low, high = np.quantile(near[rows], [0.25, 0.75])
            outlier[rows] = near[rows] < low - FENCE * (high - low)
    return outlier
