"""Labels that are one class, and labels of which a part belongs to another."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor

from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.label_errors.label_votes import Votes

MIXING = 0.5  # of what it would be if the two labels had been assigned by chance
BETWEEN = 0.5  # of the votes of two labels that are one class go to the two
FEW, SHARE = 3, 0.1  # images of a part at least, and of the label
LEAN, TOWARD = 0.75, 0.2  # of the votes for the other label or the rest; of all votes, its own part's among them
ROUNDS = 20  # of 2-means, at most


@dataclass(frozen=True)
class OneClass:
    """Two labels that the embeddings cannot tell apart.

    Attributes:
        label: The lower of the two.
        other_label: The higher of the two.
        mixing: How often a vote for one of the two is for the other, as a share of what chance would give; the lower of
            the two directions. 0: never, 1: as if the labels had been assigned at random.
    """

    label: int
    other_label: int
    mixing: float


@dataclass(frozen=True)
class MixedClass:
    """A label of which a part is nearer to another label than to the rest of its own.

    Attributes:
        label: The label.
        other_label: The label that the part is nearer to.
        rows: Rows of the part, ascending.
        toward: Share of the part's votes for the other label.
        lean: Votes for the other label / votes for the other label or the rest of its own.
    """

    label: int
    other_label: int
    rows: Integers
    toward: float
    lean: float


def one_classes(votes: Votes) -> list[OneClass]:
    """Return pairs of labels that are mixed at least half as much as by chance, the most mixed first.

    By chance, d of the c + d − 1 other images of two labels with c and d images in a space have the other label. Labels
    whose votes mostly go to third ones, or that have one image in a space, are left out.
    """
    classes = int(votes.labels.max(initial=0)) + 1
    spaces, place = np.unique(votes.spaces, return_inverse=True)
    sizes = np.bincount(place * classes + votes.labels, minlength=len(spaces) * classes).reshape(-1, classes)
    keys, shares = _vote_sums(votes, classes)
    space, label, other_label = keys // classes**2, keys // classes % classes, keys % classes
    own = _at(keys, shares, keys - other_label + label)
    size, other_size = sizes[space, label], sizes[space, other_label]
    chance = (own + shares) * other_size / np.maximum(size + other_size - 1, 1)
    counted = (label != other_label) & (size > 1)
    crossed, place = np.unique((label * classes + other_label)[counted], return_inverse=True)
    columns = np.stack([shares, chance, own + shares, size])[:, counted]
    voted, by_chance, both, images = (np.bincount(place, values, len(crossed)) for values in columns)
    reverse = crossed % classes * classes + crossed // classes
    with np.errstate(invalid="ignore", divide="ignore"):  # of labels without a vote for each other
        mixing, among = voted / by_chance, both / images
    mixing, among = (np.minimum(values, _at(crossed, values, reverse)) for values in (mixing, among))
    is_pair = (crossed < reverse) & (mixing >= MIXING) & (among >= BETWEEN)
    pairs = [
        OneClass(int(key // classes), int(key % classes), float(value))
        for key, value in zip(crossed[is_pair], mixing[is_pair], strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.mixing, pair.label, pair.other_label))


def mixed_classes(embeddings: Tensor, votes: Votes, apart: list[OneClass]) -> list[MixedClass]:
    """Return labels that 2-means in a space cuts in two, where one part votes for another label rather than the rest.

    A part counts with three images and a tenth of its label or more over all spaces, if a fifth of its votes are for
    the other label and three times as many as for the rest of its own.

    Args:
        embeddings: (N, D) that the votes were made of.
        votes: Of N images.
        apart: Pairs that are one class, which are left out.

    Returns:
        The labels, those with the largest share of votes for another first.
    """
    same = {(pair.label, pair.other_label) for pair in apart} | {(pair.other_label, pair.label) for pair in apart}
    parts: dict[tuple[int, int], list[tuple[Integers, float, float]]] = defaultdict(list)
    for rows in _rows_of_labels(votes):
        side = _halves(embeddings[rows].double().cpu().numpy())
        for part, rest in ((rows[side], rows[~side]), (rows[~side], rows[side])):
            if len(part) < 2 or len(rest) < 2:
                continue
            other_label, toward, back = _leaning(votes, part, rest)
            label = int(votes.labels[part[0]])
            if toward > back and (label, other_label) not in same:
                parts[label, other_label].append((part, toward, back))
    sizes = np.bincount(votes.labels)
    classes = []
    for (label, other_label), pieces in parts.items():
        members = np.sort(np.concatenate([part for part, _, _ in pieces]))
        toward, back = sum(piece[1] for piece in pieces), sum(piece[2] for piece in pieces)
        mixed = MixedClass(label, other_label, members, toward / len(members), toward / (toward + back))
        large = len(members) >= max(FEW, SHARE * sizes[label])
        if large and mixed.lean >= LEAN and mixed.toward >= TOWARD:
            classes.append(mixed)
    return sorted(classes, key=lambda mixed: (-mixed.toward, mixed.label, mixed.other_label))


def _rows_of_labels(votes: Votes) -> Iterator[Integers]:
    """Yield the rows of each label in each space, of those with four images or more."""
    keys = votes.spaces * (int(votes.labels.max(initial=0)) + 1) + votes.labels
    order = np.argsort(keys, kind="stable")
    ends = [0, *(np.flatnonzero(np.diff(keys[order])) + 1).tolist(), len(order)]
    for first, end in pairwise(ends):
        if end - first >= 2 * 2:
            yield order[first:end]


def _vote_sums(votes: Votes, classes: int) -> tuple[Integers, Floats]:
    """Return ascending keys (number of the space · classes + label) · classes + label voted for, and sums of shares."""
    places = np.unique(votes.spaces, return_inverse=True)[1]
    keys: list[Integers] = [np.zeros(0, np.int64)]
    sums: list[Floats] = [np.zeros(0)]
    for rows, labels, shares in votes.shares():
        own = (places[rows] * classes + votes.labels[rows]) * classes + labels
        distinct, place = np.unique(own, return_inverse=True)
        keys.append(distinct.astype(np.int64))
        sums.append(np.bincount(place, weights=shares).astype(np.float64))
    distinct, place = np.unique(np.concatenate(keys), return_inverse=True)
    totals = np.bincount(place, weights=np.concatenate(sums), minlength=len(distinct))
    return distinct.astype(np.int64), totals.astype(np.float64)


def _at(keys: Integers, values: Floats, sought: Integers) -> Floats:
    """Return the values of some keys among ascending ones; 0 where there is none."""
    place = np.minimum(np.searchsorted(keys, sought), max(len(keys) - 1, 0))
    return np.where(keys[place] == sought, values[place], 0.0) if len(keys) else np.zeros(len(sought))


def _halves(vectors: Floats) -> Booleans:
    """Return (n,) the side of each row by spherical 2-means (Dhillon 2001), starting from the main direction's sign."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    off = unit - unit.mean(0)
    side = np.asarray(np.linalg.eigh(off @ off.T)[1][:, -1] > 0) if len(off) <= 1000 else _long_axis(off) > 0
    for _ in range(ROUNDS):
        if side.all() or not side.any():
            break
        centres = [unit[side].mean(0), unit[~side].mean(0)]
        toward = unit @ np.stack([centre / max(float(np.linalg.norm(centre)), 1e-12) for centre in centres], 1)
        again = toward[:, 0] > toward[:, 1]
        if (again == side).all():
            break
        side = again
    return side


def _long_axis(off: Floats) -> Floats:
    """Return (n,) places along the main direction, for many rows."""
    return np.asarray(off @ np.linalg.eigh(off.T @ off)[1][:, -1])


def _leaning(votes: Votes, part: Integers, rest: Integers) -> tuple[int, float, float]:
    """Return the other label that a part votes for most, its votes, and those for the rest of the part's label."""
    voters, weights = votes.nearest[part].ravel(), votes.weights[part].ravel()
    weights, voters = weights[voters >= 0], voters[voters >= 0]
    labels = votes.labels[voters]
    outside = labels != votes.labels[part[0]]
    if not outside.any():
        return -1, 0.0, 1.0
    totals = np.bincount(labels[outside], weights=weights[outside])
    return int(totals.argmax()), float(totals.max()), float(weights[np.isin(voters, rest)].sum())
