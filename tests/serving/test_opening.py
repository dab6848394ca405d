"""What is served, and by what: an index by its model or by a proven export, a model by name."""

from pathlib import Path

import pytest

from eml.errors import CheckpointError, ConfigError
from eml.serving.opening import open_served
from tests.serving.shop_server import build_shop


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
