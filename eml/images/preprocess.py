"""From a decoded picture to the network's input size, the same way in training, evaluation and use."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from eml.config import Strict

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Preprocess(Strict):
    """How a picture becomes a square of `size` pixels; saved in every checkpoint."""

    size: int = Field(ge=8, le=4096, description="side of the square that the network sees (pixels)")
    fit: Literal["squash", "crop", "pad"] = Field(
        "squash",
        description="squash: both sides resized, aspect ratio lost, nothing cut off; "
        "crop: short side resized, middle kept; pad: long side resized, grey borders",
    )
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = Field("bicubic", description="antialiased resampling")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="subtracted, RGB in [0, 1]")
    std: tuple[float, float, float] = Field((0.229, 0.224, 0.225), description="divided by, RGB in [0, 1]")

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """(size, size, 3) uint8; normalisation happens later, on the device."""
        resample, side = _FILTERS[self.interpolation], self.size
        width, height = picture.size
        match self.fit:
            case "squash":
                picture = picture.resize((side, side), resample)
            case "crop":
                cut = min(width, height)
                left, top = (width - cut) // 2, (height - cut) // 2
                picture = picture.resize((side, side), resample, box=(left, top, left + cut, top + cut))
            case "pad":
                scale = side / max(width, height)
                small = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), resample)
                picture = Image.new("RGB", (side, side), (124, 116, 104))  # the ImageNet mean
                picture.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
        return np.asarray(picture)
