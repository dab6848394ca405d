"""A table's images are embedded as single images are, whatever the batches."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import eml
from eml.dataset.table import Table
from eml.images.augment import Augmenter
from eml.images.crop import Crop
from eml.inference.embed import Batching, embed_table
from eml.inference.images import table_files, table_images


class Repeated:
    """A source of images whose rows all are the first."""

    def __init__(self, table: Table, frame: pd.DataFrame) -> None:
        self.files = table_files(table, frame)

    def __len__(self) -> int:
        return len(self.files)

    def whole(self, row: int, at_least: tuple[int, int]) -> Image.Image:
        return self.files.whole(0, at_least)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(7)]
    for name in names:
        Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    return Table(pd.DataFrame({"label": "a", "file_name": names}), tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_are_embedded_in_order_with_progress(table: Table, workers: int) -> None:
    model = eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")
    frame, counts = table.frame.iloc[::-1], list[int]()
    embeddings = embed_table(model, table, frame, batching=Batching(3, workers), progress=counts.append)
    expected = model.embed([table.root / name for name in frame["file_name"]], batch_size=3)
    assert np.array_equal(embeddings.numpy(), expected)
    assert counts == [3, 3, 1]
    assert embed_table(model, table, frame[:0]).shape == (0, model.size)


def test_a_cache_replaces_the_files(table: Table) -> None:
    model = eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")
    source = Repeated(table, table.frame)
    embeddings = embed_table(model, table, table.frame, source=source)  # type: ignore[arg-type]
    torch.testing.assert_close(embeddings, embeddings[:1].expand(7, -1))


def test_rows_with_boxes_are_cropped_as_in_training(table: Table) -> None:
    """A row without a box is the whole image; a training crop that cuts nothing off is the box's pixels alone."""
    model = eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")
    boxes = {"x_1": [4, None, 0], "y_1": [2, None, 0], "x_2": [40, None, 10], "y_2": [31, None, 40]}
    frame = table.frame.iloc[:3].assign(**{name: pd.array(edges, "Int64") for name, edges in boxes.items()})
    opened = [Image.open(table.root / name) for name in frame["file_name"]]
    crops = [opened[0].crop((4, 2, 40, 31)), opened[1], opened[2].crop((0, 0, 10, 40))]
    embeddings = embed_table(model, table, frame)
    assert np.array_equal(embeddings.numpy(), model.embed(crops))
    assert not np.allclose(embeddings[0], model.embed(opened[0]), atol=1e-3)
    in_training = table_images(table, frame, model.preprocess, augmenter=Augmenter(crop=Crop(cut=0, aspect=1)))
    pixels = in_training[0, 0, 0][0][0].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels, model.preprocess.resized(crops[0], (0, 0, *crops[0].size)))
    difference = np.abs(pixels.astype(int) - model.preprocess(crops[0]))
    assert difference.mean() < 8, "of noise, without antialiasing"
