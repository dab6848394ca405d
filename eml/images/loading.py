"""Table rows → batches of uint8 pixels, as a pure function of (seed, epoch, position)."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eml.errors import DataError
from eml.images.augment import Augmenter
from eml.images.decode import decode
from eml.images.preprocess import Preprocess

Batch = tuple[Tensor, Tensor]
"""pixels (B, 3, H, W) uint8, rows (B,) int64: which picture each is."""


Key = tuple[int, int, int]
"""(epoch, position in the epoch, row of the table)."""


class Pictures(Dataset[tuple[Tensor | str, int]]):
    """Pictures by (epoch, position, row); the pixels depend on the seed and those three alone.

    Paths are kept as one array of bytes, so that worker processes share it instead of copying a list of strings.
    boxes: (N, 4) left, top, right, bottom in pixels, right and bottom exclusive; negative for the whole picture.
    """

    def __init__(
        self,
        root: Path,
        file_names: Sequence[str],
        preprocess: Preprocess,
        *,
        boxes: NDArray[np.int64] | None = None,
        augmenter: Augmenter | None = None,
        seed: int = 0,
    ) -> None:
        encoded = [name.encode() for name in file_names]
        self.offsets = np.cumsum([0, *map(len, encoded)])
        self.names = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self.root, self.preprocess, self.boxes = root, preprocess, boxes
        self.augmenter, self.seed = augmenter, seed

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def path(self, row: int) -> Path:
        """Where the picture of a row lies."""
        return self.root / bytes(self.names[self.offsets[row] : self.offsets[row + 1]]).decode()

    def __getitem__(self, key: Key) -> tuple[Tensor | str, int]:
        """Pixels (3, H, W) uint8 and the row; a message instead of pixels, which survives the way out of a worker."""
        epoch, position, row = key
        try:
            pixels = self.preprocess(self._decode(row))
        except DataError as error:
            return str(error), row
        if self.augmenter is not None:
            seed = np.random.SeedSequence([self.seed, epoch, position]).generate_state(1)[0]
            pixels = self.augmenter(pixels, int(seed))
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1), row

    def _decode(self, row: int) -> Image.Image:
        side = self.preprocess.size
        if self.boxes is None or self.boxes[row, 0] < 0:
            return decode(self.path(row), at_least=(side, side))
        left, top, right, bottom = (int(edge) for edge in self.boxes[row])
        return decode(self.path(row), at_least=(side, side), box=(left, top, right, bottom))


class InOrder:
    """Every row once, in order: the batches of an evaluation. A batch sampler of (epoch, position, row) keys."""

    def __init__(self, num_rows: int, batch_size: int) -> None:
        self.num_rows, self.batch_size = num_rows, batch_size

    def __len__(self) -> int:
        return -(-self.num_rows // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        for first in range(0, self.num_rows, self.batch_size):
            yield [(0, row, row) for row in range(first, min(first + self.batch_size, self.num_rows))]


class Shuffled:
    """An epoch's batches, each row at most once, from any step on: the order is a pure function of (seed, epoch).

    Rows that do not fill the last batch are left out, others in each epoch; with fewer rows than a batch, the batch is
    all of them.
    """

    def __init__(self, num_rows: int, batch_size: int, seed: int, epoch: int, first_step: int = 0) -> None:
        self.batch_size, self.epoch, self.first_step = min(batch_size, num_rows), epoch, first_step
        self.num_rows, self.seed = num_rows, seed

    def __len__(self) -> int:
        return self.num_rows // self.batch_size - self.first_step

    def __iter__(self) -> Iterator[list[Key]]:
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, self.epoch])))
        order = random.permutation(self.num_rows)
        for step in range(self.first_step, self.num_rows // self.batch_size):
            positions = range(step * self.batch_size, (step + 1) * self.batch_size)
            yield [(self.epoch, position, int(order[position])) for position in positions]


def batches(pictures: Pictures, sampler: InOrder | Shuffled, workers: int = 0) -> Iterator[Batch]:
    """Batches in the sampler's order, whatever the number of worker processes.

    Raises DataError naming the file when a picture cannot be read.
    """
    loader = DataLoader(
        pictures,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),  # else each iterator takes a number from torch's own, from which dropout draws
    )
    for pixels, rows in loader:
        if isinstance(pixels, str):
            raise DataError(pixels)
        yield pixels, rows


def _leave_signals_to_the_parent(worker: int) -> None:
    """A stop request for the whole process group is the parent's to answer; it ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _collate(samples: list[tuple[Tensor | str, int]]) -> tuple[Tensor | str, Tensor]:
    rows = torch.tensor([row for _, row in samples])
    pixels = [sample for sample, _ in samples]
    problem = next((text for text in pixels if isinstance(text, str)), None)
    return (problem or torch.stack([tensor for tensor in pixels if not isinstance(tensor, str)])), rows


def normalise(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """uint8 (B, 3, H, W) on any device → float32, (x/255 − mean)/std, channels last (faster convolutions)."""
    mean = torch.tensor(preprocess.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocess.std, device=pixels.device).view(1, 3, 1, 1)
    images = pixels.to(torch.float32, memory_format=torch.channels_last)
    return images.div_(255).sub_(mean).div_(std)
