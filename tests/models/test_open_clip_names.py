"""Names of open_clip's networks and their weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eml.errors import CheckpointError, ConfigError
from eml.models import open_clip_network
from eml.models.backbones import check_backbone, preprocess_of
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.open_clip_names import NamedNetwork
from tests.tiny_clip import CLIP, write_tiny_clip

pytestmark = pytest.mark.xdist_group("clip")
open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")


def test_a_name_is_an_architecture_and_the_tag_of_its_weights() -> None:
    assert NamedNetwork("open_clip:ViT-B-32/openai").parts == ("ViT-B-32", "openai")
    assert NamedNetwork("open_clip:ViT-B/32").parts == ("ViT-B-32", "")
    assert NamedNetwork("open_clip:ViT-B/32/openai").parts == ("ViT-B-32", "openai")
    check_backbone("open_clip:ViT-B-16-SigLIP2/webli")
    with pytest.raises(ConfigError, match=r"no network 'ViT-B-33' \(did you mean .*open_clip:ViT-B-32"):
        check_backbone("open_clip:ViT-B-33/openai")
    with pytest.raises(
        ConfigError, match=r"no weights 'opanai' of ViT-B-32 \(did you mean openai\?\); allowed: openai, laion400m"
    ):
        check_backbone("open_clip:ViT-B-32/opanai")
    with pytest.raises(ConfigError, match=r"timm .* has no model 'open-clip:ViT-B-32' \(did you mean open_clip:…\?\)"):
        check_backbone("open-clip:ViT-B-32")


def test_weights_get_the_activation_that_they_were_trained_with() -> None:
    activations = {
        "ViT-B-32/openai": True,
        "ViT-B-32/laion2b_s34b_b79k": False,
        "ViT-B-32-quickgelu/openai": True,
        "ViT-B-16/dfn2b": True,
        "ViT-B-16/laion400m_e32": False,
    }
    for name, quick in activations.items():
        assert NamedNetwork(f"open_clip:{name}").definition["model_cfg"].get("quick_gelu", False) is quick
    assert NamedNetwork("open_clip:ViT-B-32/laion2b_s34b_b79k").notes == ()
    assert NamedNetwork("open_clip:ViT-B-32/openai").notes == (
        "model.backbone: open_clip:ViT-B-32/openai is built with QuickGELU, with which its weights were trained",
    )


def test_no_pretrained_weights_are_an_error_that_lists_them() -> None:
    with pytest.raises(ConfigError, match=r"names no pretrained weights; name them: open_clip:ViT-B-32/openai \(or "):
        NamedNetwork("open_clip:ViT-B-32").weights()
    with pytest.raises(CheckpointError, match=r"are not in the cache, .* HF_HUB_OFFLINE is set"):
        NamedNetwork("open_clip:ViT-B-32/openai").weights()


def test_a_folder_without_config_or_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no open_clip_config\.json"):
        preprocess_of(f"open_clip:local-dir:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 8}}))
    with pytest.raises(ConfigError, match="model_cfg has no vision_cfg, text_cfg"):
        preprocess_of(f"open_clip:local-dir:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        preprocess_of(f"open_clip:local-dir:{tmp_path}")
    folder = write_tiny_clip(tmp_path / "tiny", config=CLIP | {"text_cfg": CLIP["text_cfg"] | {"width": 8}})
    (folder / "open_clip_model.safetensors").rename(tmp_path / "weights.safetensors")
    config = ModelConfig(backbone=f"open_clip:local-dir:{folder}")
    with pytest.raises(CheckpointError, match=r"has no weights; expected open_clip_model\.safetensors"):
        build_embedder(config, 32)
    for name in ("one.pth", "two.pth"):
        (folder / name).touch()
    with pytest.raises(CheckpointError, match=r"has several files of weights, one\.pth, two\.pth"):
        build_embedder(config, 32)
    embedder = build_embedder(config.model_copy(update={"weights": tmp_path / "weights.safetensors"}), 160)
    tensors = load_file(tmp_path / "weights.safetensors")
    own = embedder.backbone.state_dict()["visual.trunk.pos_embed"]
    torch.testing.assert_close(own, tensors["visual.trunk.pos_embed"], rtol=0, atol=0)
    del tensors["visual.trunk.pos_embed"]
    save_file(tensors, tmp_path / "part.safetensors")
    with pytest.raises(CheckpointError, match=r"cannot be loaded into .*Missing key.*pos_embed"):
        build_embedder(config.model_copy(update={"weights": tmp_path / "part.safetensors"}), 32)


def test_the_missing_package_is_an_error_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(ConfigError, match=r"pip install 'easy-metric-learning\[clip\]'") as caught:
        check_backbone("open_clip:ViT-B-32")
    assert caught.value.problems[0].code == "missing-package"
    assert open_clip_network.__doc__


def test_networks_in_the_cache_of_the_hub_are_loaded_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants
    from open_clip import factory, pretrained

    small = CLIP | {"text_cfg": CLIP["text_cfg"] | {"width": 8}}
    snapshot = write_tiny_clip(tmp_path / "hub" / "models--somebody--tiny" / "snapshots" / "0a", config=small)
    (tmp_path / "hub" / "models--somebody--tiny" / "refs").mkdir()
    (tmp_path / "hub" / "models--somebody--tiny" / "refs" / "main").write_text("0a")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", small)
    settings = pretrained._pcfg(hf_hub="somebody/tiny/", quick_gelu=True)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"own": settings})
    expected = load_file(snapshot / "open_clip_model.safetensors")["text_projection"]
    for name, own_name in {"hf-hub:somebody/tiny": "somebody/tiny", "tiny/own": "tiny/own"}.items():
        embedder = build_embedder(ModelConfig(backbone=f"open_clip:{name}"))
        assert embedder.architecture["backbone"] == f"open_clip:{own_name}"
        own = embedder.state_dict()["text.network.text_projection"]
        torch.testing.assert_close(own, expected, rtol=0, atol=0)
        activations = {type(module).__name__ for module in embedder.modules() if "GELU" in type(module).__name__}
        assert activations == {"GELU"} | ({"QuickGELU"} if name == "tiny/own" else set())
        assert bool(embedder.notes) is (name == "tiny/own")
