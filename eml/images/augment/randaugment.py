"""timm's RandAugment and random erasing."""

import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.random import mtrand
from pydantic import Field, field_validator

from eml.errors import ConfigError
from eml.images.augment import _presets as of
from eml.images.augment._augmenter import Augmenter
from eml.images.augment.base import Augment
from eml.images.crop import Crop
from eml.images.preprocess import Pixels, Preprocess
from eml.images.random import Bits

if TYPE_CHECKING:
    from timm.data.auto_augment import RandAugment as Policy

_SECTION = re.compile(r"m\d+|n\d+|p(0?\.\d+|0|1|1\.0)|mstd(\d+\.?\d*|inf)|mmax\d+|inc[01]|t(weights|3aw?)")


class RandAugment(Augment):
    """RandAugment, a few of fifteen operations drawn for each image, and random erasing, both timm's.

    Cubuk 2020, arXiv:1909.13719; Zhong 2017, arXiv:1708.04896. Some operations invert, solarise or posterise: where
    colour tells classes apart, take `strong`.
    """

    type: Literal["randaugment"] = "randaugment"
    policy: str = Field(
        "rand-m9-mstd0.5-inc1",
        description="timm's own notation: m strength 0 to 10, n operations an image, p chance of each, mstd spread of "
        "the strength, mmax its bound, inc1 all operations stronger with m, tweights, t3a or t3aw other sets of them",
    )
    crop: of.Cut = 0.3
    aspect: of.Aspect = 1.33
    flip: of.Flip = 0.5
    erase: of.Erase = 0.25

    @field_validator("policy")
    @classmethod
    def _timms_notation(cls, policy: str) -> str:
        first, *sections = policy.split("-")
        unknown = [] if first == "rand" else [first]
        unknown += [section for section in sections if not _SECTION.fullmatch(section)]
        if unknown:
            raise ValueError(
                f"must be rand, then sections as in rand-m9-n2-mstd0.5-inc1 (m, n, mmax: whole numbers; p: 0 to 1; "
                f"mstd: a number; inc: 0 or 1; tweights, t3a or t3aw), got {unknown[0]!r} in {policy!r}"
            )
        return policy

    def check(self) -> None:
        """Raises ConfigError when the timm at hand does not take the policy."""
        try:
            Policies(self.policy, 0, 224)
        except Exception as error:  # an assertion, a KeyError, as its parser has it
            raise ConfigError(f"augment.policy: timm cannot take {self.policy!r}: {error}") from error

    def build(self, preprocess: Preprocess) -> Augmenter:
        """Crop and flip as the presets have them, then the policy, then the erasing."""
        crop = Crop(self.crop, self.aspect) if self.crop else None
        change = Policies(self.policy, self.erase, preprocess.size)
        return Augmenter(crop=crop, flip=self.flip, change=change)


class Policies:
    """timm's policy and its erasing, whose random numbers come from the process's generators.

    These are seeded for each image and put back afterwards, so that nobody else's numbers depend on it; numpy's is
    exchanged for one of our own meanwhile, since a copy of its state would take 100 µs.
    """

    def __init__(self, policy: str, erase: float, side: int) -> None:
        from timm.data.auto_augment import rand_augment_transform

        self.written = (policy, erase, side)
        self.erase, self.bits = erase, Bits()
        grey = (124, 116, 104)  # ImageNet's mean, as timm's own training has it
        self.policy: Policy = rand_augment_transform(policy, {"translate_const": int(0.45 * side), "img_mean": grey})
        for operation in self.policy.ops:
            if operation.name.startswith("Posterize"):
                operation.level_fn = _one_bit_at_least(operation.level_fn)

    def __reduce__(self) -> tuple[type["Policies"], tuple[Any, ...]]:
        return Policies, self.written

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """(H, W, 3) uint8, a pure function of both; the argument stays as it was."""
        from PIL import Image

        before, before_numpy = random.getstate(), mtrand.get_bit_generator()
        try:
            random.seed(seed)
            self.bits.start(seed)
            mtrand.set_bit_generator(self.bits)
            changed = np.asarray(self.policy(Image.fromarray(pixels)), np.uint8)
            return _erased(changed, seed) if random.random() < self.erase else changed
        finally:
            random.setstate(before)
            mtrand.set_bit_generator(before_numpy)


def _one_bit_at_least(level_fn: Callable[[float, Any], tuple[int]]) -> Callable[[float, Any], tuple[int]]:
    """timm asks for 0 bits at full strength, which Pillow 13 refuses; earlier ones gave a black image."""
    return lambda level, hparams: (max(1, level_fn(level, hparams)[0]),)


def _erased(pixels: Pixels, seed: int) -> Pixels:
    """A rectangle full of noise. timm erases normalised images; its noise on zeros tells where, and with what.

    Normal noise of ImageNet's spread about ImageNet's mean, as it is where the image is normalised afterwards.
    """
    import torch
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from timm.data.random_erasing import RandomErasing

    height, width, _ = pixels.shape
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        noise = RandomErasing(1, mode="pixel", device="cpu")(torch.zeros(3, height, width)).permute(1, 2, 0).numpy()
    filling = 255 * (np.array(IMAGENET_DEFAULT_MEAN) + np.array(IMAGENET_DEFAULT_STD) * noise)
    return np.where(noise != 0, filling.clip(0, 255).astype(np.uint8), pixels)
