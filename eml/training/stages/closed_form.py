"""The closed form: within-class whitening of the untouched network's features, shrunk as folds of classes choose."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize as unit_length

from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.metrics import summarise
from eml.retrieval.ranking import rank
from eml.retrieval.statistics import Difference
from eml.retrieval.statistics.choice import best_of, class_folds, judge
from eml.retrieval.within_class import WithinClass

CANDIDATES = {f"shrinkage {value:g}": value for value in (0.5, 0.2)}
"""Name → shrinkage, simplest first."""
FOLDS = 3
MOST_ROTATED = 2000
"""Images of the classes that choose the shrinkage, at most."""
UNTOUCHED = "untouched"


@dataclass(frozen=True)
class ClosedForm:
    """The closed form that classes held out in turn choose.

    Attributes:
        name: Its shrinkage, in words.
        tried: Candidate → its mean over classes that were held out in turn.
        judged: The difference to the untouched network over all classes, each held out once, where few are held out.
    """

    name: str
    tried: dict[str, float]
    judged: Difference | None = None


def choose_closed_form(
    train: Tensor, labels: Integers, metric: str, *, seed: int, others: tuple[Tensor, Integers] | None = None
) -> ClosedForm | None:
    """Return the closed form for training images, or None where no class has two images.

    The shrinkage is the one that is best for classes that are held out in turn.

    Args:
        train: (n, F) features.
        labels: (n,) their classes.
        metric: Per query, in [0, 1], by which candidates are compared.
        seed: Of the folds of classes.
        others: Features and classes of held-out images where these are few: they are rotated too, and so the closed
            form is judged over all classes.
    """
    if np.bincount(labels).max(initial=0) < 2:
        return None
    rows = _some_classes(labels, seed)
    rotated = rotate(train[rows], labels[rows], CANDIDATES, metric, seed=seed)
    if not rotated:
        name, tried = next(iter(CANDIDATES)), {}
    else:
        everyone = np.ones(len(rows), bool)
        name = best_of({key: rotated[key] for key in CANDIDATES}, everyone)
        tried = {key: float(np.nanmean(values)) for key, values in rotated.items()}
    judged = None
    if others is not None:
        both, all_labels = _joined((train, labels), others)
        if values := rotate(both, all_labels, {name: CANDIDATES[name]}, metric, seed=seed):
            judged = judge(values[UNTOUCHED], values[name], all_labels)
    return ClosedForm(name, tried, judged)


def rotate(
    features: Tensor, labels: Integers, shrinkages: Mapping[str, float], metric: str, *, seed: int
) -> dict[str, Floats]:
    """Return candidate → (N,) values of images whose classes were held out, `untouched` first; {} where none can be.

    Each class is held out once, and its images are ranked among those of the same fold.

    Args:
        features: (N, F).
        labels: (N,) classes.
        shrinkages: Candidate → its shrinkage.
        metric: Of the values.
        seed: Of the folds.
    """
    classes = len(np.unique(labels))
    folds = min(FOLDS, classes // 2)
    if folds < 2:
        return {}
    fold = class_folds(labels, folds, seed=seed)
    values = {name: np.full(len(labels), np.nan) for name in (UNTOUCHED, *shrinkages)}
    for number in range(folds):
        held_out, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        within = WithinClass.or_none(features[rest], labels[rest])
        if within is None or not (np.bincount(labels[held_out]) > 1).any():
            continue
        values[UNTOUCHED][held_out] = _ranked(unit_length(features[held_out]), labels[held_out], metric)
        for name, shrinkage in shrinkages.items():
            embeddings = within.projection(shrinkage).transform(features[held_out])
            values[name][held_out] = _ranked(embeddings, labels[held_out], metric)
    return values if np.isfinite(values[UNTOUCHED]).any() else {}


def _ranked(embeddings: Tensor, labels: Integers, metric: str) -> Floats:
    ranking = rank(embeddings, labels, embeddings, labels, itself=np.arange(len(labels)))
    values: Floats = summarise(ranking).per_query[metric]
    return values


def _some_classes(labels: Integers, seed: int) -> Integers:
    """Return the rows of as many random classes as `MOST_ROTATED` images allow, two at least."""
    counts = np.bincount(labels)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(counts > 1))
    fits = max(2, int(np.searchsorted(np.cumsum(counts[order]), MOST_ROTATED, side="right")))
    rows: Integers = np.flatnonzero(np.isin(labels, order[:fits]))
    return rows


def _joined(first: tuple[Tensor, Integers], second: tuple[Tensor, Integers]) -> tuple[Tensor, Integers]:
    return torch.cat([first[0], second[0]]), np.concatenate([first[1], second[1] + first[1].max() + 1])
