"""Classes that are one class, and classes of which a part belongs to another."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eml.retrieval.label_errors.label_votes import Votes

MIXING = 0.5  # of what it would be if the two labels had been given by chance
BETWEEN = 0.5  # of the votes of two classes that are one go to the two
FEW, SHARE = 3, 0.1  # images of a part at least, and of the class
LEAN, TOWARD = 0.75, 0.2  # of the votes for the other label or the rest; of all votes, its own part's among them
ROUNDS = 20  # of 2-means, at most


@dataclass(frozen=True)
class OneClass:
    """Two labels that the embeddings cannot tell apart.

    mixing: how often a vote for one of the two is for the other, in shares of what chance would make; the lower of the
    two directions. 0: never, 1: as if the labels had been given at random.
    """

    label: int
    other: int
    mixing: float


@dataclass(frozen=True)
class MixedClass:
    """A label of which a part is nearer to another label than to the rest of its own.

    rows: of the part. toward: share of the part's votes for the other label. lean: votes for
    the other label / votes for the other or the rest of its own.
    """

    label: int
    other: int
    rows: NDArray[np.int64]
    toward: float
    lean: float


def one_classes(votes: Votes) -> list[OneClass]:
    """Pairs of labels that are mixed half as much as chance would mix them or more, the most mixed first.

    Chance: of the c + d − 1 other images of two labels in a space, d have the other label. Nothing is said of labels
    whose votes mostly go to third ones, or that have one image in a space.
    """
    classes = int(votes.labels.max(initial=0)) + 1
    spaces, place = np.unique(votes.spaces, return_inverse=True)
    sizes = np.bincount(place * classes + votes.labels, minlength=len(spaces) * classes).reshape(-1, classes)
    given = _given(votes, classes)
    crossed: dict[tuple[int, int], NDArray[np.float64]] = {}
    for (space, label, other), share in given.items():
        own = given.get((space, label, label), 0.0)
        here, there = sizes[space, label], sizes[space, other]
        if label == other or here < 2:
            continue
        chance = (own + share) * there / (here + there - 1)
        crossed.setdefault((label, other), np.zeros(4))
        crossed[label, other] += (share, chance, own + share, here)
    found = []
    for (label, other), there in crossed.items():
        back = crossed.get((other, label))
        if label < other and back is not None:
            mixing = float(min(there[0] / there[1], back[0] / back[1]))
            among = min(there[2] / there[3], back[2] / back[3])
            if mixing >= MIXING and among >= BETWEEN:
                found.append(OneClass(label, other, mixing))
    return sorted(found, key=lambda pair: (-pair.mixing, pair.label, pair.other))


def mixed_classes(embeddings: Tensor, votes: Votes, apart: list[OneClass]) -> list[MixedClass]:
    """Labels that 2-means in a space cuts into parts of which one votes for another label rather than for the rest.

    embeddings: (N, D), those of the votes. apart: pairs that are one class, of which nothing more is said.
    A part counts with three images and a tenth of its label or more over all spaces, if a fifth of its votes are for
    the other label and three times as many as for the rest of its own. The most votes first.
    """
    same = {(pair.label, pair.other) for pair in apart} | {(pair.other, pair.label) for pair in apart}
    keys = votes.spaces * (int(votes.labels.max(initial=0)) + 1) + votes.labels
    order = np.argsort(keys, kind="stable")
    ends = [0, *(np.flatnonzero(np.diff(keys[order])) + 1).tolist(), len(order)]
    parts: dict[tuple[int, int], list[tuple[NDArray[np.int64], float, float]]] = {}
    for first, end in pairwise(ends):
        rows = order[first:end]
        if len(rows) < 2 * 2:
            continue
        side = _halves(embeddings[rows].double().numpy())
        for part, rest in ((rows[side], rows[~side]), (rows[~side], rows[side])):
            if len(part) < 2 or len(rest) < 2:
                continue
            other, toward, back = _leaning(votes, part, rest)
            if toward > back and (int(votes.labels[part[0]]), other) not in same:
                parts.setdefault((int(votes.labels[part[0]]), other), []).append((part, toward, back))
    sizes = np.bincount(votes.labels)
    found = []
    for (label, other), those in parts.items():
        members = np.sort(np.concatenate([part for part, _, _ in those]))
        toward, back = sum(each[1] for each in those), sum(each[2] for each in those)
        mixed = MixedClass(label, other, members, toward / len(members), toward / (toward + back))
        large = len(members) >= max(FEW, SHARE * sizes[label])
        if large and mixed.lean >= LEAN and mixed.toward >= TOWARD:
            found.append(mixed)
    return sorted(found, key=lambda mixed: (-mixed.toward, mixed.label, mixed.other))


def _given(votes: Votes, classes: int) -> dict[tuple[int, int, int], float]:
    """(number of the space, label, label voted for) → sum of the shares."""
    places = np.unique(votes.spaces, return_inverse=True)[1]
    given: dict[tuple[int, int, int], float] = {}
    for rows, labels, shares in votes.shares():
        keys = (places[rows] * classes + votes.labels[rows]) * classes + labels
        distinct, place = np.unique(keys, return_inverse=True)
        sums = np.bincount(place, weights=shares)
        for key, total in zip(distinct.tolist(), sums.tolist(), strict=True):
            whole = (key // classes // classes, key // classes % classes, key % classes)
            given[whole] = given.get(whole, 0.0) + total
    return given


def _halves(vectors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) side of each row by spherical 2-means (Dhillon 2001), begun from the sign along the main direction."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    off = unit - unit.mean(0)
    side = np.asarray(np.linalg.eigh(off @ off.T)[1][:, -1] > 0) if len(off) <= 1000 else _long_axis(off) > 0
    for _ in range(ROUNDS):
        if side.all() or not side.any():
            break
        centres = [unit[side].mean(0), unit[~side].mean(0)]
        toward = unit @ np.stack([each / max(float(np.linalg.norm(each)), 1e-12) for each in centres], 1)
        again = toward[:, 0] > toward[:, 1]
        if (again == side).all():
            break
        side = again
    return side


def _long_axis(off: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) places along the main direction, of many rows."""
    return np.asarray(off @ np.linalg.eigh(off.T @ off)[1][:, -1])


def _leaning(votes: Votes, part: NDArray[np.int64], rest: NDArray[np.int64]) -> tuple[int, float, float]:
    """The other label that a part votes for most, its votes, and those for the rest of the part's label."""
    asked, weights = votes.nearest[part].ravel(), votes.weights[part].ravel()
    weights, asked = weights[asked >= 0], asked[asked >= 0]
    labels = votes.labels[asked]
    outside = labels != votes.labels[part[0]]
    if not outside.any():
        return -1, 0.0, 1.0
    totals = np.bincount(labels[outside], weights=weights[outside])
    return int(totals.argmax()), float(totals.max()), float(weights[np.isin(asked, rest)].sum())
