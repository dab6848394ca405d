"""Folds for validation: the column `fold`, independent of the order of the rows, and no group in two folds."""

from collections import Counter
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import ALWAYS_TEST, ALWAYS_TRAIN, BOX
from eml.dataset.splits.groups import joined_classes
from eml.dataset.table import Table
from eml.errors import DataError

FoldBy = Literal["images", "class"]
Codes = NDArray[np.int64]  # 0, 1, 2, … without gaps

K, RANDOM_SEED = 5, 28


def add_folds(
    table: Table, k: int = K, random_seed: int = RANDOM_SEED, by: FoldBy = "images", groups: Codes | None = None
) -> pd.DataFrame:
    """Return the rows with `fold`: 0..k−1, −1 (always train) or −2 (always test).

    An existing column `fold` is replaced, except for rows of −2: they keep it, and the rows of their groups get it too.
    Images of unknown identity are of no class: each goes to the fold of its group, and those of no group are spread
    over folds 0..k−1, as distractors of each fold's validation.

    Args:
        table: The rows.
        k: The number of folds.
        random_seed: Draws the folds.
        by: `images` spreads each class over all folds as evenly as its groups allow. Classes of fewer than k images
            and classes of one single group get −1; their images in a group with images of other classes go with these.
            `class` puts each class into one fold, together with the classes that a group joins to it.
        groups: (N,) numbers, as from `group_rows`; rows of one group get one fold. None: each row is its own group.

    Raises:
        DataError: There are too few classes, images or groups for k folds.
    """
    if k < 2:
        raise DataError(f"`k` must be at least 2, got {k}", code="out-of-range", parameter="k")
    order = row_order(table.frame)
    labels = pd.factorize(table.frame["label"].iloc[order], sort=True)[0].astype(np.int64)
    of = np.arange(len(order)) if groups is None else pd.factorize(groups[order])[0].astype(np.int64)
    unknown = table.is_unknown[order]
    tests = np.zeros(len(order), dtype=bool)
    if "fold" in table.frame.columns:
        tests = np.isin(of, of[table.frame["fold"].to_numpy()[order] == ALWAYS_TEST])
    if (tests | unknown).all():
        identity = f" of known identity (label other than {table.unknown_label!r})" if unknown.any() else ""
        text = f"{table.name}: every image{identity} is always in the test (fold -2) or looks like one that is"
        raise DataError(text, code="too-few-images")
    fold = np.full(len(order), ALWAYS_TEST, dtype=np.int64)
    rest = np.flatnonzero(~tests & ~unknown)
    assign = _by_images if by == "images" else _by_class
    fold[rest] = assign(table, _dense(labels[rest]), _dense(of[rest]), k, np.random.default_rng(random_seed))
    fold = _with_unknown(fold, of, ~tests & unknown, rest, k, np.random.default_rng(random_seed))
    column = np.empty(len(order), dtype=np.int64)
    column[order] = fold
    return table.frame.assign(fold=column)


def _with_unknown(
    fold: Codes, groups: Codes, unknown: NDArray[np.bool_], known: Codes, k: int, random: np.random.Generator
) -> Codes:
    """Return the folds (N,) with those of unknown images: that of a known image of the group, else spread evenly.

    unknown: (N,) whether to give the row a fold; known: the rows that have one.
    """
    if not unknown.any():
        return fold
    of_group = np.full(int(groups.max()) + 1, ALWAYS_TEST)
    of_group[groups[known]] = fold[known]
    rest = np.unique(groups[unknown])
    rest = random.permutation(rest[of_group[rest] == ALWAYS_TEST])
    sizes = np.bincount(groups[unknown], minlength=len(of_group))
    held = np.zeros(k, np.int64)
    for group in rest[np.argsort(-sizes[rest], kind="stable")]:
        of_group[group] = int(held.argmin())
        held[of_group[group]] += sizes[group]
    return np.where(unknown, of_group[groups], fold)


def row_order(frame: pd.DataFrame) -> NDArray[np.int64]:
    """Return the positions of the rows by file name (and box); draws in this order do not depend on the rows' order."""
    columns = ["file_name", *(name for name in BOX if name in frame.columns)]
    return frame[columns].reset_index(drop=True).sort_values(columns, kind="stable").index.to_numpy(np.int64)


def _dense(values: NDArray[np.int64]) -> Codes:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _by_images(table: Table, labels: Codes, groups: Codes, k: int, random: np.random.Generator) -> Codes:
    counts = np.bincount(labels)
    largest = int(counts.max())
    if largest == 1:
        text = f'{table.name}: every class has one image, which cannot be spread over folds. Give `by="class"`'
        raise DataError(text, code="too-few-images", parameter="by")
    if largest < k:
        text = f"{table.name}: no class has {k} images, one for each fold; the largest has {largest:,}"
        advice = f'Give `k={largest}` or less, or `by="class"`'
        raise DataError(f"{text}. {advice}", code="too-few-images", parameter="k")
    foldable = (counts >= k) & (_groups_of_each_class(labels, groups) > 1)
    held_out = np.zeros(int(groups.max()) + 1, dtype=bool)  # groups
    held_out[groups[foldable[labels]]] = True
    if held_out.sum() < k:
        raise DataError(_too_few_groups(table, int(held_out.sum()), groups, k), code="too-few-groups", parameter="k")
    fold = np.full(len(labels), ALWAYS_TRAIN, dtype=np.int64)
    rows = np.flatnonzero(held_out[groups])
    fold[rows] = _spread(_dense(labels[rows]), _dense(groups[rows]), k, random)
    return fold


def _groups_of_each_class(labels: Codes, groups: Codes) -> Codes:
    pairs = np.unique(labels * (int(groups.max()) + 1) + groups)
    return np.bincount(pairs // (int(groups.max()) + 1), minlength=int(labels.max()) + 1)


def _spread(labels: Codes, groups: Codes, k: int, random: np.random.Generator) -> Codes:
    """Give every group a fold, so that each class, and the whole table, is spread as evenly as possible.

    Groups of several images go first, from the largest to the smallest, each to the fold that holds the least of its
    classes and of the whole, in shares of their images. Single images then level the rest, class by class; without
    groups, classes and folds are even to one image. The result is as even as that of scikit-learn's
    StratifiedGroupKFold, whose time grows with groups times classes (tests/benchmarks/folds_balance.py).
    """
    fold = np.empty(len(labels), dtype=np.int64)
    count = [[0] * k for _ in range(int(labels.max()) + 1)]  # of each class, in each fold
    total = [0] * k
    sizes = np.bincount(labels).tolist()
    for rows in _groups_of_several(groups, random):
        held = Counter(labels[rows].tolist())
        cost = [len(rows) / len(labels) * images for images in total]
        for label, images in held.items():
            share = images / sizes[label]
            cost = [so_far + share * in_fold for so_far, in_fold in zip(cost, count[label], strict=True)]
        chosen = min(range(k), key=lambda number: (round(cost[number], 9), total[number]))
        fold[rows] = chosen
        total[chosen] += len(rows)
        for label, images in held.items():
            count[label][chosen] += images
    single = np.flatnonzero(np.bincount(groups)[groups] == 1)
    single = single[random.permutation(len(single))]
    single = single[np.argsort(labels[single], kind="stable")]
    for rows in np.split(single, np.flatnonzero(np.diff(labels[single])) + 1) if len(single) else ():
        _level(fold, rows, count[labels[rows[0]]], total)
    return fold


def _groups_of_several(groups: Codes, random: np.random.Generator) -> list[Codes]:
    """Return the rows of each group of several images, the largest first, equal ones shuffled."""
    size = np.bincount(groups)
    shuffled = random.permutation(len(size))
    rank = np.empty(len(size), dtype=np.int64)
    rank[shuffled[np.argsort(-size[shuffled], kind="stable")]] = np.arange(len(size))
    rows = np.flatnonzero(size[groups] > 1)
    rows = rows[np.argsort(rank[groups[rows]], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(groups[rows])) + 1) if len(rows) else []


def _level(fold: Codes, rows: Codes, count: list[int], total: list[int]) -> None:
    """Put each row into the fold with the fewest images of its class; among equal folds, with the fewest of all."""
    heap = list(zip(count, total, range(len(total)), strict=True))
    heapify(heap)
    for row in rows:
        of_class, of_all, chosen = heap[0]
        heapreplace(heap, (of_class + 1, of_all + 1, chosen))
        fold[row] = chosen
    for _, of_all, number in heap:
        total[number] = of_all


def _by_class(table: Table, labels: Codes, groups: Codes, k: int, random: np.random.Generator) -> Codes:
    """Give every class a fold, joined classes as one, from the largest to the smallest (equal ones shuffled).

    Each goes to the fold with the fewest classes, among equal folds to that with the fewest images: the folds are even
    in classes and in images.
    """
    unit = joined_classes(labels, groups)  # of each class
    sizes = np.bincount(unit[labels])
    classes = np.bincount(unit)
    if len(sizes) < k:
        raise DataError(_too_few_classes(table, len(unit), len(sizes), k), code="too-few-classes", parameter="k")
    shuffled = random.permutation(len(sizes))
    held, images = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
    fold = np.empty(len(sizes), dtype=np.int64)
    for number in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        chosen = int(np.lexsort((images, held))[0])
        fold[number] = chosen
        held[chosen] += classes[number]
        images[chosen] += sizes[number]
    if held[0] > -(-len(unit) // k):  # fold 0 is usually the one held out: not the one with many joined classes
        nearest = int(np.argmin(np.abs(held - len(unit) / k)))
        fold = np.select([fold == 0, fold == nearest], [nearest, 0], fold)
    return fold[unit[labels]]


def _too_few_groups(table: Table, held_out: int, groups: Codes, k: int) -> str:
    fewer = "fewer columns as `group_by`, a lower `threshold`, or `near=False`"
    if held_out < 2:
        text = f"every class of at least {k} images is one single group, which cannot be spread over folds"
        return f'{table.name}: {text}. Give `by="class"`, {fewer}'
    largest = f"the largest holds {np.bincount(groups).max():,} of {len(groups):,} images"
    text = f"its images are in {held_out} groups, for {k} folds; {largest}"
    return f"{table.name}: {text}. Give `k={held_out}` or less, {fewer}"


def _too_few_classes(table: Table, classes: int, units: int, k: int) -> str:
    by_images = '`by="images"`'
    if units < classes:
        text = f"its {classes:,} classes are joined to {units:,} by groups that they share, for {k} folds"
        fewer = f"`k={units}` or less, " if units > 1 else ""
        return f"{table.name}: {text}. Give {fewer}{by_images}, fewer columns as `group_by`, or `near=False`"
    advice = f"Give `k={classes}` or less, or {by_images}" if classes > 1 else f"Give {by_images}"
    return f"{table.name}: has {'1 class' if classes == 1 else f'{classes:,} classes'} for {k} folds. {advice}"


@dataclass(frozen=True)
class FoldCounts:
    """Images and classes of one fold."""

    fold: int
    images: int
    classes: int
    groups: int
    """Groups of several images."""
    fewest: int
    """Images of a class in it, of the classes that it holds."""
    most: int
    unknown: int = 0
    """Images of unknown identity, which are not among `images`."""


@dataclass(frozen=True)
class ClassShare:
    """A class and its images in one fold."""

    label: str
    images: int
    even: float
    """Images if the class were spread evenly."""


@dataclass(frozen=True)
class GroupCounts:
    """Groups of several images, and their effect on the folds."""

    of_several: int
    """Groups of several images."""
    images: int
    """Images in them."""
    largest: int
    """Images of the largest group."""
    classes_too_small: list[str]
    """Classes of fewer than k images (by images)."""
    classes_of_one_group: list[str]
    """Other classes that are one single group (by images)."""
    classes_in_one_fold: list[str]
    """Classes of several images wholly in one fold (by images): unknown to the model while that is held out."""
    classes_joined: int
    """Classes that a group joins to others (by class)."""
    taken_to_test: int
    """Images that are always in the test because an image of their group is."""


@dataclass(frozen=True)
class FoldBalance:
    """The evenness of folds, and what limits it."""

    folds: list[FoldCounts]
    """Of every fold with images, −1 and −2 last."""
    even: float
    """Images of a fold, if folds 0..k−1 were equal."""
    worst_class: ClassShare | None
    """The class furthest from even in a fold; None by class."""
    groups: GroupCounts


def balance(table: Table, frame: pd.DataFrame, k: int, by: FoldBy, groups: Codes) -> FoldBalance:
    """Count the images, classes and groups of folds.

    Args:
        table: The table before `add_folds`.
        frame: Its result.
        k: The number of folds.
        by: As for `add_folds`.
        groups: As for `add_folds`.
    """
    of_unknown = frame["fold"][table.is_unknown].value_counts()
    known, groups = table.known, _dense(groups[~table.is_unknown])
    frame = frame[~table.is_unknown]
    fold = frame["fold"].to_numpy()
    rest = frame[fold != ALWAYS_TEST]
    codes, labels = pd.factorize(rest["label"], sort=True)
    codes, of = codes.astype(np.int64), _dense(groups[fold != ALWAYS_TEST])
    held = np.zeros((len(labels), k + 1), dtype=np.int64)  # the last: always trained on
    np.add.at(held, (codes, rest["fold"].to_numpy()), 1)
    images, in_groups = held.sum(axis=1), _groups_of_each_class(codes, of)
    by_images = by == "images"
    small, one_group = images < k, (images >= k) & (in_groups == 1)
    one_fold = (held[:, :k] == images[:, None]).any(axis=1) & (images > 1)
    joined = 0 if by_images else int((np.bincount(unit := joined_classes(codes, of)) > 1)[unit].sum())
    before = (known.frame["fold"] == ALWAYS_TEST).to_numpy() if "fold" in known.frame.columns else np.zeros(len(fold))
    size = np.bincount(groups)
    return FoldBalance(
        folds=_fold_counts(frame, k, groups, of_unknown),
        even=int((fold >= 0).sum()) / k,
        worst_class=_worst(labels, held[:, :k], ~small & ~one_group) if by_images else None,
        groups=GroupCounts(
            of_several=int((size > 1).sum()),
            images=int(size[size > 1].sum()),
            largest=int(size.max()),
            classes_too_small=[str(label) for label in labels[small & by_images]],
            classes_of_one_group=[str(label) for label in labels[one_group & by_images]],
            classes_in_one_fold=[str(label) for label in labels[one_fold & by_images]],
            classes_joined=joined,
            taken_to_test=int((fold == ALWAYS_TEST).sum() - before.sum()),
        ),
    )


def _fold_counts(frame: pd.DataFrame, k: int, groups: Codes, of_unknown: "pd.Series[int]") -> list[FoldCounts]:
    fold, size = frame["fold"].to_numpy(), np.bincount(groups)
    several = pd.Series(np.where(size[groups] > 1, groups, -1), index=frame.index)
    counts = []
    for number in [*range(k), ALWAYS_TRAIN, ALWAYS_TEST]:
        of_class = frame["label"][fold == number].value_counts()
        if len(of_class):
            in_fold = several[(fold == number) & (several >= 0).to_numpy()].nunique()
            sizes = int(of_class.min()), int(of_class.max())
            unknown = int(of_unknown.get(number, 0))
            counts.append(FoldCounts(number, int(of_class.sum()), len(of_class), in_fold, *sizes, unknown))
    return counts


def _worst(labels: Any, held: Codes, among: NDArray[np.bool_]) -> ClassShare | None:
    """Return the class furthest from its even share in a fold, None without classes."""
    held, labels = held[among], labels[among]
    share = held.mean(axis=1)
    off = np.abs(held - share[:, None])
    if not off.size:
        return None
    row, column = np.unravel_index(off.argmax(), off.shape)
    return ClassShare(str(labels[row]), int(held[row, column]), float(share[row]))
