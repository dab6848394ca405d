"""Preview the training images of a run, as evaluation sees them and as training draws them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eml.dataset.table import Table
from eml.images.augment import Augment
from eml.images.loading import ImageDataset
from eml.images.mixes import Mix
from eml.images.preprocess import Pixels, Preprocess
from eml.inference.images import table_images
from eml.models.backbones import preprocess_of
from eml.training.config import RunConfig
from eml.training.data import training_data
from eml.training.recipe import apply_recipe

ROWS, DRAWS = 8, 7


@dataclass(frozen=True)
class PreviewImage:
    """One training image.

    Attributes:
        label: Its class.
        file_name: Relative to the table's root.
        plain: (height, width, 3) uint8, as evaluation sees it.
        drawn: The same shape, as some epochs of training see it.
    """

    label: str
    file_name: str
    plain: Pixels
    drawn: list[Pixels]


@dataclass(frozen=True)
class Preview:
    """Some training images, and what is done with them.

    Attributes:
        augment: The augmentation.
        mix: How images are mixed; None if they are not.
        preprocess: The image size and how images are fitted to it.
        rows: The images.
    """

    augment: Augment
    mix: Mix | None
    preprocess: Preprocess
    rows: list[PreviewImage]


def preview(config: RunConfig, table: Table, rows: int = ROWS, draws: int = DRAWS) -> Preview:
    """Return training images of classes spread over all, the same each time; no network is built, nothing written.

    The draws are those of the run's seed at epochs 1, 2, …, but at positions of their own. Where the config mixes
    images, the images of each draw are a batch, in which a row's image is mixed with another row's.

    Args:
        config: Of the run.
        table: The images' table.
        rows: Number of images.
        draws: Number of draws of each.

    Raises:
        EmlError: Config and table do not fit together, or an image cannot be read.
    """
    config.augment.check()
    config, _ = apply_recipe(config, table)
    data = training_data(table, config.data.fold)
    preprocess = preprocess_of(config.model, **dict(config.image))
    augmenter = config.augment.build(preprocess)
    plain = table_images(table, data.frame, preprocess)
    drawn = table_images(table, data.frame, preprocess, augmenter=augmenter, seed=config.seed)
    chosen = _spread_rows(data.labels, rows)
    columns = [
        _mixed(config, [_pixels(drawn, epoch, position, row) for position, row in enumerate(chosen)], epoch)
        for epoch in range(1, draws + 1)
    ]
    images = [
        PreviewImage(
            str(data.frame["label"].iloc[row]),
            str(data.frame["file_name"].iloc[row]),
            _pixels(plain, 0, 0, row),
            [column[position] for column in columns],
        )
        for position, row in enumerate(chosen)
    ]
    return Preview(config.augment, config.mix, preprocess, images)


def _mixed(config: RunConfig, drawn: list[Pixels], step: int) -> list[Pixels]:
    """Return the images mixed as the config mixes a batch of them at the beginning of a run."""
    if config.mix is None:
        return drawn
    images = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float()
    mixed = config.mix(images, seed=config.seed, step=step, steps=10**9)
    return drawn if mixed is None else list(mixed.images.round().byte().permute(0, 2, 3, 1).numpy())


def _spread_rows(labels: NDArray[np.int64], count: int) -> list[int]:
    """Return a row of each of `count` classes, spread evenly over their names, then further rows of these classes."""
    classes = np.unique(np.linspace(0, labels.max(), count).round().astype(int))
    members = [np.flatnonzero(labels == label).tolist() for label in classes]
    longest = max(map(len, members))
    turns = [rows[turn] for turn in range(longest) for rows in members if turn < len(rows)]
    return sorted(turns[:count], key=lambda row: (labels[row], row))


def _pixels(source: ImageDataset, epoch: int, position: int, row: int) -> Pixels:
    pixels, _ = source[(epoch, position, row)]
    return pixels[0].permute(1, 2, 0).numpy()
