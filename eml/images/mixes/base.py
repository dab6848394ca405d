"""What mixing a batch is: each image with another of the same batch, and two labels with their shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from eml.config import Choice

if TYPE_CHECKING:
    from torch import Tensor

# More than 32 bits, so that the pixels' (seed, epoch, position) is never the same entropy.
_STREAM = int.from_bytes(b"mixing", "big")


@dataclass(frozen=True)
class Mixed:
    """A mixed batch of B.

    images: (B, 3, H, W). positives: (B,) int64, which image of the batch the other label is of.
    share: (B,) float32 in [0, 1], weight of an image's own label; the positive's has 1−share.
    """

    images: Tensor
    positives: Tensor
    share: Tensor


class Mix(Choice):
    """How a training batch is mixed, after augmentation.

    Positives are a random permutation of the batch, without regard of class. A positive of the same class changes the
    image alone: the two labels are one, and the loss is that of this label. So it is with an image that is its own
    positive, which stays as it is.
    """

    chance: float = Field(1.0, ge=0, le=1, description="of a batch to be mixed; the others stay as they are")
    until: float = Field(1.0, gt=0, le=1, description="share of the training after which nothing is mixed any more")
    share: Literal["batch", "image"] = Field(
        "batch", description="batch: one share (and box) for all images of a batch; image: one for each"
    )

    def mix(self, images: Tensor, positives: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Mixed images (B, 3, H, W), a new tensor, and the shares (B,). positives: (B,) int64 on the images' device."""
        raise NotImplementedError

    def __call__(self, images: Tensor, *, seed: int, step: int, steps: int, rank: int = 0) -> Mixed | None:
        """The batch of step `step` (from 0) of `steps`, mixed; None where it stays as it is.

        What is drawn is a pure function of (seed, step, rank), the number of images and their size; the images'
        memory is left alone. images: (B, 3, H, W), normalised floats on any device. rank: of the process, where each
        has a part of the batch; whether it is mixed is the same for all, positives are of the same part.
        """
        import torch

        random = _drawing(seed, step, _STREAM)
        if step >= self.until * steps or random.random() >= self.chance:
            return None
        if rank:
            random = _drawing(seed, step, _STREAM, rank)
        positives = torch.from_numpy(random.permutation(len(images))).to(images.device, non_blocking=True)
        mixed, share = self.mix(images, positives, random)
        return Mixed(mixed, positives, share)

    def draws(self, images: Tensor) -> int:
        """How many shares are drawn for the batch: 1, or B."""
        return 1 if self.share == "batch" else len(images)


def _drawing(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))
