"""Crop, flip and gentle colour changes."""

from typing import Any, Literal

from pydantic import Field

from eml.images.albumentations import composed
from eml.images.augment.base import Augment, Augmenter
from eml.images.crop import Crop
from eml.images.preprocess import Preprocess


class Standard(Augment):
    """Crop, flip, small rotation and colour changes: what most photographs bear. Set a field to 0 to leave one out."""

    type: Literal["standard"] = "standard"
    crop: float = Field(0.3, ge=0, lt=1, description="largest share of the area that a random crop may cut off")
    aspect: float = Field(1.2, ge=1, le=3, description="largest change of the crop's aspect ratio (factor)")
    flip: float = Field(0.5, ge=0, le=1, description="chance of a left-right flip; 0 for text and signs")
    rotate: float = Field(0, ge=0, le=180, description="largest rotation", json_schema_extra={"unit": "degrees"})
    shift: float = Field(0, ge=0, le=0.5, description="largest shift (share of the side)")
    zoom: float = Field(0, ge=0, le=0.5, description="largest change of size (share)")
    brightness: float = Field(0.2, ge=0, le=1, description="largest change of brightness and contrast (share)")
    saturation: float = Field(0.2, ge=0, le=1, description="largest change of saturation (share)")
    hue: float = Field(0, ge=0, le=0.5, description="largest change of hue (share of the circle)")
    erase: float = Field(0, ge=0, le=1, description="chance that a rectangle is blotted out")

    def build(self, preprocess: Preprocess) -> Augmenter:
        """The steps whose fields are not 0, in a fixed order."""
        steps: list[tuple[str, dict[str, Any]]] = []
        if self.rotate or self.shift or self.zoom:
            move = {"scale": (1 - self.zoom, 1 + self.zoom), "translate_percent": (-self.shift, self.shift)}
            steps.append(("Affine", {**move, "rotate": (-self.rotate, self.rotate), "border_mode": 1, "p": 1}))
        if self.brightness or self.saturation or self.hue:
            change = {"brightness": self.brightness, "contrast": self.brightness}
            steps.append(("ColorJitter", {**change, "saturation": self.saturation, "hue": self.hue, "p": 0.8}))
        if self.erase:
            patch = {"hole_height_range": (0.1, 0.4), "hole_width_range": (0.1, 0.4)}
            steps.append(
                ("CoarseDropout", {"num_holes_range": (1, 1), **patch, "fill": "random_uniform", "p": self.erase})
            )
        crop = Crop(self.crop, self.aspect) if self.crop else None
        return Augmenter(crop=crop, flip=self.flip, change=composed(steps) if steps else None)
