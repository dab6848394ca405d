"""Outputs of a network for a run's training and held-out images, before they get unit length, kept in files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize as unit_length

from eml.files import whole_file
from eml.inference.embed import Batching, embed_table
from eml.models.embedder import Embedder
from eml.retrieval.affine import AffineProjection
from eml.retrieval.arrays import Integers
from eml.training.build import RunParts
from eml.training.stages.views import USUAL, RawModel, View, embed_views, takes_size, views_to_try
from eml.training.validation_changes import set_digest

ENOUGH_IMAGES, MOST_IMAGES = 4000, 50_000
"""Training images that are embedded for a stage, at most: so many in a short and in a long run. Fewer than
three for each number of the features made whitening worse."""
SHARE = 0.05
"""Between them, this share of the images that are trained on, of which each costs three times as much."""


@dataclass(frozen=True)
class StageFeatures:
    """Outputs of a network, float32 on the CPU.

    Attributes:
        train: (n, D) of training images.
        labels: (n,) their classes.
        views: Way to embed → (M, D) of each view of the images of the validation set that decides.
    """

    train: Tensor
    labels: Integers
    views: dict[View, tuple[Tensor, ...]]

    @property
    def held_out(self) -> Tensor:
        """(M, D) of the held-out images, embedded in the usual way."""
        return self.views[USUAL][0]

    def embeddings(self, projection: AffineProjection | None, view: View = USUAL) -> Tensor:
        """Return (M, D) unit vectors of the held-out images: the mean of those of their views, projected."""
        first, *others = (_unit(outputs, projection) for outputs in self.views[view])
        return unit_length(sum(others, first)) if others else first

    def distractors(self, rows: Integers, projection: AffineProjection | None) -> Tensor:
        """Return unit vectors of some training images, projected."""
        return _unit(self.train[rows], projection)


def _unit(outputs: Tensor, projection: AffineProjection | None) -> Tensor:
    return unit_length(outputs) if projection is None else projection.transform(outputs)


def stage_features(
    parts: RunParts,
    embedder: Embedder,
    file: Path,
    progress: Callable[[int], None] = lambda count: None,
) -> StageFeatures | None:
    """Return the outputs of a network for a run's images, from its file if it is there; all processes call this.

    Args:
        parts: Of the run.
        embedder: The network.
        file: Where they are kept, written whole or not at all.
        progress: Called with the number of images embedded since the last call.

    Returns:
        The outputs in the first process, None in the others.
    """
    key = _key(parts)
    stored = _read(file, key) if parts.processes.first else None
    if parts.processes.from_first(lambda: stored is not None):
        return stored
    train, labels = embed_training_images(parts, embedder, progress)
    views = embed_views(parts, embedder, views_of_run(parts), progress)
    if not parts.processes.first:
        return None
    features = StageFeatures(train, labels, views)
    _write(file, features, key)
    return features


def views_of_run(parts: RunParts) -> list[View]:
    """Return the usual way to embed and those that are tried, as far as the network takes them."""
    tried = [view for view in views_to_try(parts.config) if takes_size(parts, parts.networks.evaluated, view.size)]
    return [USUAL, *tried]


def embed_training_images(
    parts: RunParts,
    embedder: Embedder,
    progress: Callable[[int], None] = lambda count: None,
    rows: Integers | None = None,
) -> tuple[Tensor, Integers]:
    """Return (n, D) outputs of a network for training images and (n,) their classes; all processes call this.

    Only the first process has the outputs.

    Args:
        parts: Of the run.
        embedder: The network.
        progress: Called with the number of images embedded since the last call.
        rows: Of the training images; by default those of a stage.
    """
    rows = images_of_stages(parts) if rows is None else rows
    model = RawModel(parts, embedder)
    batching = Batching(parts.config.validation.batch_size, parts.workers, parts.processes)
    frame = parts.data.frame.iloc[rows].reset_index(drop=True)
    return embed_table(model, parts.table, frame, batching=batching, progress=progress), parts.data.labels[rows]


def read_features(parts: RunParts, file: Path) -> StageFeatures:
    """Return outputs that were kept in a file of the run."""
    features = _read(file, _key(parts))
    assert features is not None, "the run has written them before"
    return features


def _key(parts: RunParts) -> str:
    """Return what the outputs depend on besides the network."""
    _, images = parts.validation.sets[parts.validation.decides]
    views = ", ".join(view.text for view in (USUAL, *views_to_try(parts.config)))
    return f"{parts.table_digest} {set_digest(images)} {parts.config.data.fold} {views}"


def images_of_stages(parts: RunParts) -> Integers:
    """Return the rows of the training images that are embedded for a stage."""
    trained_on = parts.config.epochs * parts.steps_per_epoch * parts.config.batch_size
    return rows_to_embed(parts.data.labels, min(MOST_IMAGES, max(ENOUGH_IMAGES, int(SHARE * trained_on))))


def rows_to_embed(labels: Integers, most: int) -> Integers:
    """Return the rows of at most so many images, in order: evenly spaced ones of each class, two at least.

    Args:
        labels: (N,) classes from 0.
        most: Images; more only where two of each class are more.
    """
    counts = np.bincount(labels)
    share = int(counts.max(initial=0))
    while share > 2 and np.minimum(counts, share).sum() > most:
        share = max(2, int(share * 0.9))
    order = np.argsort(labels, kind="stable")
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its class
    count = counts[labels[order]]
    kept = np.minimum(count, share)
    is_taken = (place * kept) // count != ((place - 1) * kept) // count
    rows: Integers = np.sort(order[is_taken])
    return rows


def _write(file: Path, features: StageFeatures, key: str) -> None:
    file.parent.mkdir(exist_ok=True)
    views = [(view.size, view.tta, list(outputs)) for view, outputs in features.views.items()]
    values = {"train": features.train, "labels": torch.from_numpy(features.labels), "views": views, "key": key}
    with whole_file(file) as temporary:
        torch.save(values, temporary)


def _read(file: Path, key: str) -> StageFeatures | None:
    """Return what is kept in a file; None where it is missing, damaged or of other images."""
    if not file.is_file():
        return None
    try:
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if saved["key"] != key:
            return None
        views = {View(size, tta): tuple(outputs) for size, tta, outputs in saved["views"]}
        return StageFeatures(saved["train"], saved["labels"].numpy(), views)
    except Exception:  # torch.load raises many types on a damaged file; it is computed again
        return None
