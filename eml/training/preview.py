"""What `eml train` would show its network: training images as evaluation sees them, and drawn some times."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eml.dataset.table import Table
from eml.errors import DataError
from eml.images.augment import Augment
from eml.images.loading import ImageDataset
from eml.images.preprocess import Pixels, Preprocess
from eml.inference.images import table_images
from eml.models.embedder import preprocess_of
from eml.training.config import RunConfig
from eml.training.data import training_sets
from eml.training.recipe import resolved

ROWS, DRAWS = 8, 7


@dataclass(frozen=True)
class Shown:
    """One image: (side, side, 3) uint8 as evaluation has it, and as some epochs of training would."""

    label: str
    file_name: str
    plain: Pixels
    drawn: list[Pixels]


@dataclass(frozen=True)
class Preview:
    """Some training images; augment, preprocess: what became of them."""

    augment: Augment
    preprocess: Preprocess
    rows: list[Shown]


def preview(config: RunConfig, table: Table, rows: int = ROWS, draws: int = DRAWS) -> Preview:
    """Images of classes spread over all, the same each time; no network is built, nothing written.

    The draws are those of the run's seed at epochs 1, 2, …, but at positions of their own; where the config mixes
    images, each draw's images are a batch of which those of a row are mixed with another row's. Raises EmlError as
    a run.
    """
    config.augment.check()
    config, _ = resolved(config, table)
    sets = training_sets(table, config.data.fold)
    preprocess = preprocess_of(config.model.backbone, **dict(config.image))
    augmenter = config.augment.build(preprocess)
    plain = table_images(table, sets.frame, preprocess)
    drawn = table_images(table, sets.frame, preprocess, augmenter=augmenter, seed=config.seed)
    chosen = _spread(sets.labels, rows)
    columns = [
        _mixed(config, [_pixels(drawn, epoch, position, row) for position, row in enumerate(chosen)], epoch)
        for epoch in range(1, draws + 1)
    ]
    shown = [
        Shown(
            str(sets.frame["label"].iloc[row]),
            str(sets.frame["file_name"].iloc[row]),
            _pixels(plain, 0, 0, row),
            [column[position] for column in columns],
        )
        for position, row in enumerate(chosen)
    ]
    return Preview(config.augment, preprocess, shown)


def _mixed(config: RunConfig, drawn: list[Pixels], step: int) -> list[Pixels]:
    """As the config mixes a batch of these at the beginning of a run."""
    if config.mix is None:
        return drawn
    images = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float()
    mixed = config.mix(images, seed=config.seed, step=step, steps=10**9)
    return drawn if mixed is None else list(mixed.images.round().byte().permute(0, 2, 3, 1).numpy())


def _spread(labels: NDArray[np.int64], count: int) -> list[int]:
    """Rows of as many classes as there are, evenly over their names; then further images of these classes."""
    classes = np.unique(np.linspace(0, labels.max(), count).round().astype(int))
    members = [np.flatnonzero(labels == each).tolist() for each in classes]
    longest = max(map(len, members))
    turns = [each[turn] for turn in range(longest) for each in members if turn < len(each)]
    return sorted(turns[:count], key=lambda row: (labels[row], row))


def _pixels(source: ImageDataset, epoch: int, position: int, row: int) -> Pixels:
    made, _ = source[(epoch, position, row)]
    if not isinstance(made, torch.Tensor):
        raise DataError(made)
    return made[0].permute(1, 2, 0).numpy()
