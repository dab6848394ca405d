"""`eml evaluate` of embeddings made elsewhere: what it writes, shows and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from eml.cli.app import main


def run(*arguments: object) -> int:
    return main([str(each) for each in arguments])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.array(["a", "b", "c", "d"]), 5)
    made = []
    for folder, noise in (("one", 0.1), ("two", 3.0)):
        (tmp_path / folder).mkdir()
        rows = np.repeat(np.eye(4, 8), 5, 0) + noise * random.standard_normal((20, 8))
        made.append(tmp_path / folder / "e.npz")
        np.savez(made[-1], embeddings=rows, label=labels)
    return made


def test_several_models_are_compared_each_in_a_folder_of_its_own(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", *files[::-1], "--out", tmp_path / "out", "--save-embeddings", "--json") == 0
    out, err = capfd.readouterr()
    told = json.loads(out)["evaluations"]
    assert [each["checkpoint"] for each in told] == [str(files[1]), str(files[0])]
    assert told[0]["metrics"]["map_at_r"] < told[1]["metrics"]["map_at_r"] == 1
    values = [line.split()[-3] for line in err.splitlines() if line.rstrip().endswith(" 8")]
    assert values == ["1.0000", f"{told[0]['metrics']['map_at_r']:.4f}"], "the best comes first"
    for folder, each in zip(("two-e", "one-e"), told, strict=True):
        written = json.loads((tmp_path / "out" / folder / "embeddings" / "metrics.json").read_text())
        assert written == each
        again = np.load(tmp_path / "out" / folder / "embeddings" / "embeddings.npz")
        assert again["label"].tolist() == ["a"] * 5 + ["b"] * 5 + ["c"] * 5 + ["d"] * 5


def test_what_is_missing_is_told(files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", files[0]) == 2
    assert "has no run folder to write into; say where with --out FOLDER" in capfd.readouterr().err
    assert run("evaluate", "timm:test_resnet", "--out", tmp_path) == 2
    assert "say on which pictures: --data TABLE" in capfd.readouterr().err
    assert run("evaluate", files[0], "--out", tmp_path / "out", "--within", "camera") == 2
    assert "has no column 'camera'; it has label, file_name" in capfd.readouterr().err
