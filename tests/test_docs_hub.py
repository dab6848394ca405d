"""The code of docs/hub.md runs on a folder of eml export, and gives eml's embeddings."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eml
from tests.exporting.small_models import small_model

PAGE = Path(__file__).parents[1] / "docs" / "hub.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `products`, products.safetensors and two images of the network's size."""
    from eml.exporting.formats import FormatSettings
    from eml.exporting.formats.safetensors import Safetensors
    from eml.exporting.hub.folder import write_hub_folder

    folder = tmp_path_factory.mktemp("docs")
    model = small_model("test_vit", {"type": "linear", "size": 16}, 96)
    write_hub_folder(model, folder / "products")
    Safetensors().write(model, folder / "products.safetensors", FormatSettings())
    random = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg"):
        pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(folder / name)
    return folder


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: re.findall(r"import (\w+)", code)[-1])
def test_each_snippet_gives_the_embeddings(code: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "sentence_transformers" if "SentenceTransformer(" in code else "transformers"
    if package in code:
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    exec(code, names)
    if "embeddings" in names:
        expected = eml.load("products", device="cpu").embed(["a.jpg", "b.jpg"])[: len(names["embeddings"])]
        np.testing.assert_allclose(np.asarray(names["embeddings"]), expected, rtol=0, atol=1e-5)
    else:
        assert names["network"].num_classes == 16


def test_the_page_has_a_snippet_for_each_library() -> None:
    assert len(BLOCKS) == 5
