import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import eml
from eml.commands.export import ExportResult
from eml.errors import ConfigError, OutputError
from eml.exporting.export import Exported, ExportOptions, export_model
from eml.exporting.formats import FormatSettings, find_format
from eml.exporting.proof.checks import embedding_checks
from eml.exporting.texts.export import export_texts, text_files
from eml.exporting.texts.samples import AWKWARD
from eml.exporting.texts.tokenizer import UnportableTokenizerError
from eml.inference.exported.model import ExportedModel
from eml.inference.model import Model
from eml.progress import no_progress

pytestmark = pytest.mark.xdist_group("clip")
pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
onnx = pytest.importorskip("onnx")
for package in ("onnxscript", "onnxruntime", "tokenizers"):
    pytest.importorskip(package)


@pytest.fixture
def quick(exported: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take the graphs of the export that is there in place of torch's exporter, which takes seconds."""

    def write_images(form: object, model: object, path: Path, settings: object) -> str:
        shutil.copyfile(exported, path)
        return ""

    def write_texts(graph: nn.Module, example: object, path: Path, *names: object) -> None:
        shutil.copyfile(text_files(exported)[0], path)

    monkeypatch.setattr("eml.exporting.formats.onnx.Onnx.write", write_images)
    monkeypatch.setattr("eml.exporting.texts.tower.write_graph", write_texts)
    return monkeypatch


def export(small_clip: Path, out: Path, photos: Path, lines: list[str], **changes: Any) -> Exported:
    options = ExportOptions(f"open_clip:local-dir:{small_clip}", out, prove_on=photos, timing_seconds=0, **changes)
    return export_model(options, report=lines.append)


@pytest.mark.wide
def test_a_text_tower_that_embeds_otherwise_fails_the_export(
    small_clip: Path, photos: Path, exported: Path, tmp_path: Path, quick: pytest.MonkeyPatch
) -> None:
    def damaged(graph: nn.Module, example: object, path: Path, *names: object) -> None:
        proto = onnx.load(text_files(exported)[0])
        weight = max(proto.graph.initializer, key=lambda own: len(own.raw_data))
        weight.raw_data = weight.raw_data[:8000] + bytes(len(weight.raw_data) - 8000)
        onnx.save(proto, path)

    quick.setattr("eml.exporting.texts.tower.write_graph", damaged)
    out = tmp_path / "model.onnx"
    result = export(small_clip, out, photos, [])
    assert result.outcome is not None
    assert not result.outcome.proof.passed
    assert [problem for problem in result.outcome.proof.problems if problem.startswith("the text tower: the least cos")]
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model.onnx.failed", "model.text.onnx.failed", "model.text.tokenizer.json.failed"} <= names
    assert not {"model.onnx", "model.text.onnx", "model.text.tokenizer.json"} & names


@pytest.mark.wide
def test_the_files_of_a_text_tower_go_with_those_of_the_image_tower(
    small_clip: Path, photos: Path, tmp_path: Path, quick: pytest.MonkeyPatch
) -> None:
    out, lines = tmp_path / "model.onnx", []
    for file in text_files(out):
        file.with_name(f"{file.name}.failed").write_text("of an earlier proof")
    result = export(small_clip, out, photos, lines)
    assert {out, *text_files(out)} <= set(result.files)
    assert result.outcome is not None
    (row,) = [check for check in embedding_checks(result.outcome.proof) if check.name == f"{len(AWKWARD)} texts"]
    assert row.holds
    assert row.limit == "≥ 0.9999"
    assert "pixels (uint8) or texts of 16 tokens to 24 numbers" in ExportResult(exported=result).summary()
    assert not list(tmp_path.glob("*.failed"))
    assert eml.load(out).takes_text

    out.unlink()
    with pytest.raises(OutputError, match=r"model\.text\.onnx: exists") as error:
        export(small_clip, out, photos, lines)
    assert error.value.code == "file-exists"

    def unportable(tokenizer: object) -> None:
        raise UnportableTokenizerError("its tokenizer is of clay")

    quick.setattr("eml.exporting.texts.tower.portable_tokenizer", unportable)
    result = export(small_clip, out, photos, lines, overwrite=True)
    assert "no text tower is written: its tokenizer is of clay" in lines
    assert sorted(result.removed) == sorted(text_files(out))
    assert not any(file.exists() for file in text_files(out))
    alone = ExportedModel(out)
    assert not alone.takes_text
    with pytest.raises(ConfigError, match="embeds images alone: its tokenizer is of clay"):
        alone.embed_text(["red"])


def test_a_format_that_holds_images_alone_says_so(model: Model, tmp_path: Path) -> None:
    lines: list[str] = []
    form = find_format("torch", tmp_path / "model.pt2")
    settings = FormatSettings(report=lines.append)
    tower = export_texts(model, tmp_path / "model.pt2", "0" * 32, form, settings, None, no_progress)
    assert tower.facts is None
    assert tower.reason == "`format` torch holds images alone; give `format` onnx to embed texts too"
    assert lines == [f"no text tower is written: {tower.reason}"]
    assert list(tmp_path.iterdir()) == []
