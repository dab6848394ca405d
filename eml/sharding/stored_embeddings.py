"""The embeddings of several sets of images that shards made, as an evaluation takes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eml.dataset.table import Table
from eml.errors import DataError
from eml.inference.any_model import AnyModel
from eml.inference.images import table_files
from eml.models.fingerprint import Fingerprint
from eml.sharding.block_file import BlockStore
from eml.sharding.blocks import BoxCorners, RowBlock, cut_blocks


@dataclass
class ImageSet:
    """Images of a table that a model embeds.

    Attributes:
        name: The set's, among those of one evaluation.
        checkpoint: The model, as it was named.
        table: The table.
        frame: The rows of the table.
    """

    name: str
    checkpoint: str
    table: Table
    frame: pd.DataFrame
    blocks: list[RowBlock] = field(init=False)
    names: list[str] = field(init=False)
    boxes: list[BoxCorners] = field(init=False)

    def __post_init__(self) -> None:
        files = table_files(self.table, self.frame)
        self.names = self.frame["file_name"].tolist()
        self.boxes = [files.box(row) for row in range(len(files))]
        self.blocks = cut_blocks(self.names, self.boxes)

    @property
    def place(self) -> tuple[str, Path]:
        """The model and the table, by which an evaluation asks for the embeddings."""
        return self.checkpoint, self.table.path or self.table.root


class StoredEmbeddings:
    """The embeddings of sets, by their models and tables.

    Args:
        sets: The sets.
        store: The blocks of all sets.
        fingerprints: Checkpoint → the fingerprint of the model that embedded them.
    """

    def __init__(self, sets: Sequence[ImageSet], store: BlockStore, fingerprints: dict[str, Fingerprint]) -> None:
        self._sets = {images.place: images for images in sets}
        self._store, self._fingerprints = store, fingerprints

    def __call__(self, model: AnyModel, table: Table, frame: pd.DataFrame) -> Tensor | None:
        """Return the embeddings (N, D) of rows of a table; None where the shards have not these.

        Raises:
            DataError: The shards are by another model.
        """
        images = self._sets.get((model.source, table.path or table.root))
        if images is None or images.names != frame["file_name"].tolist():
            return None
        fingerprint = self._fingerprints[images.checkpoint]
        if fingerprint.digest != model.fingerprint.digest:
            text = f"{images.checkpoint}: the shards were embedded by another model"
            text += (
                f" ({fingerprint.difference_from(model.fingerprint)}). Run them again, or merge where they were made"
            )
            raise DataError(text, code="stale-shard")
        embeddings = np.zeros((len(frame), model.size), np.float32)
        for block in images.blocks:
            embeddings[list(block.rows)] = self._store.read(f"{images.name}:{block.name}").embeddings
        return torch.from_numpy(embeddings)
