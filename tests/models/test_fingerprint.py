"""The fingerprint of a model: equal where embeddings may be mixed, and nowhere else."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import eml
from eml.images.preprocess import Preprocess
from eml.inference.model import Model
from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.fingerprint import Fingerprint
from eml.models.necks.linear import Linear
from eml.models.weights_digest import fingerprint_of, weights_digest_of

CONFIG = ModelConfig(backbone="test_resnet", weights="none", neck=Linear(size=16))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fingerprint") / "made"
    save_checkpoint(folder, build_embedder(CONFIG), CONFIG, Preprocess(size=32), ["a"], {})
    return folder


def test_a_copied_and_renamed_checkpoint_has_the_same_fingerprint(checkpoint: Path, tmp_path: Path) -> None:
    expected = eml.load(checkpoint, device="cpu").fingerprint
    copy = shutil.copytree(checkpoint, tmp_path / "elsewhere" / "another name")
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"eml_version": "', '"eml_version": "9.'))
    fingerprint = eml.load(copy, device="cpu").fingerprint
    assert fingerprint == expected
    assert fingerprint.difference_from(expected) == ""
    assert len(expected.digest) == 32
    assert expected.size == 16


def test_whatever_changes_the_embeddings_changes_the_fingerprint(checkpoint: Path) -> None:
    model = eml.load(checkpoint, device="cpu")
    other = eml.load(checkpoint, device="cpu")
    with torch.no_grad():
        next(other.embedder.parameters()).mul_(1.001)
    preprocess = Preprocess(size=32, fit="crop")
    changed = {
        "other weights": other,
        "preprocess.fit crop, not squash": Model(model.embedder, preprocess, CPU, backbone="test_resnet"),
        "precision bfloat16, not float32": eml.load(checkpoint, device="cpu", precision="bfloat16"),
        "tta flip, not none": eml.load(checkpoint, device="cpu", tta="flip"),
    }
    for words, another in changed.items():
        assert another.fingerprint.difference_from(model.fingerprint) == words
    assert len({another.fingerprint.digest for another in [model, *changed.values()]}) == 5


@pytest.mark.parametrize("change", [{"architecture": {"pooling": "max"}}, {"after": "pca"}, {"size": 2}])
def test_the_architecture_and_what_comes_after_the_network_belong_to_it(change: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"architecture": {"pooling": "avg"}, "preprocess": Preprocess(size=32), "size": 3}
    network = nn.Linear(2, 3)
    plain = fingerprint_of(network, backbone="b", **facts)
    other = fingerprint_of(network, backbone="b", **facts | change)
    assert other.digest != plain.digest
    assert other.difference_from(plain)


def test_the_digest_of_weights_ignores_their_memory_format_and_order() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    digest = weights_digest_of(network)
    assert weights_digest_of(network.to(memory_format=torch.channels_last)) == digest
    assert weights_digest_of(network.double()) != digest, "the type belongs to the values"


def test_the_digests_of_earlier_versions_stay() -> None:
    """Stored indexes are compared by these: a field that is added is left out while it has the value of before."""
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0]]))
        network.bias.fill_(0.5)
    architecture = CONFIG.model_dump(mode="json", include={"backbone", "pooling", "neck"})
    before = Preprocess(size=32, resize="pillow")
    fingerprint = fingerprint_of(network, architecture, before, backbone="test_resnet", size=1)
    stored = fingerprint.model_dump(mode="json")
    del stored["preprocess"]["resize"]
    assert Fingerprint.model_validate(stored) == fingerprint
    by_torch = fingerprint_of(network, architecture, Preprocess(size=32), backbone="test_resnet", size=1)
    assert by_torch.difference_from(fingerprint) == "preprocess.resize torch, not pillow"
    assert build_embedder(CONFIG).architecture == architecture
    assert fingerprint.weights == "735827047aa3b6cb246472f45c8888e5"
    assert fingerprint.digest == "e486885ce27cdbc93f80a88aefa754ed"
