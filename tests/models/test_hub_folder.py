"""A hub folder is taken for a checkpoint whose weights are in two files; damage is told, whatever it is."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eml.errors import CheckpointError
from eml.models.calibration import weights_digest
from eml.models.hub_folder import HubFacts, checkpoint_bytes, checkpoint_tensors, is_hub_folder, read_hub_facts
from eml.models.pointers import find_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hub folder of three tensors, without configs that hold anything."""
    (tmp_path / "eml").mkdir()
    above = {"stem": torch.zeros(1, 1, 2), "block": torch.ones(3), "head.weight": torch.ones(2, 3)}
    save_file(above, tmp_path / "model.safetensors")
    save_file({"neck.weight": torch.full((2, 3), 2.0)}, tmp_path / "eml/model.safetensors")
    facts = HubFacts(
        eml_version="0", prefix="backbone.", renamed={"backbone.first": "stem"}, shapes={"backbone.first": [2]}
    )
    own = facts.model_copy(update={"head": ["head.weight"]})
    (tmp_path / "eml/hub.json").write_text(own.model_dump_json(), encoding="utf-8")
    for place in (tmp_path, tmp_path / "eml"):
        (place / "config.json").write_text("{}", encoding="utf-8")
    return tmp_path


def test_the_checkpoint_in_it_is_found_and_has_emls_names_and_shapes(folder: Path) -> None:
    assert is_hub_folder(folder)
    assert find_checkpoint(folder) == folder / "eml"
    tensors = checkpoint_tensors(folder / "eml")
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == {
        "neck.weight": [2, 3],
        "backbone.first": [2],
        "backbone.block": [3],
    }
    files = [folder / "model.safetensors", folder / "eml/model.safetensors"]
    assert checkpoint_bytes(folder / "eml") == sum(file.stat().st_size for file in files)


def test_a_folder_whose_proof_failed_is_not_loaded_by_that_name(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    failed = folder.rename(tmp_path_factory.mktemp("out") / "products.failed")
    with pytest.raises(CheckpointError, match=r"take \.failed off its name") as caught:
        find_checkpoint(failed)
    assert caught.value.code == "failed-proof"


def test_the_digest_of_weights_is_of_both_files(folder: Path) -> None:
    before = weights_digest(folder / "eml")
    save_file({"stem": torch.ones(1, 1, 2)}, folder / "model.safetensors")
    assert weights_digest(folder / "eml") != before


@pytest.mark.parametrize(
    ("content", "code"),
    [("{", "damaged-file"), ('{"format": 1}', "damaged-file"), ('{"format": 99, "eml_version": "9"}', "newer-eml")],
)
def test_damaged_facts_are_told(folder: Path, content: str, code: str) -> None:
    (folder / "eml/hub.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"hub\.json") as caught:
        read_hub_facts(folder)
    assert caught.value.code == code


def test_a_tensor_that_is_missing_is_told(folder: Path) -> None:
    file = folder / "eml/hub.json"
    facts = json.loads(file.read_text()) | {"renamed": {"backbone.x": "nothing"}}
    file.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ValueError, match="has no tensor nothing"):
        checkpoint_tensors(folder / "eml")
