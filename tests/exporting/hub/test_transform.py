"""A preprocessing as timm's own transform: to the bit where Pillow resizes, within rounding where torch does."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from eml.exporting.hub.transform import timm_settings, transform_differences
from eml.images.loading import normalise
from eml.images.preprocess import Preprocess

SIZES = [(90, 60), (60, 91), (64, 64), (30, 41)]  # (width, height)


def photo(width: int, height: int) -> Image.Image:
    """Return an image with smooth and sharp places."""
    across, down = np.meshgrid(np.linspace(0, 5, width), np.linspace(0, 4, height))
    pixels = np.stack([np.sin(across * down), np.cos(across), np.sign(np.sin(2 * down + across))], -1)
    return Image.fromarray((127.5 + 127 * pixels).astype(np.uint8))


def both(preprocess: Preprocess, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pixels (3, H, W) of eml and of timm, on a scale of 255."""
    settings = timm.data.resolve_data_config(pretrained_cfg=timm_settings(preprocess))
    image = photo(*size)
    theirs = timm.data.create_transform(**settings, is_training=False)(image)
    own = torch.from_numpy(preprocess(image).copy()).permute(2, 0, 1)[None]
    deviation = 255 * torch.tensor(preprocess.std).view(3, 1, 1)
    return normalise(own, preprocess)[0] * deviation, theirs * deviation


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [48, (40, 56)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_squash_by_pillow_is_timms_to_the_bit(size: tuple[int, int], shape: int, interpolation: str) -> None:
    preprocess = Preprocess.model_validate({"size": shape, "interpolation": interpolation, "resize": "pillow"})
    own, theirs = both(preprocess, size)
    torch.testing.assert_close(own, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_squash_by_torch_differs_by_rounding_alone(size: tuple[int, int]) -> None:
    own, theirs = both(Preprocess(size=48), size)
    assert (own - theirs).abs().mean() < 0.3
    assert transform_differences(Preprocess(size=48))[0].startswith("eml resizes with torch")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_crop_and_pad_show_the_same_part_within_half_a_pixel(size: tuple[int, int], fit: str) -> None:
    preprocess = Preprocess.model_validate({"size": 48, "fit": fit, "resize": "pillow"})
    own, theirs = both(preprocess, size)
    shifted = own.roll(2, dims=2)
    assert (own - theirs).abs().mean() < 0.3 * (own - shifted).abs().mean()


def test_borders_of_another_mean_are_named() -> None:
    usual, own = (Preprocess(size=48, fit="pad", mean=mean) for mean in ((0.485, 0.456, 0.406), (0.5, 0.5, 0.5)))
    assert not any("Borders" in sentence for sentence in transform_differences(usual))
    assert any("Borders" in sentence for sentence in transform_differences(own))
