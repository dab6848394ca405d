from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eml
from eml.cli.display.export import show
from eml.commands.export import ExportConfig, _next_command
from eml.errors import ConfigError


def proved(path: Path, images: Path, *, passed: bool = True) -> Any:
    """Return the result of an export to ONNX, as far as it is read here."""
    nothing = dict.fromkeys(("least_cosine", "from_files", "tinted_cosine", "texts", "recall_at_1", "map_at_r"))
    limits = SimpleNamespace(least_cosine=None)
    problems = [] if passed else ["prove it on more (`prove_images`), or allow more (`most_loss`)"]
    counts = {"images": 4, "classes": 2, "chosen_from": "photos", "batches": [], "speed": [], "cautions": problems}
    proof = SimpleNamespace(passed=passed, problems=problems, limits=limits, **nothing, **counts)
    table = SimpleNamespace(path=None, root=images)
    outcome = SimpleNamespace(
        proof=proof, run=SimpleNamespace(images=SimpleNamespace(table=table)), calibration_line=""
    )
    exported = SimpleNamespace(path=path, format="onnx", outcome=outcome, repository=None)
    return SimpleNamespace(exported=exported, proof=proof, summary=lambda: "model.onnx")


def test_too_few_images_are_refused_before_all_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be 0 or at least 4") as error:
        eml.export(tmp_path / "none", tmp_path / "no.suffix", prove_images=3)
    assert (error.value.code, error.value.parameter) == ("out-of-range", "prove_images")


def test_an_index_follows_a_passed_proof_and_nothing_a_failed_one(tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photos/a/1.png")
    model, photos = tmp_path / "model.onnx", tmp_path / "photos"
    model.touch()
    config = ExportConfig(checkpoint="run", out=model, prove_on=photos)
    expected = f"eml index build {tmp_path}/model.index {model} {photos}"
    assert _next_command(proved(model, photos), config) == expected
    assert _next_command(proved(model, photos, passed=False), config) is None
    gone = ExportConfig(checkpoint="run", out=model, prove_on=tmp_path / "gone")
    assert _next_command(proved(model, photos), gone) is None


def test_problems_and_notes_name_options_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(proved(tmp_path / "model.onnx.failed", tmp_path, passed=False))
    printed = capsys.readouterr()
    text = "".join((printed.out + printed.err).split())
    assert text.count("proveitonmore(--prove-images),orallowmore(--most-loss)") == 2
