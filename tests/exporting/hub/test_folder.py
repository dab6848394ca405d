"""A hub folder: what is in it, and that eml and timm embed alike. docs/hub.md, run, has the other libraries."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from torch.nn.functional import normalize

import eml
from eml.errors import ConfigError
from eml.exporting.hub.candidate import TimmReading
from eml.exporting.hub.folder import write_hub_folder
from eml.images.loading import normalise
from eml.inference.ensemble import join_models
from eml.inference.model import Model
from eml.models.trained_on import TrainedOn
from tests.exporting.small_models import noise, small_compression, small_model

CLOSE = {"rtol": 0, "atol": 1e-5}
LINEAR = {"type": "linear", "size": 8}


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model with a linear neck, and its folder."""
    folder = tmp_path_factory.mktemp("hub") / "linear"
    model = small_model(neck=LINEAR)
    write_hub_folder(model, folder)
    return model, folder


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_folder_holds_what_each_library_looks_for(linear: tuple[Model, Path]) -> None:
    _, folder = linear
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert files == {
        *("config.json", "model.safetensors"),
        *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
        *("1_Dense/config.json", "1_Dense/model.safetensors", "2_Normalize/config.json"),
        *("eml/config.json", "eml/model.safetensors", "eml/labels.json", "eml/metrics.json", "eml/trained_images.bin"),
        "eml/hub.json",
    }
    assert set(read(folder / "eml/hub.json")["files"]) == files - {"eml/hub.json"}
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        assert tensors.metadata() == {"format": "pt"}, "transformers reads no file without it"
        assert not any(name.startswith("backbone.") for name in tensors.keys())  # noqa: SIM118
    with safe_open(folder / "eml/model.safetensors", "pt") as tensors:
        assert all(name.startswith("neck.") for name in tensors.keys())  # noqa: SIM118


def test_the_traps_of_the_libraries_are_avoided(linear: tuple[Model, Path]) -> None:
    _, folder = linear
    assert "num_classes" not in read(folder / "config.json")["model_args"]  # transformers 5 would pass it twice
    module = read(folder / "sentence_bert_config.json")
    assert module["modality_config"]["image"]["method_output_name"] == "pooler_output"  # and not tokens
    assert module["module_output_name"] == "sentence_embedding"
    assert read(folder / "1_Dense/config.json")["activation_function"] == "torch.nn.modules.linear.Identity"


def test_eml_loads_the_same_model_to_the_bit(linear: tuple[Model, Path]) -> None:
    model, folder = linear
    loaded = eml.load(folder)
    assert loaded.fingerprint.digest == model.fingerprint.digest
    assert torch.equal(loaded.embed_pixels(noise(model)), model.embed_pixels(noise(model)))
    assert loaded.trained_on is not None
    assert not loaded.trained_on.by_eml


def test_timm_gives_the_embedding_itself_by_its_classifier(linear: tuple[Model, Path]) -> None:
    model, folder = linear
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = normalise(noise(model), model.preprocess)
    with torch.no_grad():
        embeddings = normalize(network(images))
    torch.testing.assert_close(embeddings, model.embed_pixels(noise(model)), **CLOSE)


@pytest.mark.parametrize(
    ("name", "size", "neck"),
    [
        ("test_vit", 96, {"type": "mlp", "size": 8, "hidden": 16}),
        ("test_efficientnet", 64, "bnneck"),
        ("test_convnext", 64, "identity"),
    ],
)
def test_timms_network_and_the_layers_give_the_embedding(tmp_path: Path, name: str, size: int, neck: Any) -> None:
    model = small_model(name, neck, size)
    write_hub_folder(model, tmp_path / "m")
    pixels = noise(model)
    torch.testing.assert_close(
        TimmReading.of_folder(tmp_path / "m").embed_pixels(pixels), model.embed_pixels(pixels), **CLOSE
    )
    assert torch.equal(eml.load(tmp_path / "m").embed_pixels(pixels), model.embed_pixels(pixels))


@pytest.mark.wide
def test_what_the_libraries_leave_out_is_said_and_eml_still_does_it(tmp_path: Path) -> None:
    compression = small_compression(8, "int8")
    model = small_model(neck=LINEAR, tta="flip", compression=compression)
    facts = write_hub_folder(model, tmp_path / "m")
    assert [sentence.split(" (")[0] for sentence in facts.left_out] == [
        "eml embeds the mean of an image and its mirror",
        "eml rounds embeddings to int8",
    ]
    loaded, pixels = eml.load(tmp_path / "m"), noise(model)
    assert loaded.tta == "flip"
    assert torch.equal(loaded.embed_pixels(pixels), model.embed_pixels(pixels))
    plain = small_model(neck=LINEAR, compression=small_compression(8))
    torch.testing.assert_close(
        TimmReading.of_folder(tmp_path / "m").embed_pixels(pixels), plain.embed_pixels(pixels), **CLOSE
    )


def test_a_changed_weight_of_either_file_is_another_digest(tmp_path: Path) -> None:
    from eml.models.hub_folder import checkpoint_digest

    write_hub_folder(small_model(neck=LINEAR), tmp_path / "m")
    digests = [checkpoint_digest(tmp_path / "m/eml")]
    for file in ("model.safetensors", "eml/model.safetensors"):
        content = bytearray((tmp_path / "m" / file).read_bytes())
        content[-1] ^= 1
        (tmp_path / "m" / file).write_bytes(content)
        digests.append(checkpoint_digest(tmp_path / "m/eml"))
    assert len(set(digests)) == 3


def test_no_path_of_this_computer_is_in_the_folder(tmp_path: Path) -> None:
    import numpy as np

    record = TrainedOn(frozenset({"a", "b"}), np.arange(2, dtype=np.uint64), ("/home/somebody/runs/start",))
    model = small_model(neck=LINEAR, source="/home/somebody/runs/x")
    model._trained_on = record
    write_hub_folder(model, tmp_path / "m")
    assert not any(b"somebody" in file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file())
    assert eml.load(tmp_path / "m").trained_on.unrecorded == ("start",)


@pytest.mark.wide
@pytest.mark.xdist_group("clip")
def test_both_towers_are_kept_for_eml(tiny_clip: Path, tmp_path: Path) -> None:
    model = eml.load(f"open_clip:local-dir:{tiny_clip}")
    facts = write_hub_folder(model, tmp_path / "m")
    assert any("image tower alone" in sentence for sentence in facts.left_out)
    loaded, pixels = eml.load(tmp_path / "m"), noise(model)
    assert torch.equal(loaded.embed_pixels(pixels), model.embed_pixels(pixels))
    assert (loaded.embed_text(["a dog"]) == model.embed_text(["a dog"])).all()


def test_an_ensemble_is_refused(tmp_path: Path) -> None:
    joined = join_models([small_model(), small_model()])
    with pytest.raises(ConfigError, match="holds one network") as caught:
        write_hub_folder(joined, tmp_path / "m")
    assert (caught.value.code, caught.value.parameter) == ("not-for-this-format", "format")
    assert not (tmp_path / "m").exists()
