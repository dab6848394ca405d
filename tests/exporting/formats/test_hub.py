"""`eml export --format hub`: the folder with its card, and what is proven of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import eml
from eml.errors import CheckpointError, OutputError
from eml.exporting.export import ExportOptions, export_model
from eml.exporting.formats import FormatSettings
from eml.exporting.formats.hub import Hub
from eml.inference.model import Model
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


def test_a_damaged_layer_fails_the_proof_and_the_folder_is_named_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    for label in range(6):
        (tmp_path / "photos" / f"{label}").mkdir(parents=True)
        colour = random.integers(0, 256, 3)
        for number in range(3):
            pixels = (colour + random.normal(0, 40, (40, 40, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / f"{label}" / f"{number}.png")
    write = Hub.write

    def damage(form: Hub, model: Model, path: Path, settings: FormatSettings) -> str:
        write(form, model, path, settings)
        dense = path / "1_Dense" / "model.safetensors"
        tensors = load_file(dense)
        tensors["linear.weight"][0] *= 1.1
        save_file(tensors, dense, {"format": "pt"})
        return ""

    monkeypatch.setattr(Hub, "write", damage)
    run = Path(__file__).parents[2] / "fixtures/v0_1_0/run"
    options = ExportOptions(str(run), tmp_path / "m", format="hub", prove_on=tmp_path / "photos", timing_seconds=0)
    assert export_model(options).path == tmp_path / "m.failed"
    with pytest.raises(CheckpointError, match="its proof failed") as caught:
        eml.push(tmp_path / "m.failed", "a/b", dry_run=True)
    assert caught.value.code == "not-proven"
    monkeypatch.undo()
    export_model(options)
    assert not (tmp_path / "m.failed").exists()
    assert "proof passed on 18 images" in (tmp_path / "m/README.md").read_text()
    pushed = eml.push(tmp_path / "m", "a/b", dry_run=True).pushed.files
    assert "proof.json" in pushed
    (tmp_path / "m/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt, which eml did not write"):
        export_model(replace(options, overwrite=True))
    assert str(tmp_path).encode() not in b"".join((tmp_path / "m" / file).read_bytes() for file in pushed)


def test_a_folder_whose_name_is_that_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        eml.export("timm:test_resnet", tmp_path / "m.json", format="hub", weights="none")
    assert caught.value.code == "wrong-suffix"
