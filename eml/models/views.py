"""The views of an image whose embeddings are averaged."""

from torch import Tensor
from torch.nn import functional

from eml.models.config import Tta

SHARE = 7 / 8
"""The side of a crop, as a share of the image's."""


def views_of(images: Tensor, tta: Tta) -> list[Tensor]:
    """Return the views of images (B, 3, H, W), each as large as they are.

    none: the images. flip: the images and their mirrors. crops: their four corners and their middle, of 7/8 of
    the side, enlarged to the side again, so that a network of one size takes them too.
    """
    if tta == "none":
        return [images]
    if tta == "flip":
        return [images, images.flip(3)]
    height, width = images.shape[2:]
    crop = round(SHARE * height), round(SHARE * width)
    bottom, right = height - crop[0], width - crop[1]
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    parts = [images[:, :, top : top + crop[0], left : left + crop[1]] for top, left in corners]
    return [functional.interpolate(part, (height, width), mode="bilinear", align_corners=False) for part in parts]
