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
from eml.images.preprocess import Pixels, Preprocess

SMALL = "PadIfNeeded before them makes small images as large as the network's"


class Albumentations(Augment):
    """albumentations' transforms in the order given, on the decoded image; the network's size comes afterwards."""

    type: Literal["albumentations"] = "albumentations"
    transforms: tuple[str | dict[str, Any], ...] = Field(
        description="each NAME or NAME: {its arguments}; a size that is needed and not given is the network's, see "
        "docs/augmentation.md"
    )

    @field_validator("transforms", mode="wrap")
    @classmethod
    def _usable(cls, written: object, handler: ValidatorFunctionWrapHandler) -> object:
        """Each flaw at its own place in the file."""
        found: list[InitErrorDetails] = [
            {"type": PydanticCustomError("transform", "{text}", {"text": message}), "loc": loc, "input": None}
            for loc, message in (flaws(written) if isinstance(written, list | tuple) else ())
        ]
        if found:
            raise ValidationError.from_exception_data("transforms", found)
        return handler(written)

    def build(self, preprocess: Preprocess) -> Augmenter:
        """Raises ConfigError when they cannot be done to an image of the network's size."""
        whole = Whole(self.transforms, preprocess.size)
        whole.rehearse()
        return Augmenter(whole=whole)


class Whole(Composed):
    """What the user wrote, whose failures are the user's to mend."""

    def rehearse(self) -> None:
        """Try the transforms on images as small as they come. Raises ConfigError."""
        image = np.random.default_rng(0).integers(0, 256, (self.side, self.side, 3), np.uint8)
        for seed in range(3):
            self.seed(seed)
            data = {"image": image}
            for each, written in zip(self.transforms, self.written, strict=True):
                try:
                    data = each(**data, force_apply=True)
                except Exception as error:
                    name = written if isinstance(written, str) else next(iter(written))
                    raise ConfigError(f"augment.transforms: {name} fails on {_told(data['image'], error)}") from error

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """(H, W, 3) uint8 of any size. Raises DataError when a transform cannot take an image of this size."""
        try:
            return super().__call__(pixels, seed)
        except Exception as error:
            raise DataError(f"augment.transforms: they fail on {_told(pixels, error)}. {SMALL}") from error


def _told(pixels: Pixels, error: Exception) -> str:
    height, width, *_ = pixels.shape
    return f"an image of {width} × {height} pixels: {(str(error).splitlines() or [type(error).__name__])[0]}"
