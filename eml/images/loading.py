"""Table rows → batches of uint8 pixels, as a pure function of (seed, epoch, position)."""

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from multiprocessing.context import BaseContext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.images.augment import Augmenter
from eml.images.crop import DRAWS, Crop
from eml.images.decode import Box, OpenedImage
from eml.images.image_size import HeightWidth
from eml.images.loading_team import read_batches
from eml.images.loading_workers import Key, LoadedBatch, Reader
from eml.images.preprocess import Pixels, Preprocess, flipped
from eml.images.random import key_of, uniform
from eml.images.source import FileSource, ImageSource, PartialSource
from eml.threads import most_workers

Batch = tuple[Tensor, Tensor]
"""pixels (B, 3, H, W) uint8, channels last in memory; rows (B,) int64: the images' rows in the table."""


class ImageDataset:
    """Batches of images by keys (epoch, position, row); the pixels depend only on the seed and the keys."""

    def __init__(
        self, source: ImageSource, preprocess: Preprocess, *, augmenter: Augmenter | None = None, seed: int = 0
    ) -> None:
        self.source, self.preprocess = source, preprocess
        self.augmenter, self.seed = augmenter or Augmenter(), seed

    def __len__(self) -> int:
        return len(self.source)

    @property
    def shape(self) -> HeightWidth:
        """Height and width of the images (pixels)."""
        return self.preprocess.shape

    def __getitem__(self, key: Key) -> Batch:
        """Return one image as a batch of one."""
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return pixels (B, 3, H, W) uint8 and the rows; all keys are of one epoch. DataError as in `read`."""
        pixels = np.empty((len(keys), *self.shape, 3), np.uint8)
        self.read(keys, pixels)
        return _batch(pixels, keys)

    def read(self, keys: Sequence[Key], pixels: Pixels) -> None:
        """Write the images of the keys, all of one epoch, into pixels (B, H, W, 3).

        Raises:
            DataError: An image cannot be read.
        """
        if isinstance(self.source, FileSource | PartialSource):
            self.source.fetch([row for _, _, row in keys])
        draws = uniform(key_of(self.seed, keys[0][0]), np.array([position for _, position, _ in keys]), DRAWS + 2)
        for place, ((_, _, row), numbers) in enumerate(zip(keys, draws.tolist(), strict=True)):
            pixels[place] = self._pixels(row, numbers)

    def _pixels(self, row: int, draws: list[float]) -> Pixels:
        """Return (H, W, 3) of one image after the augmenter's steps."""
        augmenter, (*for_crop, for_flip, for_seed) = self.augmenter, draws
        seed = int(for_seed * 2**32)
        opened, part = self._open(row, augmenter.crop, for_crop)
        if augmenter.before_resize is not None:
            whole = augmenter.before_resize(np.asarray(opened), seed)
            pixels = self.preprocess.resized(whole, self.preprocess.visible_box(*whole.shape[1::-1]))
        else:
            pixels = self.preprocess(opened) if part is None else self.preprocess.resized(opened, part)
        if for_flip < augmenter.flip:
            pixels = flipped(pixels)
        return pixels if augmenter.after_resize is None else augmenter.after_resize(pixels, seed)

    def _open(self, row: int, crop: Crop | None, draws: list[float]) -> tuple[OpenedImage, Box | None]:
        """Return an image and its cropped part; None for the part that evaluation uses."""
        if crop is None or self.augmenter.before_resize is not None:
            return self.source.whole(row, self.preprocess.at_least), None
        return self.source.part(
            row, self.preprocess.at_least, lambda width, height: crop.part(width, height, self.preprocess, draws)
        )


class InOrder:
    """Every row once, in order: the batches of an evaluation. A batch sampler of (epoch, position, row) keys.

    Of `world` processes, process `rank` has every world-th batch. Batches stay whole, so that their embeddings are the
    same to the last bit with any number of processes.
    """

    def __init__(self, num_rows: int, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        self.num_rows, self.batch_size = num_rows, batch_size
        self.firsts = range(rank * batch_size, num_rows, world * batch_size)

    def __len__(self) -> int:
        return len(self.firsts)

    def __iter__(self) -> Iterator[list[Key]]:
        for first in self.firsts:
            yield [(0, row, row) for row in range(first, min(first + self.batch_size, self.num_rows))]


class EpochBatches:
    """An epoch's batches from any step on, or one process's share of each. A batch sampler of keys.

    Of `world` processes, process `rank` has a contiguous part of every batch; together they have each batch once.

    Args:
        order: (steps, B) rows, from a sampler.
        epoch: The epoch, from 1.
        first_step: The step to begin with.
        rank: Number of this process.
        world: Number of processes. The positions in the keys are those of the whole epoch, whatever the share.
    """

    def __init__(
        self, order: NDArray[np.int64], epoch: int, first_step: int = 0, *, rank: int = 0, world: int = 1
    ) -> None:
        size = order.shape[1]
        self.order, self.epoch, self.first_step = order, epoch, first_step
        bounds = [process * size // world for process in range(world + 1)]
        self.first, self.last = bounds[rank : rank + 2]
        self.counts = [last - first for first, last in itertools.pairwise(bounds)]  # of each process, in every batch

    def __len__(self) -> int:
        return len(self.order) - self.first_step

    def __iter__(self) -> Iterator[list[Key]]:
        size = self.order.shape[1]
        for step in range(self.first_step, len(self.order)):
            rows = self.order[step, self.first : self.last].tolist()
            yield [(self.epoch, step * size + self.first + number, row) for number, row in enumerate(rows)]


Order = InOrder | EpochBatches | Sequence[Sequence[Key]]
"""The keys of each batch."""


def batches(
    images: ImageDataset, sampler: InOrder | EpochBatches, workers: int = 0, context: BaseContext | None = None
) -> Iterator[Batch]:
    """Yield batches in the sampler's order, the same whatever the number of worker processes.

    Args:
        images: To read from.
        sampler: The batches.
        workers: Processes that read; at most `most_workers()` are started. 0 reads in this process.
        context: How they are started; None: as is usual on this system.

    Raises:
        WorkerLostError: A worker process was killed, or cannot be started.
        DataError: An image cannot be read; the message names the file.
    """
    for pixels, keys, _ in loaded_batches(images, sampler, workers, context):
        yield _batch(pixels, keys)


def loaded_batches(
    reader: Reader, order: Order, workers: int = 0, context: BaseContext | None = None
) -> Iterator[LoadedBatch]:
    """Yield the batches of any reader in order, with what it tells of them; otherwise as `batches`.

    Args:
        reader: Reads the images.
        order: The keys of each batch, of which none is larger than the first.
        workers: Processes that read, as in `batches`.
        context: How they are started.
    """
    if workers == 0:
        for keys in order:
            pixels = np.empty((len(keys), *reader.shape, 3), np.uint8)
            yield LoadedBatch(pixels, keys, reader.read(keys, pixels))
        return
    yield from read_batches(reader, order, min(workers, most_workers(), max(1, len(order))), context)


def _batch(pixels: Pixels, keys: Sequence[Key]) -> Batch:
    rows = torch.tensor([row for _, _, row in keys])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), rows


def normalise(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """uint8 (B, 3, H, W) on any device → float32, (x/255 − mean)/std, channels last (faster convolutions)."""
    mean, std = _by_channel(preprocess.mean, pixels.device), _by_channel(preprocess.std, pixels.device)
    images = pixels.to(torch.float32, memory_format=torch.channels_last)
    return images.div_(255).sub_(mean).div_(std)


@cache
def _by_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers of the channels (1, 3, 1, 1) on a device, where they are kept: a copy to it would wait."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).view(1, 3, 1, 1)
