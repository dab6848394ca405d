"""int8 by the command, from a table: with images of the run to calibrate on and those of the proof to choose by."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eml
from eml.errors import EmlError
from eml.exporting.formats import FormatSettings
from eml.exporting.precision.images import QuantizationImages
from eml.models.necks.bnneck import BNNeck
from tests.exporting.conftest import tiny_model
from tests.exporting.written import written

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def test_settings_that_do_not_fit_are_refused_before_any_work(checkpoint: Path, tmp_path: Path) -> None:
    for out, fields, parameter in (
        ("a.onnx", {"precision": "int8", "prove_images": 0}, "prove_images"),
        ("a.onnx", {"calibrate_on": tmp_path}, "calibrate_on"),
        ("a.pt2", {"precision": "int8"}, "precision"),
    ):
        with pytest.raises(EmlError) as error:
            eml.export(checkpoint, tmp_path / out, **fields)
        assert (error.value.code, error.value.parameter) == ("conflicting-settings", parameter)


def folder_of_images(path: Path) -> Path:
    """Make classes of noise of a colour each."""
    random = np.random.default_rng(0)
    for label in range(10):
        colour = random.integers(0, 200, 3)
        for number in range(8):
            image = (colour + random.integers(0, 56, (40, 40, 3))).astype(np.uint8)
            (path / f"{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path / f"{label}/{number}.png")
    return path


@pytest.mark.wide
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_int8_says_what_was_chosen_by_which_figures(backbone: str, suffix: str, tmp_path: Path) -> None:
    if suffix == ".xml":
        pytest.importorskip("openvino")
    data = folder_of_images(tmp_path / "images")
    result = eml.export(
        f"timm:{backbone}",
        tmp_path / f"model{suffix}",
        weights="none",
        precision="int8",
        calibrate_on=data,
        prove_on=data,
        prove_images=40,
        most_loss=1,
    )
    details = result.exported.facts.precision_details
    assert result.passed
    assert "int8" in details
    assert "on the proof's images static: MAP@R " in details
    assert ("dynamic: MAP@R" in details) == (suffix == ".onnx")
    assert "40 images of 10 classes" in details or "dynamic int8" in details
    model = eml.load(result.exported.path)
    assert model.embed([data / "0/0.png"]).shape == (1, model.size)
    with pytest.raises(EmlError) as error:
        eml.export(f"timm:{backbone}", tmp_path / f"b{suffix}", weights="none", precision="int8", prove_on=data)
    assert (error.value.code, error.value.parameter) == ("missing-key", "calibrate_on")


@pytest.mark.wide
def test_normalised_input_is_quantised_too(tmp_path: Path) -> None:
    import torch

    from eml.evaluation.retrieval_set import RetrievalSet
    from tests.exporting.precision.test_choose import prepared

    model = tiny_model(BNNeck())
    pixels = torch.randint(0, 256, (120, 3, 12, 8), dtype=torch.uint8)
    rows = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    retrieval: RetrievalSet = prepared()[0].retrieval
    images = QuantizationImages(rows, "noise", rows, retrieval, model.embed_pixels(pixels))
    settings = FormatSettings(input="float", precision="int8", quantization_images=lambda: images)
    exported = written(model, tmp_path / "model.onnx", settings)
    cosine = (exported.embed_pixels(pixels) * model.embed_pixels(pixels)).sum(1)
    assert float(cosine.min()) > 0.9
