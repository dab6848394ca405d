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
    """RandAugment, which draws a few of fifteen operations for each image, and random erasing, both from timm.

    Cubuk 2020, arXiv:1909.13719; Zhong 2017, arXiv:1708.04896. Some operations invert, solarise or posterise: use
    `strong` where classes differ by colour.
    """

    type: Literal["randaugment"] = "randaugment"
    policy: str = Field(
        "rand-m9-mstd0.5-inc1",
        description="in timm's notation: m strength from 0 to 10, n operations per image, p chance of each, mstd "
        "spread of the strength, mmax its maximum, inc1 every operation is stronger with larger m, tweights, t3a "
        "or t3aw another set of operations",
    )
    crop: of.Cut = 0.3
    aspect: of.Aspect = 1.33
    flip: of.Flip = 0.5
    erase: of.Erase = 0.25

    @field_validator("policy")
    @classmethod
    def _check_notation(cls, policy: str) -> str:
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
        """Raise ConfigError when the installed version of timm does not accept the policy."""
        try:
            TimmPolicy(self.policy, 0, 224)
        except Exception as error:  # timm's parser raises AssertionError, KeyError and others
            raise ConfigError(
                f"augment.policy: timm does not accept {self.policy!r}: {error}",
                code="invalid-value",
                parameter="augment.policy",
            ) from error

    def build(self, preprocess: Preprocess) -> Augmenter:
        """Build crop and flip as in the presets, then the policy, then random erasing."""
        crop = Crop(self.crop, self.aspect) if self.crop else None
        policy = TimmPolicy(self.policy, self.erase, min(preprocess.at_least))
        return Augmenter(crop=crop, flip=self.flip, after_resize=policy)


class TimmPolicy:
    """timm's policy and random erasing, which draw from the process's global generators.

    The generators are seeded for each image and restored afterwards, so that other code's random numbers do not depend
    on it. numpy's generator is replaced meanwhile, since copying its state would take 100 µs.
    """

    def __init__(self, policy: str, erase: float, side: int) -> None:
        from timm.data.auto_augment import rand_augment_transform

        self.written = (policy, erase, side)
        self.erase, self.bits = erase, Bits()
        grey = (124, 116, 104)  # ImageNet's mean, as in timm's own training
        self.policy: Policy = rand_augment_transform(policy, {"translate_const": int(0.45 * side), "img_mean": grey})
        for operation in self.policy.ops:
            if operation.name.startswith("Posterize"):
                operation.level_fn = _one_bit_at_least(operation.level_fn)

    def __reduce__(self) -> tuple[type["TimmPolicy"], tuple[Any, ...]]:
        return TimmPolicy, self.written

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """Return the transformed pixels (H, W, 3) uint8; the argument is not changed."""
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
    """Keep at least 1 bit: at full strength timm posterises to 0, which Pillow 13 refuses (earlier: a black image)."""
    return lambda level, hparams: (max(1, level_fn(level, hparams)[0]),)


def _erased(pixels: Pixels, seed: int) -> Pixels:
    """Fill a rectangle with noise. timm erases normalised images; its noise on zeros gives the place and the values.

    The noise is normal, with the mean and standard deviation of ImageNet, as after normalisation.
    """
    import torch
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from timm.data.random_erasing import RandomErasing

    height, width, _ = pixels.shape
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # only the CPU's
        noise = RandomErasing(1, mode="pixel", device="cpu")(torch.zeros(3, height, width)).permute(1, 2, 0).numpy()
    filling = 255 * (np.array(IMAGENET_DEFAULT_MEAN) + np.array(IMAGENET_DEFAULT_STD) * noise)
    return np.where(noise != 0, filling.clip(0, 255).astype(np.uint8), pixels)
