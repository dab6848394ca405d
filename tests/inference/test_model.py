"""A loaded model: precision, test-time augmentation, and the calibration that belongs to both."""

import numpy as np
import pytest
import torch

import eml
from eml.errors import ConfigError
from eml.images.loading import normalise
from eml.inference.model import Model


def load(**options: str) -> Model:
    """Load a small network whose embeddings differ visibly from those of a mirror and of another precision."""
    return eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_flip_is_the_mean_of_the_image_and_its_mirror(pixels: torch.Tensor) -> None:
    plain, flip = load(), load(tta="flip")
    images, mirrors = plain.embed_pixels(pixels), plain.embed_pixels(pixels.flip(3))
    expected = torch.nn.functional.normalize((images + mirrors) / 2)
    assert not torch.allclose(images, mirrors, atol=1e-4)
    torch.testing.assert_close(flip.embed_pixels(pixels), expected)
    torch.testing.assert_close(flip.embed_pixels(pixels.flip(3)), expected)


def test_crops_are_the_mean_of_the_corners_and_the_middle(pixels: torch.Tensor) -> None:
    plain, crops = load(), load(tta="crops")
    with torch.no_grad():
        images = normalise(pixels, plain.preprocess)
        total = torch.zeros(5, plain.size)
        for top, left in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)):  # 28 of 32 pixels
            part = images[:, :, top : top + 28, left : left + 28]
            part = torch.nn.functional.interpolate(part, (32, 32), mode="bilinear")
            total += torch.nn.functional.normalize(plain.embedder(part))
    torch.testing.assert_close(crops.embed_pixels(pixels), torch.nn.functional.normalize(total))
    assert "tta crops" in repr(crops)


def test_bfloat16_rounds_the_products_and_not_the_embeddings(pixels: torch.Tensor) -> None:
    plain, low = load(), load(precision="bfloat16")
    embeddings = low.embed_pixels(pixels)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(5))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        raw = low.embedder(normalise(pixels, low.preprocess))
    torch.testing.assert_close(embeddings, torch.nn.functional.normalize(raw.float()))
    cosines = (embeddings * plain.embed_pixels(pixels)).sum(1)
    assert (cosines > 0.99).all()
    assert (cosines < 1 - 1e-6).any(), "the precision has an effect"


def test_a_cpu_takes_a_batch_in_small_parts(pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = load(), []
    expected = model.embed_pixels(pixels)
    monkeypatch.setattr("eml.inference.model.CPU_PART", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    model.embedder.register_forward_pre_hook(lambda module, images: sizes.append(len(images[0])))
    torch.testing.assert_close(model.embed_pixels(pixels), expected)
    assert sizes == [2, 2, 1]
    model.splits_batches = False
    model.embed_pixels(pixels)
    assert sizes[3:] == [5]


@pytest.mark.parametrize(("is_fast", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_the_precision_that_the_device_has_instructions_for(
    monkeypatch: pytest.MonkeyPatch, *, is_fast: bool, precision: str
) -> None:
    monkeypatch.setattr("eml.inference.load.has_bfloat16", lambda device: is_fast)
    assert load(precision="auto").precision == precision
    assert load(precision="auto").fingerprint.precision == precision


def test_a_model_says_how_it_embeds() -> None:
    model = load(precision="bfloat16", tta="flip")
    assert (model.precision, model.tta) == ("bfloat16", "flip")
    assert "on cpu, bfloat16, tta flip, from timm:test_resnet" in repr(model)
    assert "bfloat16, tta flip" in repr(model.fingerprint)
    assert repr(load().fingerprint).endswith(f"weights {model.fingerprint.weights[:8]}>")


def test_unknown_ways_are_refused_by_name() -> None:
    for options in ({"precision": "float16"}, {"tta": "hflip"}):
        (name,) = options
        with pytest.raises(
            ConfigError, match=f"`{name}` '.*' is unknown; allowed: (auto, float32, bfloat16|none, flip, crops)"
        ) as e:
            load(**options)
        assert (e.value.code, e.value.parameter) == ("unknown-choice", name)


def test_the_mode_of_the_network_does_not_matter(pixels: torch.Tensor) -> None:
    model = load()
    expected = model.embed_pixels(pixels)
    model.embedder.train()
    np.testing.assert_array_equal(model.embed_pixels(pixels), expected)
