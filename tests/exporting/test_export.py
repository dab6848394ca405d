import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import eml
from eml.cli.app import main
from eml.errors import EmlError
from eml.inference.exported.model import ExportedModel

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def test_a_checkpoint_is_exported_whole_or_not_at_all(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new folder" / "model.onnx"
    assert main(["export", str(checkpoint), str(out), "--prove-images", "0", "--triton", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == out.stat().st_size
    assert sorted(path.name for path in out.parent.iterdir()) == ["model.onnx", "model.triton"]
    assert facts["triton"] == str(out.with_suffix(".triton"))
    assert (out.with_suffix(".triton") / "model" / "1" / "model.onnx").read_bytes() == out.read_bytes()
    shutil.rmtree(out.with_suffix(".triton"))
    model, exported = eml.load(checkpoint), ExportedModel(out)
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    np.testing.assert_allclose(exported.embed([image, image]), model.embed([image, image]), atol=1e-5)

    before = out.read_bytes()
    with pytest.raises(EmlError) as error:
        eml.export(checkpoint, out)
    assert error.value.code == "file-exists"

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eml.exporting.formats.onnx.Onnx.write", fail)
    with pytest.raises(EmlError) as error:
        eml.export(checkpoint, out, prove_images=0, overwrite=True)
    assert error.value.code == "not-writable"
    assert [path.name for path in out.parent.iterdir()] == ["model.onnx"]
    assert out.read_bytes() == before


def test_a_hub_folder_replaces_no_folder_of_other_files(tmp_path: Path) -> None:
    kept = tmp_path / "run" / "state"
    kept.parent.mkdir()
    kept.write_bytes(b"training")
    for out in (kept.parent, kept):
        with pytest.raises(EmlError, match="is no hub folder") as caught:
            eml.export("timm:test_resnet", out, format="hub", weights="none", prove_images=0, overwrite=True)
        assert caught.value.code == "file-exists"
    assert kept.read_bytes() == b"training"


def test_a_repository_for_triton_is_of_onnx_files(tmp_path: Path) -> None:
    with pytest.raises(EmlError, match="`format` safetensors is none") as error:
        eml.export("timm:test_resnet", tmp_path / "a.safetensors", weights="none", prove_images=0, triton=True)
    assert (error.value.code, error.value.parameter) == ("conflicting-settings", "triton")


def test_the_weights_of_a_checkpoint_are_never_replaced(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(EmlError, match="weights of a checkpoint"):
        eml.export("timm:test_resnet", weights, weights="none", prove_images=0, overwrite=True)
    assert weights.read_bytes() == b"weights"
