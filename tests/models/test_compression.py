"""Compressed embeddings: the formulas, the grids, the checkpoint that has them, and that every command obeys."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import eml
from eml.errors import CheckpointError
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from eml.models.compression import (
    FILE,
    Compression,
    CompressionFacts,
    binary_codes,
    int8_codes,
    projection_of,
    read_compression,
    rounded,
)
from eml.models.config import ModelConfig
from eml.models.necks.identity import Identity
from eml.retrieval.pca import fit_pca


def unit(count: int = 50, size: int = 12) -> torch.Tensor:
    rows = torch.randn(count, size, generator=torch.Generator().manual_seed(0)) + 0.3
    return torch.nn.functional.normalize(rows)


def by_pca(size: int, storage: str = "float32") -> Compression:
    facts = CompressionFacts(name="x", projection="pca", storage=storage, network_size=12, size=size)  # type: ignore[arg-type]
    return Compression(facts, *projection_of(fit_pca(unit(), size, whiten=False)))


def test_projected_embeddings_are_those_of_the_principal_components() -> None:
    expected = fit_pca(unit(), 5, whiten=False).transform(unit())
    assert by_pca(5).apply(unit()).numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    facts = CompressionFacts(name="x", projection="truncation", storage="float32", network_size=12, size=3)
    first = unit()[:, :3]
    assert Compression(facts).apply(unit()).numpy() == pytest.approx(
        (first / first.norm(dim=1, keepdim=True)).numpy(), abs=1e-6
    )


@pytest.mark.parametrize("storage", ["float32", "float16", "int8", "binary"])
def test_rounding_twice_gives_the_same_numbers(storage: str) -> None:
    once = rounded(unit(), storage)  # type: ignore[arg-type]
    assert torch.equal(rounded(once, storage), once)  # type: ignore[arg-type]
    assert once.norm(dim=1).numpy() == pytest.approx(np.ones(50), abs=5e-4)


def test_codes_have_the_direction_of_the_embeddings() -> None:
    rows = unit(4, 12)
    whole = int8_codes(rows).numpy()
    assert (np.abs(whole).max(1) == 127).all()
    assert whole == pytest.approx(rows.numpy() / np.abs(rows.numpy()).max(1, keepdims=True) * 127, abs=0.5)
    assert binary_codes(rows).tolist() == np.packbits(rows.numpy() >= 0, axis=1).tolist()
    assert by_pca(9, "binary").bytes_per_image == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of an untrained network of 512 numbers."""
    path = tmp_path_factory.mktemp("checkpoints") / "plain"
    model = eml.load("timm:test_resnet", weights="none", image_size=32)
    config = ModelConfig(backbone="test_resnet", weights="none", neck=Identity())
    save_checkpoint(path, model.embedder, config, model.preprocess, ["a", "b"], {})
    return path


def compressed(folder: Path, out: Path, storage: str = "int8") -> Path:
    """Write the checkpoint again, with its embeddings projected to 8 numbers."""
    stored = load_checkpoint(folder)
    rows = torch.randn(40, stored.embedder.size, generator=torch.Generator().manual_seed(1))
    facts = CompressionFacts(
        name=f"pca-8-{storage}",
        projection="pca",
        storage=storage,  # type: ignore[arg-type]
        network_size=stored.embedder.size,
        size=8,
    )
    compression = Compression(facts, *projection_of(fit_pca(rows, 8, whiten=False)))
    config, preprocess = stored.config.model, stored.config.preprocess
    save_checkpoint(out, stored.embedder, config, preprocess, stored.labels, {}, compression=compression)
    return out


def test_a_model_of_a_compressed_checkpoint_gives_compressed_embeddings(folder: Path, tmp_path: Path) -> None:
    plain, model = eml.load(folder), eml.load(compressed(folder, tmp_path / "small"))
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    embeddings = model.embed(list(images))
    assert model.size == 8
    assert model.compression is not None
    expected = model.compression.apply(torch.from_numpy(plain.embed(list(images))))
    assert embeddings == pytest.approx(expected.numpy(), abs=1e-6)
    assert torch.equal(rounded(torch.from_numpy(embeddings), "int8"), torch.from_numpy(embeddings))
    assert "pca-8-int8" in repr(model)


def test_the_fingerprint_tells_compressions_apart_and_the_weights_stay_the_same(folder: Path, tmp_path: Path) -> None:
    models = [folder, *(compressed(folder, tmp_path / kind, kind) for kind in ("int8", "float16"))]
    prints = [eml.load(path).fingerprint for path in models]
    assert len({mark.digest for mark in prints}) == 3
    assert len({mark.weights for mark in prints}) == 1
    again = eml.load(compressed(folder, tmp_path / "again", "int8")).fingerprint
    assert again.digest == prints[1].digest


def test_a_plain_checkpoint_is_written_as_before_and_a_compressed_one_as_a_newer_format(
    folder: Path, tmp_path: Path
) -> None:
    plain = json.loads((folder / "config.json").read_text())
    assert plain["format"] == 2
    assert "compression" not in plain
    assert json.loads((compressed(folder, tmp_path / "small") / "config.json").read_text())["format"] == 3


def test_a_compression_that_is_missing_or_of_another_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    small = compressed(folder, tmp_path / "small")
    data = bytearray((small / FILE).read_bytes())
    data[-1] ^= 1
    (small / FILE).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is not that of the config\.json beside it"):
        eml.load(small)
    (small / FILE).unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        eml.load(small)
    config = json.loads((small / "config.json").read_text())
    facts = CompressionFacts.model_validate(config["compression"])
    with pytest.raises(CheckpointError):
        read_compression(small, facts)
    config["compression"]["network_size"] = 3
    (small / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="network_size is not the size"):
        eml.load(small)
