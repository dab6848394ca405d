from pathlib import Path

import pytest
import torch

from eml.errors import ConfigError, EmlError
from eml.exporting.formats import FormatSettings, find_format
from eml.inference.exported.model import ExportedModel
from eml.models.necks.bnneck import BNNeck
from tests.exporting.conftest import tiny_model
from tests.exporting.written import written

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("input", "tta"), [("uint8", "flip"), pytest.param("float", "none", marks=pytest.mark.wide)])
def test_a_file_embeds_any_number_of_images_as_the_model(input: str, tta: str, tmp_path: Path) -> None:
    model = tiny_model(BNNeck(), tta=tta)
    exported = written(model, tmp_path / "model.onnx", FormatSettings(input=input))  # type: ignore[arg-type]
    for count in (1, 2, 7):
        pixels = torch.randint(0, 256, (count, 3, 12, 8), dtype=torch.uint8)
        torch.testing.assert_close(exported.embed_pixels(pixels), model.embed_pixels(pixels), atol=1e-5, rtol=0)
    assert b".py" not in (tmp_path / "model.onnx").read_bytes(), "it names files of this machine"
    proto = onnx.load(tmp_path / "model.onnx")
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 20)]
    assert [value.name for value in (*proto.graph.input, *proto.graph.output)] == ["image", "embedding"]
    assert exported.fingerprint.digest != model.fingerprint.digest
    assert exported.facts.source == model.fingerprint
    assert str(Path.cwd()).encode() not in (tmp_path / "model.onnx").read_bytes()

    form, path = find_format("onnx", tmp_path), tmp_path / "model.onnx"
    form.write_facts(path, exported.facts.model_copy(update={"embedding_size": 7}))
    with pytest.raises(EmlError) as error:
        ExportedModel(path).embed_pixels(pixels)
    assert error.value.code == "damaged-file"

    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    onnx.save(proto, tmp_path / "changed.onnx")
    with pytest.raises(EmlError) as error:
        _ = ExportedModel(tmp_path / "changed.onnx").fingerprint
    assert error.value.code == "damaged-file"


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    for path, name, settings, code, parameter in (
        (tmp_path / "a.onnx", None, FormatSettings(opset=17), "out-of-range", "opset"),
        (tmp_path / "a.bin", "onnx", FormatSettings(), "wrong-suffix", "out"),
        (tmp_path / "a.bin", None, FormatSettings(), "missing-key", "format"),
        (tmp_path / "a.onnx", "onyx", FormatSettings(), "unknown-choice", "format"),
    ):
        with pytest.raises(ConfigError) as error:
            find_format(name, path).check(path, settings)
        assert (error.value.code, error.value.parameter) == (code, parameter)


def test_another_opset_than_the_set_one_is_refused() -> None:
    from eml.exporting.onnx_file import _refuse_other_opset

    graph = onnx.helper.make_graph([], "g", [], [])
    _refuse_other_opset(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]), 20)
    with pytest.raises(ConfigError) as error:
        _refuse_other_opset(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), 20)
    assert error.value.parameter == "opset"
