import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import eml
from eml.errors import CheckpointError, ConfigError
from eml.exporting.texts.samples import AWKWARD
from eml.exporting.texts.tokenizer import portable_tokenizer
from eml.exporting.texts.tower import NoTextTower, write_text_tower
from eml.indexing.zero_shot import ModelTexts, ZeroShotClassifier
from eml.inference.any_model import text_scale
from eml.inference.exported.facts import KEY, read_facts
from eml.inference.exported.model import ExportedModel
from eml.inference.exported.onnx_bytes import read_metadata
from eml.inference.exported.text_facts import TextFacts, text_path, tokenizer_path
from eml.inference.exported.texts import ExportedTexts
from eml.inference.model import Model
from tests.tiny_clip import CLIP, write_tiny_clip

pytestmark = pytest.mark.xdist_group("clip")
pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
onnx = pytest.importorskip("onnx")
for package in ("onnxscript", "onnxruntime", "tokenizers"):
    pytest.importorskip(package)

LABELS = {"red mug", "Café “Süd”", "猫"}
TINY = Path(__file__).parents[2] / "fixtures/exported/tiny.onnx"
"""An image tower, not of the same model."""
GRAPH = read_facts(read_metadata(TINY).get(KEY), "tiny").graph


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A CLIP with a text tower of one layer."""
    text = CLIP["text_cfg"] | {"width": 8, "heads": 1, "layers": 1}
    folder = write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny", config=CLIP | {"text_cfg": text})
    model = eml.load(f"open_clip:local-dir:{folder}")
    model.__dict__["trained_on"] = SimpleNamespace(classes=LABELS)
    return model


def write(model: Model, path: Path) -> TextFacts:
    return write_text_tower(model, path, GRAPH, opset=20, least_cosine=0.9999)


@pytest.fixture(scope="module")
def exported(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image tower's file, beside which is an exported text tower."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    shutil.copyfile(TINY, path)
    write(model, path)
    return path


def test_texts_are_embedded_as_by_the_checkpoint_in_batches_of_any_size(model: Model, exported: Path) -> None:
    texts = ExportedTexts(exported)
    facts = texts.facts
    assert facts.proof is not None
    assert facts.proof.passed
    assert (facts.proof.labels, facts.proof.awkward) == (3, len(AWKWARD))
    assert (facts.context_length, facts.embedding_size, facts.image_graph) == (16, 24, GRAPH)
    assert model.embedder.text is not None
    assert facts.logit_scale == pytest.approx(float(model.embedder.text.logit_scale.exp()))
    own = [*AWKWARD, *LABELS, "what no list has"]
    np.testing.assert_array_equal(texts.tokenize(own), model.embedder.text.tokenize(own).numpy())
    for size in (1, 7, 256):
        np.testing.assert_allclose(texts.embed(own, size), model.embed_text(own), atol=1e-6)
    assert texts.embed([], 7).shape == (0, 24)
    proto = onnx.load(text_path(exported))
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 20)]
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["tokens", "embedding"]


def test_no_torch_is_needed_to_embed_texts(model: Model, exported: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'open_clip', 'transformers', 'onnx'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np\n"
        "import eml\n"
        "np.save(sys.argv[2], eml.load(sys.argv[1]).embed_text(['a Mug', 'café']))\n"
    )
    subprocess.run([sys.executable, "-c", code, exported, tmp_path / "texts.npy"], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "texts.npy"), model.embed_text(["a Mug", "café"]), atol=1e-6)


def test_an_exported_model_embeds_texts_by_the_tower_beside_it(model: Model, exported: Path, tmp_path: Path) -> None:
    by_file = ExportedModel(exported)
    assert by_file.takes_text
    np.testing.assert_allclose(by_file.embed_text(["a mug"]), model.embed_text(["a mug"]), atol=1e-6)
    assert text_scale(by_file) == pytest.approx(text_scale(model))
    assert ZeroShotClassifier(by_file, ["a", "b"], [["a"], ["b"]]).scale == pytest.approx(text_scale(model)[0])
    assert ModelTexts(by_file).digest == by_file.texts.facts.graph
    for texts, code in (("red", "wrong-type"), ([1], "wrong-type"), (["\udcff"], "invalid-value")):
        with pytest.raises(ConfigError) as error:
            by_file.embed_text(texts)  # type: ignore[arg-type]
        assert error.value.code == code
    with pytest.raises(CheckpointError, match="is the text tower of an exported model"):
        ExportedModel(text_path(exported))
    alone = ExportedModel(shutil.copyfile(TINY, tmp_path / "alone.onnx"))
    assert not alone.takes_text
    with pytest.raises(ConfigError, match=r"embeds images alone: there is no alone\.text\.onnx") as error:
        alone.embed_text(["red"])
    assert error.value.code == "no-text-tower"


def test_files_that_do_not_belong_together_are_told(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.onnx"
    assert "no copy.text.onnx" in ExportedTexts(path).why_not(GRAPH)
    text_path(path).write_bytes(text_path(exported).read_bytes())
    assert "no copy.text.tokenizer.json" in ExportedTexts(path).why_not(GRAPH)
    tokenizer_path(path).write_bytes(tokenizer_path(exported).read_bytes())
    assert ExportedTexts(path).why_not(GRAPH) == ""
    assert "another export" in ExportedTexts(path).why_not("1" * 32)

    tokenizer_path(path).write_text(tokenizer_path(exported).read_text().replace('"red</w>"', '"rde</w>"'))
    with pytest.raises(CheckpointError, match="was changed after the export"):
        ExportedTexts(path).tokenize(["red"])
    data = bytearray(text_path(path).read_bytes())
    data[1000] ^= 1
    text_path(path).write_bytes(data)
    with pytest.raises(CheckpointError, match="was changed after the export"):
        ExportedTexts(path).embed(["red"], 1)
    text_path(path).write_bytes(data[:-500])
    with pytest.raises(CheckpointError, match="cut off"):
        ExportedTexts(path).why_not(GRAPH)


def test_no_text_tower_is_written_where_it_would_embed_otherwise(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower: Any = model.embedder.text
    tokenizer = tower.tokenizer

    def shifted(texts: list[str]) -> torch.Tensor:
        tokens: torch.Tensor = tokenizer(texts)
        return tokens.where(tokens != tokenizer.encoder["red</w>"], tokens + 1)

    portable = portable_tokenizer(tokenizer)
    monkeypatch.setattr("eml.exporting.texts.tower.portable_tokenizer", lambda own: portable)
    monkeypatch.setattr(tower, "tokenizer", shifted)
    with pytest.raises(NoTextTower, match=r"2 of 34 texts differ, such as '  A Photo"):
        write(model, tmp_path / "model.onnx")
    monkeypatch.setattr(model.embedder, "neck", torch.nn.Linear(24, 24))
    with pytest.raises(NoTextTower, match="its neck moved the embeddings"):
        write(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
