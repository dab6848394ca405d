"""Models of timm in folders."""

import json
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

from eml.errors import CheckpointError, ConfigError
from eml.images.preprocess import Preprocess
from eml.inference.load import load
from eml.models.backbones import check_backbone, preprocess_of
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.identity import Identity


def write_folder(folder: Path, name: str = "test_resnet", **arguments: object) -> torch.nn.Module:
    """Write a model with a classifier as timm does, and return it."""
    torch.manual_seed(4)
    model: torch.nn.Module = timm.create_model(name, num_classes=5, **arguments)
    save_for_hf(model, folder, model_config={"pretrained_cfg": {"mean": (0.1, 0.2, 0.3)}}, safe_serialization=True)
    return model.eval()


@pytest.mark.parametrize(
    "name, arguments", [("test_resnet", {}), ("test_vit", {"img_size": 64, "class_token": False, "global_pool": "avg"})]
)
def test_a_checkpoint_of_a_folders_model_does_not_need_the_folder(
    tmp_path: Path, name: str, arguments: dict[str, object]
) -> None:
    theirs = write_folder(tmp_path / "model", name, **arguments)
    config = ModelConfig(backbone=f"local-dir:{tmp_path / 'model'}", neck=Identity())
    check_backbone(config)
    assert preprocess_of(config).mean == (0.1, 0.2, 0.3)
    embedder = build_embedder(config, 64).eval()
    assert embedder.preprocess == preprocess_of(config)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        own = embedder(images)
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-6)
        save_checkpoint(tmp_path / "checkpoint", embedder, config, Preprocess(size=64), ["a", "b"], {})
        (tmp_path / "model").rename(tmp_path / "gone")
        stored = load_checkpoint(tmp_path / "checkpoint")
        torch.testing.assert_close(stored.embedder(images), own, rtol=0, atol=0)
    assert stored.config.model.backbone == name
    assert stored.config.format == (7 if arguments else 2)
    written = (tmp_path / "checkpoint" / "config.json").read_text()
    assert ("definition" in json.loads(written)["model"]) is bool(arguments)
    assert str(tmp_path) not in written


def test_load_takes_the_name_of_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "model")
    model = load(f"timm:local-dir:{tmp_path / 'model'}", image_size=64)
    assert model.backbone == "test_resnet"
    assert model.preprocess.mean == (0.1, 0.2, 0.3)


def test_a_folder_of_something_else_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.backbone: .* has no config.json"):
        check_backbone(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"not a config\.json of timm"):
        check_backbone(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text('{"architecture": "test_resnat"}')
    with pytest.raises(ConfigError, match=r"has no model 'test_resnat' .*did you mean 'test_resnet'"):
        check_backbone(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text('{"architecture": "test_resnet"}')
    with pytest.raises(CheckpointError, match=r"model.safetensors is neither a file nor a folder"):
        build_embedder(ModelConfig(backbone=f"local-dir:{tmp_path}"))
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set"):
        build_embedder(ModelConfig(backbone="hf-hub:nobody/nothing"))


def test_a_model_in_the_cache_of_the_hub_is_loaded_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    repository = tmp_path / "models--somebody--resnet"
    theirs = write_folder(repository / "snapshots" / "0a")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0a")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = load("timm:hf-hub:somebody/resnet", image_size=64)
    own = model.embedder.backbone.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(own, theirs.state_dict()["conv1.0.weight"], rtol=0, atol=0)
    assert (model.backbone, model.preprocess.mean) == ("test_resnet", (0.1, 0.2, 0.3))
