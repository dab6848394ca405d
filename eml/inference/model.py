"""A loaded model: images in, embeddings out. What `eml.load` returns."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from eml.errors import CheckpointError, DataError
from eml.images.decode import decode, from_pil
from eml.images.loading import ImageDataset, InOrder, batches, normalise
from eml.images.preprocess import Preprocess
from eml.models.calibration import Calibration, read_calibration
from eml.models.checkpoint import load_checkpoint
from eml.models.device import find_device
from eml.models.embedder import Embedder

ImageLike = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]


class Model:
    """An embedder with its preprocessing, in eval mode on one device. folder: of its checkpoint, if it is from one."""

    def __init__(
        self, embedder: Embedder, preprocess: Preprocess, device: torch.device, folder: Path | None = None
    ) -> None:
        self.embedder, self.preprocess, self.device = embedder.to(device).eval(), preprocess, device
        self.folder = folder

    @cached_property
    def calibration(self) -> Calibration | None:
        """What `eml calibrate` found for this checkpoint; None where it was not run.

        Raises CheckpointError when it cannot be read or belongs to other weights.
        """
        return None if self.folder is None else read_calibration(self.folder)

    @property
    def threshold(self) -> float:
        """The calibrated threshold: accept from this cosine upwards. Raises CheckpointError without a calibration."""
        if self.calibration is None:
            raise CheckpointError(f"{self.folder or 'the model'}: is not calibrated; run: eml calibrate CHECKPOINT")
        return self.calibration.threshold.value

    def matches(self, first: ImageLike, second: ImageLike, *, threshold: float | None = None) -> bool:
        """Whether two images are taken to be of one class: their cosine is at least the threshold.

        threshold: the calibrated one unless given. Whether it fits two images depends on its goal: pair_far is about
        pairs; far, about the nearest of a whole gallery, is stricter. Raises CheckpointError when neither is there.
        """
        least = self.threshold if threshold is None else threshold
        one, other = self.embed([first, second])
        return float(one @ other) >= least

    @property
    def size(self) -> int:
        """Embedding size D."""
        return self.embedder.size

    def embed(self, images: Sequence[ImageLike] | ImageLike, *, batch_size: int = 64) -> NDArray[np.float32]:
        """(N, D) float32 embeddings of unit length.

        images: paths, PIL images (any mode) or (H, W, 3) uint8 RGB arrays; one alone counts as a list of one.
        Raises DataError when one cannot be read.
        """
        if isinstance(images, (str, os.PathLike, Image.Image, np.ndarray)):
            images = [images]
        done = [self._forward(pixels) for pixels in self._tensors(images, batch_size)]
        return torch.cat(done).numpy() if done else np.zeros((0, self.size), np.float32)

    def embed_rows(
        self, images: ImageDataset, *, batch_size: int, workers: int = 0, progress: Callable[[int], None] | None = None
    ) -> Tensor:
        """(N, D) float32 embeddings of unit length on the CPU, for the rows of a table in order."""
        done = torch.empty(len(images), self.size)
        for embeddings, rows in self.embedded(images, InOrder(len(images), batch_size), workers):
            done[rows] = embeddings
            if progress is not None:
                progress(len(rows))
        return done

    def embedded(self, images: ImageDataset, which: InOrder, workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batch by batch (B, D) embeddings of unit length on the CPU, and the rows (B,) that they are of."""
        for pixels, rows in batches(images, which, workers):
            yield self._forward(pixels), rows

    def accompany(self) -> None:
        """Call the network on nothing, where its weights are shared out and the others have images left."""
        side = self.preprocess.size
        self._forward(torch.zeros(1, 3, side, side, dtype=torch.uint8))

    def _forward(self, pixels: Tensor) -> Tensor:
        self.embedder.eval()
        with torch.no_grad():  # not in inference mode: weights that are gathered in it could not be trained after
            embeddings = self.embedder(normalise(pixels.to(self.device), self.preprocess)).float()
            return torch.nn.functional.normalize(embeddings).cpu()

    def _tensors(self, images: Sequence[ImageLike], batch_size: int) -> Iterator[Tensor]:
        for first in range(0, len(images), batch_size):
            arrays = [self.preprocess(self._open(image)) for image in images[first : first + batch_size]]
            yield torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    def _open(self, image: ImageLike) -> Image.Image:
        side = self.preprocess.size
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise DataError(f"an array must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
            return Image.fromarray(image)
        if isinstance(image, Image.Image):
            return from_pil(image)
        return decode(Path(image), at_least=(side, side))


def load(checkpoint: str | os.PathLike[str], *, device: str = "auto") -> Model:
    """Load a checkpoint folder, or a run folder's best checkpoint, for embedding.

    device: auto, cpu, cuda, cuda:N or mps. Raises CheckpointError when it cannot be read.
    """
    found = load_checkpoint(Path(checkpoint))
    return Model(found.embedder, found.config.preprocess, find_device(device), found.folder)
