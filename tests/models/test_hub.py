"""Pretrained weights without a network, from the cache or not at all; what is loaded from a folder asks nobody."""

import socket
import time
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

import eml
from eml.errors import CheckpointError
from eml.images.preprocess import Preprocess
from eml.models import hub
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder

PRETRAINED = ModelConfig.model_validate({"backbone": "test_resnet", "neck": {"type": "identity"}})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Every try to reach another machine, all of which fail; an empty cache."""
    tried: list[object] = []

    def refused(*arguments: object, **more: object) -> None:
        tried.append(arguments)
        raise OSError(101, "Network is unreachable")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tried


def test_without_a_network_one_message_says_so_at_once(
    calls: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError) as caught:
        build_embedder(PRETRAINED)
    assert caught.value.problems == [
        f"model.weights: the pretrained weights of test_resnet are not in the cache, {tmp_path / 'cache'}, and "
        "huggingface.co cannot be reached (Network is unreachable). Copy the cache of a machine that has them (HF_HOME "
        "says where it is), give a file (model.weights: FILE) or train from scratch (model.weights: none)"
    ]
    assert caught.value.code == "weights-unavailable"
    assert len(calls) == 1
    assert capsys.readouterr() == ("", "")


def test_a_network_that_does_not_answer_is_not_waited_for(calls: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*arguments: object, **more: object) -> None:
        time.sleep(1)
        raise OSError

    monkeypatch.setattr(hub, "PATIENCE", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", silent)
    with pytest.raises(CheckpointError, match=r"huggingface\.co cannot be reached \(no answer in 0\.1 s\)"):
        build_embedder(PRETRAINED)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="and HF_HUB_OFFLINE is set"):
        build_embedder(PRETRAINED)


def test_weights_in_the_cache_and_checkpoints_ask_nobody(calls: list[object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet")
    identifier, version = timm.get_pretrained_cfg("test_resnet").hf_hub_id, "0" * 40
    stored = tmp_path / "cache" / f"models--{identifier.replace('/', '--')}"
    (stored / "snapshots" / version).mkdir(parents=True)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(version)
    save_file(network.state_dict(), stored / "snapshots" / version / "model.safetensors")
    embedder = build_embedder(PRETRAINED)
    assert torch.equal(next(embedder.parameters()), next(network.parameters()))
    assert constants.HF_HUB_OFFLINE is False
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, embedder, PRETRAINED, Preprocess(size=32), ["a", "b"], {})
    (tmp_path / "cache").rename(tmp_path / "gone")
    load_checkpoint(folder)
    eml.load(folder, device="cpu")
    build_embedder(PRETRAINED.model_copy(update={"weights": folder}))
    assert calls == []
