"""The base of the family: each image is mixed with another of the same batch, and so are their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from eml.config import Choice
from eml.devices import to_device

if TYPE_CHECKING:
    from torch import Tensor

# More than 32 bits, so that the entropy never equals the pixels' (seed, epoch, position).
_STREAM = int.from_bytes(b"mixing", "big")


@dataclass(frozen=True)
class Mixed:
    """A mixed batch of B.

    images: (B, 3, H, W). partners: (B,) int64 on the CPU, the index in the batch of the image that supplies the second
    label. share: (B,) float32 in [0, 1] on the CPU, weight of an image's own label; the second label has 1−share.
    """

    images: Tensor
    partners: Tensor
    share: Tensor


class Mix(Choice):
    """The mixing of a training batch, after augmentation.

    Partners are a random permutation of the batch, whatever their classes. A partner of the same class changes only
    the image: both labels are equal, and the loss is that of this label. An image that is its own partner is not
    changed.
    """

    renamed_values: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "type": {"either": "mixup_or_cutmix"},
        "share": {"picture": "image"},
    }

    chance: float = Field(1.0, ge=0, le=1, description="chance that a batch is mixed")
    until: float = Field(1.0, gt=0, le=1, description="share of the training after which mixing stops")
    share: Literal["batch", "image"] = Field(
        "batch", description="batch: all images of a batch have the same share (and box); image: each has its own"
    )

    def mix(self, images: Tensor, partners: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return new images (B, 3, H, W) and the shares (B,) on the CPU. partners: (B,) on the images' device."""
        raise NotImplementedError

    def __call__(self, images: Tensor, *, seed: int, step: int, steps: int, rank: int = 0) -> Mixed | None:
        """Return the mixed batch of step `step` (from 0) of `steps`, or None when it is not mixed.

        The random numbers are a pure function of (seed, step, rank), the number of images and their size.

        Args:
            images: (B, 3, H, W), normalised floats on any device; they are not changed.
            seed: The run's seed.
            step: The step.
            steps: Number of steps of the training.
            rank: The process, when each has a part of the batch. The chance of mixing is drawn once for all processes;
                partners come from the same part.
        """
        import torch

        random = _generator(seed, step, _STREAM)
        if step >= self.until * steps or random.random() >= self.chance:
            return None
        if rank:
            random = _generator(seed, step, _STREAM, rank)
        partners = torch.from_numpy(random.permutation(len(images)))
        mixed, share = self.mix(images, to_device(partners, images.device), random)
        return Mixed(mixed, partners, share)

    def draws(self, images: Tensor) -> int:
        """Return the number of shares to draw for the batch: 1 or B."""
        return 1 if self.share == "batch" else len(images)


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))
