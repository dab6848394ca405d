"""What is served, and by what: an index by its model or by a proven export, a model by name."""

import asyncio
import shutil
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

import eml
from eml.commands.serve import ServeConfig
from eml.errors import CheckpointError, ConfigError
from eml.serving.engine import ServingEngine
from eml.serving.opening import open_served
from tests.indexing.shop import draw
from tests.serving.shop_server import build_shop, served


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shop(tmp_path_factory.mktemp("shop"))


def test_an_index_is_served_by_its_own_model_and_named_without_its_folder(shop: Path) -> None:
    opened = open_served(shop, None, "cpu", onnx=None)
    assert opened.name == "shop.index"
    assert opened.index is not None
    assert opened.index.own_model() is opened.model
    opened.index.close()


def test_an_export_that_must_be_there_and_is_not_is_an_error_that_says_how_to_make_it(shop: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no exported file of the model: looked for .*model\.onnx"):
        open_served(shop, None, "cpu", onnx=True)


def test_a_model_for_queries_needs_an_index(shop: Path) -> None:
    with pytest.raises(ConfigError, match="is no index, and `model` is what embeds the queries of one"):
        open_served(shop / "model", "timm:test_resnet", "cpu", onnx=None)


def test_a_model_by_name_is_served_with_the_weights_size_and_precision_that_are_given(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    network = timm.create_model("test_resnet")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    given = {"weights": str(weights), "image_size": 48, "precision": "bfloat16"}
    model = open_served("timm:test_resnet", None, "cpu", onnx=None, loading=given).model
    assert model.preprocess.size == 48
    assert model.fingerprint == eml.load("timm:test_resnet", device="cpu", **given).fingerprint  # type: ignore[arg-type]
    config = ServeConfig(source="timm:test_resnet", weights="none", image_size=48)
    assert config.loading == {"weights": "none", "image_size": 48}


@pytest.mark.parametrize("name", ["weights", "image_size", "precision"])
def test_what_is_for_a_model_by_name_is_refused_with_an_index(shop: Path, name: str) -> None:
    values = {"weights": "none", "image_size": 48, "precision": "bfloat16"}
    with pytest.raises(ConfigError, match=f"is an index, which embeds as it was built, and `{name}` is for a model"):
        eml.serve(str(shop), port=0, **{name: values[name]})


@pytest.mark.wide
def test_a_proven_export_beside_an_index_embeds_its_queries_and_its_own_model_what_is_added(
    shop: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    copy = Path(shutil.copytree(shop, tmp_path / "shop.index"))
    photos = draw(tmp_path / "photos", per_class=4)
    eml.export(copy / "model", tmp_path / "made.onnx", prove_on=photos, prove_images=8)
    shutil.copy(tmp_path / "made.onnx", copy / "model.onnx")
    engine = ServingEngine.open(copy, device="cpu")
    plain = ServingEngine.open(copy, device="cpu", onnx=False)
    assert (engine.facts.runtime, plain.facts.runtime) == ("onnxruntime", "torch")
    query = served("mug", 7)
    first, second = (asyncio.run(one.search([query], k=5)).items[0].neighbours for one in (engine, plain))
    assert [found.cosine for found in first] == pytest.approx([found.cosine for found in second], abs=1e-5)
    new = served("lamp", 1)
    reply = asyncio.run(engine.add([new], "lamp"))
    assert reply.model == plain.facts.fingerprint != engine.facts.fingerprint
    assert asyncio.run(engine.search([new], k=1)).items[0].neighbours[0].label == "lamp"
    for one in (engine, plain):
        asyncio.run(one.close())
