"""Answers whose truth is known, by the gallery that answers in use: an index.

A gallery of many classes has more that is similar to a query of an unknown class than one of a few, so probabilities
and threshold are fitted on the gallery itself. Three kinds of queries show how it answers:

- images of a calibration set, whose classes the network was not trained on;
- images of those classes of the gallery that it was not trained on;
- images of the classes of the gallery that it was trained on. They are answered better than new images of unknown
  classes will be, so they stand for queries of known classes alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.answers.samples import (
    MOST_QUERIES,
    SEED,
    AnswerSample,
    OwnGallery,
    Scoring,
    draw_queries,
    find_own,
    join_own,
)
from eml.retrieval.arrays import Booleans, Embeddings, Floats, Integers, as_embeddings
from eml.retrieval.class_answers import ClassAnswers, Tiles, rank_classes
from eml.retrieval.similarity import unit_length

MOST_CLASSES, MOST_IMAGES = 300, 40
"""Classes of each kind, and images of each, that are drawn from a gallery."""
WORK = 1e9
"""Comparisons of a query with an image from which fewer queries are asked; at least `FEWEST_QUERIES` of each kind."""
FEWEST_QUERIES = 300
LEAST_NEW = 0.2
"""The weight of classes that the network was not trained on, at least, among the queries of known classes."""


@dataclass(frozen=True)
class LabelledImages:
    """Embedded images (N, D) and their classes (N,) by name."""

    embeddings: Embeddings
    labels: Sequence[str]


def sample_gallery(
    calibration: LabelledImages | None,
    tiles: Tiles,
    gallery_labels: Sequence[str],
    trained: Iterable[str],
    scorings: Sequence[Scoring],
    *,
    seed: int = SEED,
    by_gallery: bool = True,
) -> list[AnswerSample]:
    """Answer queries of the three kinds by a gallery, once with each scoring.

    A query of the calibration set is compared with as many images of its class as a random class of the gallery has,
    drawn from the other images of its class in the set; one of the gallery with the other images of its class that were
    drawn.

    Args:
        calibration: Images of classes that the network was not trained on.
        tiles: The gallery, see `rank_classes`.
        gallery_labels: The name of each class of the gallery.
        trained: The names of the classes that the network was trained on.
        scorings: How classes are scored.
        seed: Of the draws.
        by_gallery: Whether images of the gallery are queries too, not only those of the calibration set.
    """
    gallery = _Gallery(tiles, list(gallery_labels), gallery_sizes(tiles, len(gallery_labels)))
    is_trained = np.isin(np.array(gallery.labels, object), list(trained))
    of_set = set() if calibration is None else set(map(str, calibration.labels))
    in_set = np.array([label in of_set for label in gallery.labels], bool)
    new, old = (
        _draw_images(gallery, np.flatnonzero((gallery.sizes > 1) & kind & by_gallery), seed)
        for kind in (~is_trained & ~in_set, is_trained)
    )
    most = int(np.clip(WORK / max(1, gallery.sizes.sum()), FEWEST_QUERIES, MOST_QUERIES))
    present = gallery.sizes > 0
    old_share = float((is_trained & present).sum() / max(1, present.sum()))
    samples = []
    for scoring in scorings:
        parts = [] if calibration is None else [_answer(calibration, gallery, scoring, seed, most, drawn=True)]
        parts += [_answer(new, gallery, scoring, seed, most, drawn=False)] if len(new.labels) else []
        trained_part = _answer(old, gallery, scoring, seed, most, drawn=False) if len(old.labels) else None
        samples.append(_join_kinds(parts, trained_part, old_share))
    return samples


@dataclass(frozen=True)
class _Gallery:
    """A gallery with the names and the sizes of its classes."""

    tiles: Tiles
    labels: list[str]
    sizes: Integers

    def read(self) -> Iterable[tuple[Embeddings, Integers]]:
        """Return its parts from the beginning."""
        return self.tiles() if callable(self.tiles) else self.tiles


def gallery_sizes(tiles: Tiles, num_classes: int) -> Integers:
    """Return (C,) the number of images of each class of a gallery."""
    sizes = np.zeros(num_classes, np.int64)
    for _, codes in tiles() if callable(tiles) else tiles:
        codes = np.asarray(codes)
        sizes += np.bincount(codes[codes >= 0], minlength=num_classes)
    return sizes


def _draw_images(gallery: _Gallery, classes: Integers, seed: int) -> LabelledImages:
    """Draw images of some classes of a gallery."""
    random = np.random.default_rng(seed)
    classes = np.sort(random.permutation(classes)[:MOST_CLASSES])
    is_drawn = np.zeros(len(gallery.labels), bool)
    is_drawn[classes] = True
    rows, codes, before = [], [], 0
    for _, part in gallery.read():
        part = np.asarray(part)
        places = np.flatnonzero((part >= 0) & is_drawn[part])
        rows.append(places + before)
        codes.append(part[places])
        before += len(part)
    if not len(classes):
        return LabelledImages(torch.zeros(0, 1), [])
    every, labels = np.concatenate(rows), np.concatenate(codes)
    chosen = every[few_of_each(labels, random)]
    tiles, before = [], 0
    for embeddings, part in gallery.read():
        inside = chosen[(chosen >= before) & (chosen < before + len(part))] - before
        tiles.append((as_embeddings(embeddings, "gallery")[torch.from_numpy(inside)], np.asarray(part)[inside]))
        before += len(part)
    names = [gallery.labels[code] for _, part in tiles for code in part.tolist()]
    return LabelledImages(torch.cat([vectors.float().cpu() for vectors, _ in tiles]), names)


def few_of_each(labels: Integers, random: np.random.Generator, most: int = MOST_IMAGES) -> Integers:
    """Return the positions of at most so many images of each class, ascending."""
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    starts = np.unique(labels[order], return_index=True)[1]
    place = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    return np.sort(order[place < most])


def _answer(
    images: LabelledImages, gallery: _Gallery, scoring: Scoring, seed: int, most: int, *, drawn: bool
) -> AnswerSample:
    unit: Tensor = unit_length(as_embeddings(images.embeddings, "calibration"))
    names, labels = np.unique(np.asarray(images.labels, str), return_inverse=True)
    code_of = {name: code for code, name in enumerate(gallery.labels)}
    labels = labels.astype(np.int64)
    queries = draw_queries(labels, seed, most)
    codes = np.array([code_of.get(name, -1) for name in names.tolist()], np.int64)
    ranked = rank_classes(
        unit[torch.from_numpy(queries)],
        gallery.tiles,
        len(gallery.labels),
        scoring.method,
        temperature=scoring.temperature,
        without=codes[labels[queries]],
    )
    random, sizes = np.random.default_rng(seed), gallery.sizes[gallery.sizes > 0]

    def gallery_of(code: int) -> OwnGallery:
        return _own_gallery(queries, labels, code, sizes if drawn else None, random)

    own = find_own(queries, labels, gallery_of, unit, scoring)
    return join_own(scoring, ranked, own, labels[queries], len(sizes), int(sizes.sum()))


def _own_gallery(
    queries: Integers, labels: Integers, code: int, sizes: Integers | None, random: np.random.Generator
) -> OwnGallery:
    """Return the other images of a query's class; with sizes, as many of them as a random class of these sizes has."""
    rows, positions = queries[labels[queries] == code], np.flatnonzero(labels == code)
    others = rows[:, None] != positions
    if sizes is None or not len(sizes):
        return OwnGallery(positions, others)
    order = np.where(others, random.random(others.shape), np.inf)
    count = np.minimum(random.choice(sizes, len(rows)), len(positions) - 1)
    return OwnGallery(positions, order.argsort(1).argsort(1) < count[:, None])


def _join_kinds(parts: list[AnswerSample], trained: AnswerSample | None, old_share: float) -> AnswerSample:
    """Join samples of new classes with one of trained classes, whose weight is their share of the classes, at most."""
    if trained is None and not parts:
        text = "neither the calibration set nor the gallery has a class with an image: no query can be asked"
        raise DataError(text, code="too-few-classes")
    if trained is None:
        return join_samples(parts)
    count = sum(len(part.known) for part in parts)
    share = min(old_share, 1 - LEAST_NEW) if count else 1.0
    weight = share / (1 - share) * count / max(1, len(trained.known)) if count else 1.0
    known_only = _without_unknown(replace(trained, known_weights=trained.known_weights * weight))
    return join_samples([*parts, known_only])


def _without_unknown(sample: AnswerSample) -> AnswerSample:
    count = len(sample.known)
    return replace(
        sample,
        unknown=sample.unknown.of(np.zeros(0, np.int64)),
        unknown_classes=sample.unknown_classes[:0],
        near_cosines=sample.near_cosines[:count],
        near_same=sample.near_same[:count],
    )


def join_samples(samples: Sequence[AnswerSample]) -> AnswerSample:
    """Return one sample of several by one scoring, whose classes are all different; sizes are those of the first."""
    offsets = np.cumsum([0] + [_most_class(sample) + 1 for sample in samples[:-1]])
    counts = [len(sample.known) for sample in samples]

    def joined(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(sample, name) for sample in samples])

    def near(name: str) -> NDArray[np.generic]:
        arrays = [getattr(sample, name) for sample in samples]
        known = [array[:count] for array, count in zip(arrays, counts, strict=True)]
        return np.concatenate([*known, *(array[count:] for array, count in zip(arrays, counts, strict=True))])

    def classes(name: str) -> Integers:
        pairs = zip(samples, offsets, strict=True)
        return np.concatenate([getattr(sample, name) + offset for sample, offset in pairs])

    first = samples[0]
    return AnswerSample(
        scoring=first.scoring,
        known=ClassAnswers.join([sample.known for sample in samples]),
        right=_booleans(joined("right")),
        second_right=_booleans(joined("second_right")),
        known_classes=classes("known_classes"),
        known_weights=_floats(joined("known_weights")),
        unknown=ClassAnswers.join([sample.unknown for sample in samples]),
        unknown_classes=classes("unknown_classes"),
        near_cosines=_floats(near("near_cosines")),
        near_same=_booleans(near("near_same")),
        gallery_classes=first.gallery_classes,
        gallery_images=first.gallery_images,
    )


def _most_class(sample: AnswerSample) -> int:
    return int(max([-1, *sample.known_classes.tolist(), *sample.unknown_classes.tolist()]))


def _booleans(values: NDArray[np.generic]) -> Booleans:
    return values.astype(bool)


def _floats(values: NDArray[np.generic]) -> Floats:
    return values.astype(np.float64)
