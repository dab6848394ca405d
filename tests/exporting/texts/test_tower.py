import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eml
from eml.errors import CheckpointError, ConfigError
from eml.exporting.proof.record import ProofLimits
from eml.exporting.texts.samples import AWKWARD
from eml.exporting.texts.tokenizer import portable_tokenizer
from eml.exporting.texts.tower import NoTextTower, write_text_tower
from eml.indexing.zero_shot import ModelTexts, ZeroShotClassifier
from eml.inference.any_model import text_scale
from eml.inference.exported.model import ExportedModel
from eml.inference.exported.text_facts import text_path, tokenizer_path
from eml.inference.exported.texts import ExportedTexts
from eml.inference.model import Model

pytestmark = [
    pytest.mark.xdist_group("clip"),
    pytest.mark.skipif(torch.__version__.startswith("2.6"), reason="torch 2.6 cannot export a text tower"),
]
pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
onnx = pytest.importorskip("onnx")
for package in ("onnxscript", "onnxruntime", "tokenizers"):
    pytest.importorskip(package)

TINY = Path(__file__).parents[2] / "fixtures/exported/tiny.onnx"
"""An exported model that has no text tower."""


@pytest.mark.wide
def test_texts_are_embedded_as_by_the_checkpoint_in_batches_of_any_size(model: Model, exported: Path) -> None:
    texts = ExportedTexts(exported)
    facts = texts.facts
    assert facts.proof is not None
    assert facts.proof.passed
    assert (facts.proof.labels, facts.proof.awkward) == (3, len(AWKWARD))
    assert (facts.context_length, facts.embedding_size) == (16, 24)
    assert facts.image_graph == ExportedModel(exported).facts.graph
    assert model.embedder.text is not None
    assert facts.logit_scale == pytest.approx(float(model.embedder.text.logit_scale.exp()))
    own = [*AWKWARD, "what no list has", "Größe"]
    np.testing.assert_array_equal(texts.tokenize(own), model.embedder.text.tokenize(own).numpy())
    for size in (1, 7, 256):
        np.testing.assert_allclose(texts.embed(own, size), model.embed_text(own), atol=1e-6)
    assert texts.embed([], 7).shape == (0, 24)
    proto = onnx.load(text_path(exported))
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 20)]
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["tokens", "embedding"]


@pytest.mark.wide
def test_no_torch_is_needed_to_embed_texts(model: Model, exported: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'open_clip', 'transformers', 'onnx', 'pandas', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np\n"
        "import eml\n"
        "np.save(sys.argv[2], eml.load(sys.argv[1]).embed_text(['a Mug', 'café']))\n"
    )
    subprocess.run([sys.executable, "-c", code, exported, tmp_path / "texts.npy"], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "texts.npy"), model.embed_text(["a Mug", "café"]), atol=1e-6)


@pytest.mark.wide
def test_an_exported_model_embeds_texts_by_the_tower_beside_it(model: Model, exported: Path, tmp_path: Path) -> None:
    by_file: Any = eml.load(exported)
    assert by_file.takes_text
    np.testing.assert_allclose(by_file.embed_text(["a mug"]), model.embed_text(["a mug"]), atol=1e-6)
    assert text_scale(by_file) == pytest.approx(text_scale(model))
    assert ZeroShotClassifier(by_file, ["a", "b"], [["a"], ["b"]]).scale == pytest.approx(text_scale(model)[0])
    assert ModelTexts(by_file).digest == by_file.texts.facts.graph
    for texts, code in (("red", "wrong-type"), ([1], "wrong-type"), (["\udcff"], "invalid-value")):
        with pytest.raises(ConfigError) as error:
            by_file.embed_text(texts)
        assert error.value.code == code
    with pytest.raises(CheckpointError, match="is the text tower of an exported model"):
        eml.load(text_path(exported))
    alone = ExportedModel(shutil.copyfile(TINY, tmp_path / "alone.onnx"))
    assert not alone.takes_text
    with pytest.raises(ConfigError, match=r"embeds images alone: there is no alone\.text\.onnx") as error:
        alone.embed_text(["red"])
    assert error.value.code == "no-text-tower"


@pytest.mark.wide
def test_files_that_do_not_belong_together_are_told(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.onnx"
    graph = ExportedTexts(exported).facts.image_graph
    assert "no copy.text.onnx" in ExportedTexts(path).why_not(graph)
    text_path(path).write_bytes(text_path(exported).read_bytes())
    assert "no copy.text.tokenizer.json" in ExportedTexts(path).why_not(graph)
    tokenizer_path(path).write_bytes(tokenizer_path(exported).read_bytes())
    assert ExportedTexts(path).why_not(graph) == ""
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
        ExportedTexts(path).why_not(graph)


def test_no_text_tower_is_written_where_it_would_embed_otherwise(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        write_text_tower(model, tmp_path / "model.onnx", "0" * 32, 20, ProofLimits())

    tower: Any = model.embedder.text
    tokenizer = tower.tokenizer
    portable = portable_tokenizer(tokenizer)

    def shifted(texts: list[str]) -> torch.Tensor:
        tokens: torch.Tensor = tokenizer(texts)
        return tokens.where(tokens != tokenizer.encoder["red</w>"], tokens + 1)

    monkeypatch.setattr("eml.exporting.texts.tower.portable_tokenizer", lambda own: portable)
    monkeypatch.setattr(tower, "tokenizer", shifted)
    with pytest.raises(NoTextTower, match=r"1 of 31 texts differ, such as '  A Photo"):
        write()
    monkeypatch.setattr(model.embedder, "neck", torch.nn.Linear(24, 24))
    with pytest.raises(NoTextTower, match="its neck moved the embeddings"):
        write()
    assert list(tmp_path.iterdir()) == []
