"""Images of requests: checked against the limits by their header, then decoded to the network's pixels."""

import io

from eml.images.decode import ImageError, decode_rgb
from eml.images.identify import identify, quiet_pillow
from eml.images.preprocess import Pixels, Preprocess
from eml.serving.answers import ServedImage
from eml.serving.limits import ServingLimits


def decode_served(image: ServedImage, preprocess: Preprocess, limits: ServingLimits) -> Pixels:
    """Return the pixels (H, W, 3) of an image that a client sent, as `Model.embed` has them of its bytes.

    Raises:
        ImageError: It is no usable image, or beyond a limit.
    """
    if not image.data:
        raise ImageError(image.name, "empty", "0 bytes")
    if len(image.data) > limits.image_bytes:
        text = f"{len(image.data):,} bytes; at most {limits.image_bytes:,} are taken"
        raise ImageError(image.name, "too_large", text)
    with quiet_pillow:
        header = identify(io.BytesIO(image.data), image.name)
    if header.width * header.height > limits.pixels:
        text = f"{header.width:,} × {header.height:,} pixels; at most {limits.pixels:,} are taken"
        raise ImageError(image.name, "too_large", text)
    at_least, background = preprocess.at_least, preprocess.background
    return preprocess(decode_rgb(image.data, image.name, at_least=at_least, background=background))
