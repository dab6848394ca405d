"""Images whose label is probably wrong, ranked; and images that no label explains well."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.device import device_of, moved
from eml.retrieval.label_errors.label_votes import Votes

NONE = 1e-4  # added to a share of the votes, so that the odds of labels without any are finite
NEAREST = 3  # images whose mean similarity says whether an image is near to anything
FENCE = 3.0  # interquartile ranges below the lower quartile: Tukey 1977, "far out"
ENTRIES = 1 << 22  # cosines to class centres at once, 32 MiB
COUNTED = 10  # nearest images whose labels are counted


@dataclass(frozen=True)
class LabelErrors:
    """The verdict of the images nearby on the label of each of N images; every field is (N,).

    Attributes:
        own: Share of the votes for the image's own label.
        rival: Share of the votes for the suggested label.
        suggested: The label with the most votes apart from the own one, −1 without any.
        score: rival / (own + rival), in [0, 1]: the odds of a label error as a share. NaN for an image that cannot be
            judged, since it is the only one of its label, or the only one, in its space.
        toward: Cosine to the nearest centre of another label less that to its own label's; see `toward_other_centres`.
        place: Mean of the image's relative ranks by score and by toward, in (0, 1], 1 for the highest; NaN without a
            score.
        near: Mean cosine to its three nearest images.
        outlier: Whether `near` is far below what is usual in its space.
        nearest_own: How many of its ten nearest images have its own label.
        nearest_suggested: How many of them have the suggested label.
    """

    own: Floats
    rival: Floats
    suggested: Integers
    score: Floats
    toward: Floats
    place: Floats
    near: Floats
    outlier: Booleans
    nearest_own: Integers
    nearest_suggested: Integers

    def suspects(self, min_score: float) -> Integers:
        """Return rows with a score of at least that, by falling place; of equal ones the highest score, then by row."""
        rows = np.flatnonzero(np.nan_to_num(self.score, nan=-1.0) >= min_score)
        return rows[np.lexsort((rows, -self.score[rows], -self.place[rows]))]

    def ambiguous(self, min_score: float) -> Integers:
        """Return rows between two labels, of a score from 1/3 to below `min_score`; the most undecided first."""
        score = np.nan_to_num(self.score, nan=-1.0)
        rows = np.flatnonzero((score < min_score) & (score >= 1 / 3))
        return rows[np.lexsort((rows, np.abs(score[rows] - 0.5)))]

    def outliers(self) -> Integers:
        """Return rows of images that are near to nothing, the farthest first."""
        rows = np.flatnonzero(self.outlier)
        return rows[np.lexsort((rows, self.near[rows]))]


def find_label_errors(votes: Votes, embeddings: Tensor) -> LabelErrors:
    """Score each image by s(rival) / (s(own) + s(rival)), s a label's share of the votes of the images nearby.

    The image itself has no vote, and a network that was not trained on it has not learnt its label: this is the
    "out-of-sample" condition of confident learning (Northcutt 2021, arXiv:1911.00068, section 3). The score is its
    ranking by normalised margin with odds instead of the difference. Odds rank better: two labels that an image lies
    between take votes from each other, a wrong one gets none. Labels with few images are not at a disadvantage, since
    the vote depends on which images are nearest, not on how many there are.

    The order is by the mean of two ranks (Borda), of the score and of the nearness to another label's centre: the first
    looks at a few images nearby, the second at the whole label, and where they agree both are right more often.

    Args:
        votes: Of N images.
        embeddings: (N, D) that the votes were made of.
    """
    own, rival, suggested = _vote_shares(votes)
    score = (rival + NONE) / (own + rival + 2 * NONE)
    score[_alone(votes) | ((own == 0) & (rival == 0))] = np.nan
    toward = np.where(np.isnan(score), np.nan, toward_other_centres(embeddings, votes.labels, votes.spaces))
    near = _near(votes)
    voters = votes.nearest[:, :COUNTED]
    labels = np.where(voters >= 0, votes.labels[voters], -2)
    return LabelErrors(
        own=own,
        rival=rival,
        suggested=suggested,
        score=score,
        toward=toward,
        place=_mean_place(score, toward),
        near=near,
        outlier=_far_out(near, votes.spaces),
        nearest_own=(labels == votes.labels[:, None]).sum(1),
        nearest_suggested=(labels == suggested[:, None]).sum(1),
    )


def _vote_shares(votes: Votes) -> tuple[Floats, Floats, Integers]:
    """Return (N,) shares of the own label, of the label with the most other votes, and that label, −1 without any."""
    number = len(votes.labels)
    own, rival, suggested = np.zeros(number), np.zeros(number), np.full(number, -1)
    for rows, labels, shares in votes.shares():
        same = labels == votes.labels[rows]
        own[rows[same]] = shares[same]
        rows, labels, shares = rows[~same], labels[~same], shares[~same]
        order = np.lexsort((-labels, shares, rows))  # the largest share of a row last; of equal ones the first label
        last = order[np.append(rows[order][1:] != rows[order][:-1], True)] if len(order) else order
        rival[rows[last]], suggested[rows[last]] = shares[last], labels[last]
    return own, rival, suggested


def toward_other_centres(embeddings: Tensor, labels: Integers, spaces: Integers) -> Floats:
    """Compute the cosine to the nearest class centre of another label less that to the own label's, in its space.

    A centre is the direction of the sum of a label's unit vectors; the image itself is left out of its own.

    Args:
        embeddings: (N, D), of any length but 0.
        labels: (N,) integers.
        spaces: (N,) numbers of the networks that made the embeddings.

    Returns:
        (N,); NaN if the label has no other image in the space, or the space no other label.
    """
    differences = np.full(len(labels), np.nan)
    for space in np.unique(spaces):
        rows = np.flatnonzero(spaces == space)
        (unit,) = moved(device_of(embeddings), normalize(embeddings[rows].double(), dim=1))
        names, places = np.unique(labels[rows], return_inverse=True)
        codes, counts = torch.from_numpy(places).to(unit.device), np.bincount(places)
        sums = unit.new_zeros(len(names), unit.shape[1]).index_add_(0, codes, unit)
        centres = normalize(sums, dim=1)
        for part in torch.arange(len(rows)).split(max(1, ENTRIES // len(names))):
            cosines = unit[part] @ centres.T
            cosines.scatter_(1, codes[part, None], -torch.inf)
            own = (unit[part] * normalize(sums[codes[part]] - unit[part], dim=1)).sum(1)
            differences[rows[part.numpy()]] = (cosines.amax(1) - own).cpu().numpy()
        differences[rows[counts[places] == 1]] = np.nan
    differences[~np.isfinite(differences)] = np.nan
    return differences


def _mean_place(*figures: Floats) -> Floats:
    """Return (N,) mean of the relative ranks by each figure, 1 for the highest; equal ones share it.

    NaN where a figure is NaN.
    """
    judged = np.all([np.isfinite(figure) for figure in figures], axis=0)
    place = np.full(len(judged), np.nan)
    if judged.any():
        place[judged] = (
            np.mean([pd.Series(figure[judged]).rank().to_numpy() for figure in figures], axis=0) / judged.sum()
        )
    return place


def most_similar(embeddings: Tensor, votes: Votes, row: int, among: Integers, count: int) -> Integers:
    """Return the rows nearest to an image, nearest first.

    Args:
        embeddings: (N, D) that the votes were made of.
        votes: Of N images.
        row: The image.
        among: Rows to choose from; those of other spaces and the image itself are left out.
        count: Most rows returned.
    """
    rows = among[(votes.spaces[among] == votes.spaces[row]) & (among != row)]
    vectors, vector = embeddings[rows].double(), embeddings[row].double()
    cosines = (vectors @ vector / (vectors.norm(dim=1) * vector.norm())).cpu().numpy()
    return np.asarray(rows[np.argsort(-cosines, kind="stable")[:count]])


def _alone(votes: Votes) -> Booleans:
    """Return (N,) whether an image is the only one of its label in its space."""
    keys = np.stack([votes.spaces, votes.labels], 1)
    _, place, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(counts[place.ravel()] == 1)


def _near(votes: Votes) -> Floats:
    """Return (N,) mean cosine to the nearest images, NaN for an image that is alone."""
    first = votes.similarities[:, :NEAREST].astype(np.float64)
    present = np.isfinite(first)
    counts = present.sum(1)
    sums = np.where(present, first, 0).sum(1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(first), np.nan), where=counts > 0))


def _far_out(near: Floats, spaces: Integers) -> Booleans:
    outlier = np.zeros(len(near), bool)
    for space in np.unique(spaces):
        rows = np.flatnonzero((spaces == space) & np.isfinite(near))
        if len(rows):
            low, high = np.quantile(near[rows], [0.25, 0.75])
            outlier[rows] = near[rows] < low - FENCE * (high - low)
    return outlier
