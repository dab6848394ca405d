"""`eml export --format hub`: the folder with its card, and what is proven of it."""

from pathlib import Path

import pytest
import torch

import eml
from eml.errors import OutputError
from eml.exporting.formats import FormatSettings
from eml.exporting.formats.hub import Hub
from tests.exporting.small_models import noise, small_compression, small_model


def test_what_is_proven_is_timms_reading_beside_the_model_without_what_only_eml_does(tmp_path: Path) -> None:
    lines: list[str] = []
    model = small_model(neck={"type": "linear", "size": 8}, tta="flip", compression=small_compression(8, "int8"))
    Hub().write(model, tmp_path / "m", FormatSettings(report=lines.append))
    assert len(lines) == 2
    pixels = noise(model)
    opened, reference = Hub().opened(tmp_path / "m"), Hub().reference(model)
    torch.testing.assert_close(opened.embed_pixels(pixels), reference.embed_pixels(pixels), rtol=0, atol=1e-5)
    assert not torch.allclose(opened.embed_pixels(pixels), model.embed_pixels(pixels), atol=1e-3)


def test_a_folder_whose_name_is_that_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        eml.export("timm:test_resnet", tmp_path / "m.json", format="hub", weights="none")
    assert caught.value.code == "wrong-suffix"
