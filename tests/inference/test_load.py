"""Models by name: a checkpoint or timm:NAME, and what does not apply to which."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eml
from eml.errors import CheckpointError, ConfigError, EmlError
from eml.images.loading import normalise
from eml.images.preprocess import Preprocess
from eml.inference.ensemble import save_model
from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.linear import Linear

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def test_a_timm_model_loads_by_name_with_the_same_random_weights_each_time() -> None:
    torch.manual_seed(1)
    first = eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")
    drawn = torch.rand(1)
    second = eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")
    np.testing.assert_array_equal(first.embed(PIXELS), second.embed(PIXELS))
    assert first.preprocess.size == 32
    assert first.folder is None
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn), "loading leaves the random numbers of the caller alone"


def test_a_timm_model_takes_weights_from_a_file(tmp_path: Path) -> None:
    first = eml.load("timm:test_resnet", weights="none", device="cpu")
    for module in first.embedder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.bias)
    torch.save(first.embedder.backbone.state_dict(), tmp_path / "weights.pth")
    again = eml.load("timm:test_resnet", weights=tmp_path / "weights.pth", device="cpu")
    np.testing.assert_array_equal(again.embed(PIXELS), first.embed(PIXELS))
    with pytest.raises(CheckpointError, match="is neither a file nor a folder"):
        eml.load("timm:test_resnet", weights=tmp_path / "gone.pth")


def test_errors_of_a_timm_model_name_the_arguments_and_no_key_of_a_config(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# no weights")
    for options, message, parameter in (
        (
            {"weights": tmp_path / "notes.md"},
            r"`weights`: .*notes\.md does not fit test_vit: it is no \.pth of",
            "weights",
        ),
        ({}, r"`weights`: the pretrained weights .*give a file \(`weights` FILE\) or take random ones", "weights"),
        ({"weights": "none", "image_size": 8}, r"test_vit takes .* got 8; the nearest is 16", "image_size"),
    ):
        with pytest.raises(EmlError, match=message) as caught:
            eml.load("timm:test_vit", **options)
        assert caught.value.parameter == parameter
        assert "model." not in str(caught.value)
        assert "arbitrary code" not in str(caught.value)


def test_a_file_that_lacks_tensors_does_not_fit(tmp_path: Path) -> None:
    tensors = eml.load("timm:test_resnet", weights="none", device="cpu").embedder.backbone.state_dict()
    del tensors["conv1.0.weight"]
    torch.save(tensors, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"1 of its tensors are missing in the file, first 'conv1\.0\.weight'"):
        eml.load("timm:test_resnet", weights=tmp_path / "weights.pth")
    model = eml.load("timm:test_resnet", weights="none", device="cpu")
    assert not any(module._load_state_dict_post_hooks for module in model.embedder.modules())


def test_the_models_say_what_they_are(tmp_path: Path) -> None:
    config = ModelConfig(backbone="test_resnet", weights="none", neck=Linear(size=16))
    save_checkpoint(tmp_path / "made", build_embedder(config), config, Preprocess(size=32), ["a"], {})
    model = eml.load(tmp_path / "made", device="cpu")
    assert repr(model) == f"<Model test_resnet: 32×32 pixels to 16 numbers, on cpu, from {tmp_path}/made>"
    model = eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")
    assert repr(model) == f"<Model test_resnet: 32×32 pixels to {model.size} numbers, on cpu, from timm:test_resnet>"
    with pytest.raises(ConfigError, match="a checkpoint has its own") as caught:
        eml.load(tmp_path / "made", weights="none")
    assert (caught.value.code, caught.value.parameter) == ("conflicting-settings", "weights")


def saved(folder: Path, backbone: str) -> Path:
    config = ModelConfig(backbone=backbone, weights="none", neck=Linear(size=16))
    save_checkpoint(folder, build_embedder(config, 32), config, Preprocess(size=32), ["a"], {})
    return folder


def test_a_checkpoint_embeds_larger_images_than_it_was_trained_on(tmp_path: Path) -> None:
    for backbone in ("test_resnet", "test_vit"):
        plain = eml.load(saved(tmp_path / backbone, backbone), device="cpu")
        larger = eml.load(tmp_path / backbone, image_size=64, device="cpu")
        assert (plain.preprocess.size, larger.preprocess.size) == (32, 64)
        pixels = torch.from_numpy(larger.preprocess(Image.fromarray(PIXELS)).copy()).permute(2, 0, 1)[None]
        expected = larger.embedder(normalise(pixels, larger.preprocess))
        np.testing.assert_allclose(
            larger.embed(PIXELS), torch.nn.functional.normalize(expected).detach().numpy(), atol=1e-6
        )
        assert larger.fingerprint.digest != plain.fingerprint.digest
        assert "preprocess.size 64, not 32" in larger.fingerprint.difference_from(plain.fingerprint)
        own = eml.load(tmp_path / backbone, image_size=32, device="cpu")
        assert own.fingerprint.digest == plain.fingerprint.digest
    grid = larger.embedder.backbone.pos_embed  # 4 × 4 patches for 2 × 2 in training
    assert grid.shape[1] - plain.embedder.backbone.pos_embed.shape[1] == 12


def test_a_size_that_a_network_does_not_take_is_refused_with_the_nearest(tmp_path: Path) -> None:
    saved(tmp_path / "made", "test_vit")
    rule = "test_vit takes sides that are multiples of 16 pixels, got 60; the nearest are 48 and 64"
    for name in (tmp_path / "made", "timm:test_vit"):
        with pytest.raises(ConfigError, match=rf"`image_size`: .*{rule}$") as caught:
            eml.load(name, image_size=60, **{"weights": "none"} if name == "timm:test_vit" else {})
        assert (caught.value.code, caught.value.parameter) == ("unsupported-by-backbone", "image_size")


def test_several_models_as_one_take_a_size_and_crops(tmp_path: Path) -> None:
    runs = [saved(tmp_path / name, "test_resnet") for name in ("first", "second")]
    both = eml.load(runs, image_size=64, tta="crops", device="cpu")
    assert (both.preprocess.size, both.tta) == (64, "crops")
    save_model(tmp_path / "both", both)
    assert eml.load(tmp_path / "both", image_size=64, device="cpu").preprocess.size == 64
    with pytest.raises(ConfigError, match="is an ensemble, whose networks have sizes of their own"):
        eml.load(tmp_path / "both", image_size=32)


def test_unknown_timm_models_are_named() -> None:
    with pytest.raises(ConfigError, match=r"timm:test_resnett: timm .* has no model .* \(did you mean 'test_resnet'"):
        eml.load("timm:test_resnett")
    with pytest.raises(ConfigError, match="timm: names no model"):
        eml.load("timm:")
