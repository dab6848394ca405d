from pathlib import Path

import pytest
import torch

from eml.errors import CheckpointError
from eml.exporting.formats import FormatSettings
from eml.inference.exported.model import ExportedModel
from eml.models.necks.bnneck import BNNeck
from tests.exporting.conftest import tiny_model
from tests.exporting.written import written

pytest.importorskip("openvino")
pytest.importorskip("onnxscript")


@pytest.mark.wide
def test_two_files_embed_any_number_of_images_as_the_model(tmp_path: Path) -> None:
    model = tiny_model(BNNeck())
    path, weights = tmp_path / "model.xml", tmp_path / "model.bin"
    exported = written(model, path, FormatSettings(precision="float16"))
    assert sorted(tmp_path.iterdir()) == [weights, path]
    for count in (1, 2, 7):
        pixels = torch.randint(0, 256, (count, 3, 12, 8), dtype=torch.uint8)
        embeddings = exported.embed_pixels(pixels)
        torch.testing.assert_close(embeddings, model.embed_pixels(pixels), atol=2e-3, rtol=0)
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(count))
    assert exported.facts.source == model.fingerprint
    assert exported.fingerprint.weights == exported.facts.graph

    data, graph = weights.read_bytes(), path.read_text()
    weights.write_bytes(bytes(len(data)))
    with pytest.raises(CheckpointError) as error:
        _ = ExportedModel(path).fingerprint
    assert error.value.code == "damaged-file"
    for text, kept in ((graph, None), (graph, data[:10]), (graph[:-30], data), ("", data)):
        path.write_text(text)
        weights.unlink(missing_ok=True)
        if kept is not None:
            weights.write_bytes(kept)
        with pytest.raises(CheckpointError):
            ExportedModel(path)
