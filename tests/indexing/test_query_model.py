"""Queries of a newer model on an index of an older one: accepted by declaration, and never for the gallery."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

import eml
from eml.commands.classify import classify
from eml.commands.index_add import add_to_index
from eml.commands.search import search
from eml.errors import CheckpointError
from eml.indexing.index import Index
from eml.indexing.store import IndexStore
from eml.inference.exported.facts import ProofSummary
from eml.inference.exported.model import ExportedModel
from eml.models.checkpoint import declare_compatible, save_checkpoint
from eml.models.config import ModelConfig
from eml.models.necks.identity import Identity
from tests.indexing.shop import calibration, draw, network, photo
from tests.models.test_compatible import compatible_model

CONFIG = ModelConfig(backbone="test_resnet", weights="none", neck=Identity())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index by an old model, a new checkpoint that declares itself compatible, and one that declares nothing."""
    folder = tmp_path_factory.mktemp("shop")
    old = network()
    Index.build(folder / "shop.index", old, draw(folder / "photos"), with_model=True).close()
    embedder = eml.load("timm:test_resnet", weights="none", image_size=32).embedder
    with torch.no_grad():
        for weights in embedder.parameters():
            weights += 1e-3 * weights.abs().mean()
    save_checkpoint(folder / "new", embedder, CONFIG, old.preprocess, ["mug"], {})
    shutil.copytree(folder / "new", folder / "undeclared")
    own = eml.load(folder / "new", device="cpu").fingerprint.digest
    declare_compatible(folder / "new", compatible_model(fingerprint=old.fingerprint.digest, own=own))
    return folder


def test_a_compatible_model_embeds_queries_and_a_line_says_so(shop: Path) -> None:
    result = search(shop / "shop.index", [shop / "photos" / "tea" / "1.png"], model=shop / "new")
    assert result.answers[0][0].file_name == "tea/1.png"
    assert result.answers[0][0].cosine < 1 - 1e-9, "its embedding is that of the new model"
    with Index.open(shop / "shop.index", model=shop / "new") as index:
        assert index.classify(shop / "photos" / "tea" / "1.png")[0].label == "tea"
        assert index.notes == (
            f"queries by {shop / 'new'}, which declares itself compatible with the index's model: on the held-out "
            "fold, 90 queries of 20 classes, MAP@R is 0.500 by the older model alone, 0.600 by queries of the new "
            "model on the older one's gallery (change +0.100), and 0.700 by the new model on a gallery of its own",
        )
        assert not index.probability_warning, "there are no probabilities to warn of"
    with Index.open(shop / "shop.index") as index:
        index.search(shop / "photos" / "tea" / "1.png")
        assert index.notes == (), "of its own model there is nothing to say"


def test_probabilities_of_the_old_calibration_come_with_a_warning(shop: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(shop / "shop.index", tmp_path / "shop.index"))
    with IndexStore.open(place) as store:
        store.calibration = calibration().model_dump(mode="json")
    with Index.open(place, model=shop / "new") as index:
        assert index.classify(shop / "photos" / "tea" / "1.png")[0].probability is not None
        assert "were calibrated for the queries of the index's own model" in index.probability_warning
    with Index.open(place) as index:
        index.classify(shop / "photos" / "tea" / "1.png")
        assert index.probability_warning == ""
    assert classify(place, [shop / "photos" / "tea" / "1.png"], model=shop / "new").images is not None


def test_a_compatible_model_adds_nothing_to_the_gallery(shop: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(shop / "shop.index", tmp_path / "shop.index"))
    with pytest.raises(CheckpointError, match="build the index again: eml index build") as caught:
        add_to_index(place, [shop / "photos" / "tea" / "1.png"], label="tea", model=shop / "new")
    assert (caught.value.code, caught.value.parameter) == ("different-model", "model")
    with (
        Index.open(place, model=shop / "new") as index,
        pytest.raises(CheckpointError, match="none of its images"),
    ):
        index.add(shop / "photos" / "tea" / "1.png", "tea")


def test_a_model_that_declares_nothing_is_refused_as_is_a_declared_one_in_another_way(shop: Path) -> None:
    photo = shop / "photos" / "tea" / "1.png"
    with pytest.raises(CheckpointError, match=r"cannot be compared, unless .* says so$") as caught:
        search(shop / "shop.index", [photo], model=shop / "undeclared")
    assert (caught.value.code, caught.value.parameter) == ("different-model", "model")
    flipped = eml.load(shop / "new", device="cpu", tta="flip")
    with IndexStore.open(shop / "shop.index") as store:
        index = Index(store, model=flipped)
        with pytest.raises(CheckpointError, match="in which it was measured, and is loaded in another"):
            index.search(photo)


def test_an_export_of_the_indexs_model_embeds_queries_where_it_is_proven(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = ExportedModel(Path(__file__).parents[1] / "fixtures" / "exported" / "tiny.onnx")
    images = [photo("tea", number) for number in range(3)]
    rows = pd.DataFrame({"file_name": ["0", "1", "2"], "label": "tea"})
    store = IndexStore.create(tmp_path / "shop.index", size=model.size, fingerprint=model.facts.source)
    store.add(model.embed(images), rows)
    proof = ProofSummary(passed=False, table="t.csv", images=200, least_cosine=0.99994)
    for passed in (None, False):
        model.runtime.facts = model.facts.model_copy(
            update={"proof": None if passed is None else proof.model_copy(update={"passed": passed})}
        )
        with pytest.raises(CheckpointError, match="with a proof that passed, which this one has not"):
            Index(store, model=model).search(images[1])
    model.runtime.facts = model.facts.model_copy(update={"proof": proof.model_copy(update={"passed": True})})
    index = Index(store, model=model)
    assert index.search(images[1])[0][0].file_name == "1"
    assert "an export of the model" in index.notes[0]
    assert "200 images, least cosine 0.999940" in index.notes[0]
    with pytest.raises(CheckpointError, match="none of its images"):
        index.add(images[1], "tea")
    store.close()
