"""Any transforms of albumentations."""

from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from eml.errors import ConfigError, DataError
from eml.images.augment._albumentations_adapter import Composed
from eml.images.augment._augmenter import Augmenter
from eml.images.augment._transform_list import flaws
from eml.images.augment.base import Augment
from eml.images.image_size import height_width
from eml.images.preprocess import Pixels, Preprocess

SMALL = "Put PadIfNeeded first, which enlarges small images to the network's size"


class Albumentations(Augment):
    """A list of albumentations' transforms, applied to the decoded image before it is resized to the network's size."""

    type: Literal["albumentations"] = "albumentations"
    transforms: tuple[str | dict[str, Any], ...] = Field(
        description="each NAME or NAME: {arguments}; a required size that is missing is the network's; see "
        "docs/augmentation.md"
    )

    @field_validator("transforms", mode="wrap")
    @classmethod
    def _usable(cls, written: object, handler: ValidatorFunctionWrapHandler) -> object:
        """Report each flaw at its own place in the file."""
        errors: list[InitErrorDetails] = [
            {"type": PydanticCustomError("transform", "{text}", {"text": message}), "loc": loc, "input": None}
            for loc, message in (flaws(written) if isinstance(written, list | tuple) else ())
        ]
        if errors:
            raise ValidationError.from_exception_data("transforms", errors)
        return handler(written)

    def build(self, preprocess: Preprocess) -> Augmenter:
        """Build the transforms. Raises ConfigError when they fail on an image of the network's size."""
        transforms = UserTransforms(self.transforms, preprocess.size)
        transforms.try_out()
        return Augmenter(before_resize=transforms)


class UserTransforms(Composed):
    """The transforms of a config; their failures are reported to the user."""

    def try_out(self) -> None:
        """Try the transforms on images of the smallest size. Raises ConfigError when one fails."""
        image = np.random.default_rng(0).integers(0, 256, (*height_width(self.size), 3), np.uint8)
        for seed in range(3):
            self.seed(seed)
            data = {"image": image}
            for transform, written in zip(self.transforms, self.written, strict=True):
                try:
                    data = transform(**data, force_apply=True)
                except Exception as error:
                    name = written if isinstance(written, str) else next(iter(written))
                    raise ConfigError(
                        f"augment.transforms: {name} fails on {_failure(data['image'], error)}",
                        code="transform-failed",
                        parameter="augment.transforms",
                    ) from error

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """Return (H, W, 3) uint8 of any size. Raises DataError when a transform fails on an image of this size."""
        try:
            return super().__call__(pixels, seed)
        except Exception as error:
            raise DataError(
                f"augment.transforms: they fail on {_failure(pixels, error)}. {SMALL}",
                code="transform-failed",
                parameter="augment.transforms",
            ) from error


def _failure(pixels: Pixels, error: Exception) -> str:
    height, width, *_ = pixels.shape
    return f"an image of {width} × {height} pixels: {(str(error).splitlines() or [type(error).__name__])[0]}"
