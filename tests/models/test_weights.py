"""Initial weights from files whose names have a prefix, and from a run at another image size."""

from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from eml.errors import CheckpointError
from eml.images.preprocess import Preprocess
from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.weights import weights_without_prefix


def settings(backbone: str, **values: object) -> ModelConfig:
    return ModelConfig.model_validate({"backbone": backbone, "weights": "none", "neck": {"type": "identity"}} | values)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.backbone.", "module._orig_mod.encoder."])
def test_a_prefix_of_all_names_is_taken_away_and_told(prefix: str, tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    tensors = OrderedDict((prefix + name, tensor) for name, tensor in network.state_dict().items())
    tensors["criterion.weight"] = torch.ones(3)
    save_file(tensors, tmp_path / "w.safetensors")
    torch.save({"state_dict": tensors}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        embedder = build_embedder(settings("test_resnet", weights=tmp_path / name))
        assert embedder.notes == (
            f"model.weights: the names in {tmp_path / name} begin with {prefix}, which was taken away",
        )
        for key, tensor in network.state_dict().items():
            assert torch.equal(embedder.backbone.state_dict()[key], tensor)


def test_names_of_their_own_stay_and_a_foreign_file_is_refused(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    assert build_embedder(settings("test_resnet", weights=tmp_path / "w.safetensors")).notes == ()
    assert weights_without_prefix({"a.b": 1, "a.c": 2}, {"x"}) == ({"a.b": 1, "a.c": 2}, "")
    with pytest.raises(CheckpointError, match=r"does not fit test_vit: \d+ of its tensors are missing in the file"):
        build_embedder(settings("test_vit", weights=tmp_path / "w.safetensors"))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_with_weights_that_are_no_numbers_is_refused(name: str, tmp_path: Path) -> None:
    tensors = timm.create_model("test_resnet", num_classes=0).state_dict()
    tensors["conv1.0.weight"][0] = torch.nan
    (torch.save if name == "w.pth" else save_file)(tensors, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"1 of its tensors have .* NaN or infinite, first .*conv1.0.weight"):
        build_embedder(settings("test_resnet", weights=tmp_path / name))


@pytest.mark.parametrize(
    "backbone, sizes",
    [("test_vit", (32, 64)), pytest.param("swin_tiny_patch4_window7_224", (224, 256), marks=pytest.mark.wide)],
)
def test_a_run_at_another_image_size_gives_its_weights_resampled_as_timm_does(
    backbone: str, sizes: tuple[int, int], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = settings(backbone)
    trained = build_embedder(config, sizes[0])
    save_checkpoint(tmp_path / "run", trained, config, Preprocess(size=sizes[0]), ["a", "b"], {})
    started = build_embedder(settings(backbone, weights=tmp_path / "run"), sizes[1])
    tensors = {name: tensor.contiguous() for name, tensor in trained.backbone.state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors")
    by_timm = build_embedder(settings(backbone, weights=tmp_path / "w.safetensors"), sizes[1])
    for name, tensor in by_timm.state_dict().items():
        assert torch.equal(started.state_dict()[name], tensor), name
    with torch.no_grad():
        started.eval()(torch.zeros(1, 3, sizes[1], sizes[1]))
