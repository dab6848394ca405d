"""The steps from which the presets choose: changes between the photographed object and the image file."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from eml.config import Strict
from eml.images.augment._albumentations_adapter import Composed
from eml.images.augment._augmenter import Augmenter
from eml.images.crop import Crop
from eml.images.image_size import mean_side
from eml.images.preprocess import Preprocess


def _chance(of: str) -> Any:
    return Field(ge=0, le=1, description=f"chance of {of}")


Cut = Annotated[float, Field(ge=0, lt=1, description="largest share of the area that a random crop may cut off")]
Aspect = Annotated[float, Field(ge=1, le=3, description="largest change of the crop's aspect ratio (factor)")]
Flip = Annotated[float, Field(ge=0, le=1, description="chance of a left-right flip; 0 for text and signs")]
Degrees = Annotated[float, Field(ge=0, le=180, description="largest rotation", json_schema_extra={"unit": "degrees"})]
Shift = Annotated[float, Field(ge=0, le=0.5, description="largest shift (share of the side)")]
Zoom = Annotated[float, Field(ge=0, le=0.5, description="largest change of size (share)")]
Perspective = Annotated[float, Field(ge=0, le=0.5, description="largest inward shift of a corner (share of the side)")]
Brightness = Annotated[float, Field(ge=0, le=1, description="largest change of brightness and contrast (share)")]
Saturation = Annotated[float, Field(ge=0, le=1, description="largest change of saturation (share)")]
Hue = Annotated[float, Field(ge=0, le=0.5, description="largest change of hue (share of the circle)")]
Grey = Annotated[float, _chance("a conversion to grey")]
Downscale = Annotated[float, _chance("lower resolution: reduced to 0.3 to 0.8 of its side, then enlarged")]
Blur = Annotated[float, _chance("a Gaussian blur of up to 1 % of the side (one standard deviation)")]
Noise = Annotated[float, _chance("sensor noise of 1 to 5 % of the range (one standard deviation)")]
Jpeg = Annotated[float, _chance("JPEG compression of quality 25 to 80")]
Erase = Annotated[float, _chance("a rectangle that is filled with noise")]


class PhotographicPreset(Strict):
    """The settings of a preset; a step is off at 0. The ranges keep the object recognisable.

    The steps follow the order of a camera: view, light, then the losses of sensor and file, at the network's size.
    A preset extends this class along with its family, and gives the steps that it uses another default.
    """

    crop: Cut = 0
    aspect: Aspect = 1
    flip: Flip = 0
    rotate: Degrees = 0
    shift: Shift = 0
    zoom: Zoom = 0
    perspective: Perspective = 0
    brightness: Brightness = 0
    saturation: Saturation = 0
    hue: Hue = 0
    grey: Grey = 0
    downscale: Downscale = 0
    blur: Blur = 0
    noise: Noise = 0
    jpeg: Jpeg = 0
    erase: Erase = 0

    def build(self, preprocess: Preprocess) -> Augmenter:
        """Build the steps whose settings are not 0."""
        steps = [*self._view(), *self._light(), *self._losses(mean_side(preprocess.size))]
        if self.erase:
            patch = {"hole_height_range": (0.1, 0.4), "hole_width_range": (0.1, 0.4)}
            hole = {"num_holes_range": (1, 1), **patch, "fill": "random_uniform"}
            steps.append({"CoarseDropout": hole | {"p": self.erase}})
        return Augmenter(
            crop=Crop(self.crop, self.aspect) if self.crop else None,
            flip=self.flip,
            after_resize=Composed(steps, preprocess.size) if steps else None,
        )

    def _view(self) -> Iterator[dict[str, Any]]:
        if self.rotate or self.shift or self.zoom:
            move = {"scale": (1 - self.zoom, 1 + self.zoom), "translate_percent": (-self.shift, self.shift)}
            yield {"Affine": {**move, "rotate": (-self.rotate, self.rotate), "border_mode": 1, "p": 1}}
        if self.perspective:
            yield {"Perspective": {"scale": (0, self.perspective), "border_mode": 1, "p": 1}}

    def _light(self) -> Iterator[dict[str, Any]]:
        if self.brightness or self.saturation or self.hue:
            light = {"brightness": self.brightness, "contrast": self.brightness}
            yield {"ColorJitter": {**light, "saturation": self.saturation, "hue": self.hue, "p": 0.8}}
        if self.grey:
            yield {"ToGray": {"p": self.grey}}

    def _losses(self, side: float) -> Iterator[dict[str, Any]]:
        """Yield losses whose strengths depend on the size: a blur at 64 pixels is invisible at 512.

        side: That of a square with as many pixels.
        """
        if self.downscale:
            interpolation = {"downscale": 3, "upscale": 1}  # area averages as in a lens, then bilinear as in a viewer
            yield {"Downscale": {"scale_range": (0.3, 0.8), "interpolation_pair": interpolation, "p": self.downscale}}
        if self.blur:
            yield {"GaussianBlur": {"sigma_limit": (0.3, max(0.4, 0.01 * side)), "p": self.blur}}
        if self.noise:
            yield {"GaussNoise": {"std_range": (0.01, 0.05), "p": self.noise}}
        if self.jpeg:
            yield {"ImageCompression": {"quality_range": (25, 80), "p": self.jpeg}}
