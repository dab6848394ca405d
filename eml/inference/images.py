"""The images of a table's rows."""

from pathlib import Path

import numpy as np
import pandas as pd

from eml.dataset.columns import BOX
from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.images import source as images
from eml.images.augment import Augmenter
from eml.images.cache.store import CACHE_FOLDER
from eml.images.flatten import Background
from eml.images.loading import ImageDataset
from eml.images.preprocess import Preprocess
from eml.storage import is_remote


def table_images(
    table: Table,
    frame: pd.DataFrame,
    preprocess: Preprocess,
    *,
    source: images.ImageSource | None = None,
    augmenter: Augmenter | None = None,
    seed: int = 0,
) -> ImageDataset:
    """Return the images of rows of a table, in the frame's order, as a dataset for a data loader.

    Args:
        table: The table, which knows the folder of the images.
        frame: Its rows.
        preprocess: The preprocessing of the model.
        source: An image cache of these rows; by default images are read from their files.
        augmenter: Augmentation, for training.
        seed: The seed of the augmentation.
    """
    source = table_files(table, frame, preprocess.background) if source is None else source
    return ImageDataset(source, preprocess, augmenter=augmenter, seed=seed)


def table_files(table: Table, frame: pd.DataFrame, background: Background = "contrast") -> images.FileSource:
    """Return the image files, with their boxes, of rows of a table; transparency is put on the background."""
    boxes = frame[list(BOX)].fillna(-1).to_numpy(np.int64) if set(BOX) <= set(frame.columns) else None
    return images.FileSource(table.root, frame["file_name"].tolist(), boxes, background=background)


def cache_folder(table: Table) -> Path:
    """Return where caches of a table's images lie unless another folder is named: in its root, if that is local.

    Raises:
        ConfigError: The root and the table are both remote.
    """
    if not is_remote(table.root):
        return table.root / CACHE_FOLDER
    if table.path is None or is_remote(table.path):
        text = f"{table.name}: its images are in a remote place, so a cache of them needs a local folder. Set "
        raise ConfigError(f"{text}data.cache.folder", code="missing-key", parameter="data.cache.folder")
    return table.path.parent / CACHE_FOLDER
