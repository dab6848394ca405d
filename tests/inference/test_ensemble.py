"""Several checkpoints load as one model, and one folder of them embeds alike."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import eml
from eml.errors import CheckpointError, ConfigError
from eml.images.preprocess import Preprocess
from eml.inference.ensemble import save_model
from eml.inference.model import Model
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from eml.models.compression import Compression, CompressionFacts
from eml.models.config import Inference, ModelConfig
from eml.models.embedder import build_embedder
from eml.models.trained_on import trained_on

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
SIDE = 32


def checkpoint(folder: Path, seed: int, keys: list[int], *, tta: str = "none", **values: object) -> Path:
    config = ModelConfig.model_validate({"backbone": "test_resnet", "weights": "none", "neck": "bnneck"} | values)
    torch.manual_seed(seed)
    record = trained_on(["a", f"class {seed}"], np.array(keys, np.uint64))
    save_checkpoint(
        folder,
        build_embedder(config, SIDE),
        config,
        Preprocess(size=SIDE),
        sorted(record.classes),
        {},
        trained_on=record,
        unknown_label="new",
        inference=Inference(tta=tta),  # type: ignore[arg-type]
    )
    return folder


@pytest.fixture
def members(tmp_path: Path) -> list[Path]:
    other = {"backbone": "test_efficientnet", "neck": {"type": "linear", "size": 6}}
    return [checkpoint(tmp_path / "0", 0, [5, 7]), checkpoint(tmp_path / "1", 1, [7, 9], **other)]


def test_a_saved_ensemble_is_one_checkpoint_that_embeds_as_its_members_loaded_together(
    members: list[Path], tmp_path: Path
) -> None:
    together = eml.load(members, device="cpu")
    embeddings = together.embed(PIXELS)
    single = [eml.load(folder, device="cpu").embed(PIXELS) for folder in members]
    np.testing.assert_allclose(embeddings @ embeddings.T, sum(rows @ rows.T for rows in single) / 2, atol=1e-5)
    assert together.source == f"{members[0]} + {members[1]}"
    assert together.backbone == "test_resnet + test_efficientnet"
    save_model(tmp_path / "one", together, unknown_label="new")
    for folder in members:
        shutil.rmtree(folder)
    again = eml.load(shutil.move(tmp_path / "one", tmp_path / "moved"), device="cpu")
    np.testing.assert_array_equal(again.embed(PIXELS), embeddings)
    assert again.fingerprint.digest == together.fingerprint.digest
    record = again.trained_on
    assert record is not None
    assert (record.classes, record.images.tolist()) == ({"a", "class 0", "class 1"}, [5, 7, 9])  # type: ignore[union-attr]
    stored = load_checkpoint(tmp_path / "moved")
    assert (stored.labels, stored.config.unknown_label) == (["a", "class 0", "class 1"], "new")
    assert stored.config.format == 5, "an eml that knows no members refuses it"
    assert again.backbone == together.backbone


def test_a_damaged_ensemble_is_an_error_that_says_so(members: list[Path], tmp_path: Path) -> None:
    save_model(tmp_path / "one", eml.load(members, device="cpu"))
    file = tmp_path / "one" / "config.json"
    config = json.loads(file.read_text())
    for change in ({"members": config["members"][:1]}, {"members": config["members"][::-1]}, {"embedding_size": 7}):
        file.write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError) as caught:
            eml.load(tmp_path / "one", device="cpu")
        assert caught.value.code == "damaged-file"


def test_an_ensemble_embeds_with_the_mirror_where_a_member_does_and_can_be_compressed(
    members: list[Path], tmp_path: Path
) -> None:
    flipping = checkpoint(tmp_path / "2", 2, [11], tta="flip")
    model = eml.load([members[0], flipping], device="cpu")
    assert model.tta == "flip"
    assert model.backbone == "2 × test_resnet"
    assert eml.load([members[0], flipping], device="cpu", tta="none").tta == "none"
    facts = CompressionFacts(name="x", projection="truncation", storage="float16", network_size=model.size, size=9)
    save_model(tmp_path / "one", model, compression=Compression(facts))
    small = eml.load(tmp_path / "one", device="cpu")
    assert (small.size, small.tta) == (9, "flip")
    np.testing.assert_array_equal(
        small.embed(PIXELS),
        Model(model.embedder, model.preprocess, model.device, tta="flip", compression=Compression(facts)).embed(PIXELS),
    )
    with pytest.raises(ConfigError, match="one: is compressed; give the checkpoint that it was made from"):
        eml.load([tmp_path / "one", members[0]], device="cpu")


def test_a_cross_validation_is_the_model_of_its_folds(members: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cv"
    for fold, member in enumerate(members):
        run = folder / f"fold-{fold}"
        shutil.copytree(member, run / "checkpoints" / "epoch-001")
        (run / "checkpoints" / "best").write_text("epoch-001\n")
        (run / "run.json").write_text("{}")
    (folder / "folds.json").write_text("{}")
    model = eml.load(folder, device="cpu")
    assert model.fingerprint.digest == eml.load(members, device="cpu").fingerprint.digest
    assert model.source == str(folder)
    with pytest.raises(CheckpointError, match=r"is a cross-validation, several networks: name one of its runs"):
        load_checkpoint(folder)


def test_training_does_not_start_from_an_ensemble(members: list[Path], tmp_path: Path) -> None:
    save_model(tmp_path / "one", eml.load(members, device="cpu"))
    config = {"backbone": "test_resnet", "weights": tmp_path / "one"}
    with pytest.raises(CheckpointError, match="is an ensemble of 2 networks, and training starts from one"):
        build_embedder(ModelConfig.model_validate(config), SIDE)
