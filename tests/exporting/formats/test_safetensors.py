"""Plain weights: timm loads them by what their metadata say, in one call where one linear layer follows."""

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
from eml.exporting.formats import FormatSettings
from eml.exporting.formats.safetensors import Safetensors
from eml.images.loading import normalise
from tests.exporting.small_models import noise, small_compression, small_model

CLOSE = {"rtol": 0, "atol": 1e-5}


def test_timm_loads_the_file_in_one_call(tmp_path: Path) -> None:
    model, file = small_model("test_vit", {"type": "linear", "size": 8}, 96), tmp_path / "m.safetensors"
    Safetensors().write(model, file, FormatSettings())
    with safe_open(file, "pt") as opened:
        facts = opened.metadata()
    assert (facts["architecture"], facts["num_classes"], json.loads(facts["layers"])) == (
        "test_vit",
        "8",
        ["UnitLength"],
    )
    network = timm.create_model("test_vit", num_classes=8, img_size=96, checkpoint_path=str(file)).eval()
    with torch.no_grad():
        embeddings = normalize(network(normalise(noise(model), model.preprocess)))
    torch.testing.assert_close(embeddings, model.embed_pixels(noise(model)), **CLOSE)


@pytest.mark.parametrize("neck", [{"type": "mlp", "size": 8, "hidden": 16}, {"type": "linear", "size": 8}])
def test_several_layers_are_beside_the_network(tmp_path: Path, neck: dict[str, Any]) -> None:
    compression = small_compression(8)
    model, file = small_model(neck=neck, compression=compression), tmp_path / "m.safetensors"
    Safetensors().write(model, file, FormatSettings())
    embeddings = Safetensors().opened(file).embed_pixels(noise(model))
    torch.testing.assert_close(embeddings, model.embed_pixels(noise(model)), **CLOSE)


def test_facts_change_the_metadata_and_not_the_digest_of_the_weights(tmp_path: Path) -> None:
    model, out = small_model(neck={"type": "linear", "size": 8}), tmp_path / "m.safetensors"
    Safetensors().write(model, out, FormatSettings())
    before, weights = Safetensors().graph_digest(out), out.read_bytes()

    class Facts:
        def text(self) -> str:
            return '{"a": 1}'

    Safetensors().write_facts(out, Facts())  # type: ignore[arg-type]
    assert Safetensors().graph_digest(out) == before
    assert out.read_bytes() != weights
    with safe_open(out, "pt") as opened:
        assert opened.metadata()["eml"] == '{"a": 1}'


def test_what_needs_the_normalisation_in_a_graph_is_refused(tmp_path: Path) -> None:
    for name, out in (("safetensors", tmp_path / "m.safetensors"), ("hub", tmp_path / "m")):
        with pytest.raises(ConfigError) as caught:
            eml.export("timm:test_resnet", out, format=name, weights="none", input="float")
        assert (caught.value.code, caught.value.parameter) == ("conflicting-settings", "input")
    with pytest.raises(ConfigError, match="model card") as caught:
        eml.export("timm:test_resnet", tmp_path / "m.safetensors", weights="none", licence="mit")
    assert caught.value.parameter == "licence"
