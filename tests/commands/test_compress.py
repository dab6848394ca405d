import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.cli.app import main
from eml.errors import ConfigError, OutputError


@pytest.mark.wide
def test_a_kept_choice_is_a_checkpoint_that_every_command_obeys(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test, out = pipeline / "dataset_test.csv", tmp_path / "small"
    words = ["compress", pipeline / "run", "--data", test, "--keep", "pca-8-int8", "--size", 8, "--out", out]
    assert main([*map(str, words), "--plot", str(tmp_path / "plot.png"), "--show-all"]) == 0
    shown = capsys.readouterr()
    assert "pca-8-int8" in shown.out
    assert f"{out} gives the embeddings of pca-8-int8: 8 numbers, rounded to int8." in shown.out
    assert "8 bytes per image is what a database takes that stores whole numbers or bits" in shown.out
    assert f"next: eml evaluate {out} --data {test} --out {out}_evaluations" in shown.err
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert eml.load(out).size == 8
    assert not (out / "calibration.json").exists()

    facts = json.loads((out / "metrics.json").read_text())
    evaluated = eml.evaluate(out, data=test, out=tmp_path / "again", report=False)
    assert evaluated.results[0].metrics["map_at_r"] == pytest.approx(facts["dataset_test/map_at_r"])
    with pytest.raises(ConfigError, match="is compressed already"):
        eml.compress(out, data=test, fit=pipeline)


def test_ways_are_measured_against_the_embeddings_as_they_are(
    pipeline: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    printed = printed_json("compress", pipeline / "run", "--data", pipeline / "dataset_test.csv", "--size", 8)
    assert printed["fit"] == {"table": str(pipeline / "folds.csv"), "images": 20, "images_of_this_table": 0}
    assert [way["bytes_per_image"] for way in printed["choices"] if way["name"].startswith("pca-8")] == [16, 8, 1, 1]
    assert printed["choices"][0]["difference"] == 0
    assert printed["kept"] is None


def test_what_cannot_be_kept_is_an_error_before_anything_is_written(pipeline: Path, tmp_path: Path) -> None:
    run, test, out = pipeline / "run", pipeline / "dataset_test.csv", tmp_path / "small"
    with pytest.raises(ConfigError, match=r"comparing again is a way to search.*allowed: smallest, float32"):
        eml.compress(run, data=test, keep="binary-reranked", out=out)
    assert not out.exists()
    with pytest.raises(ConfigError, match="`keep` and `out` go together"):
        eml.compress(run, data=test, keep="smallest")
    with pytest.raises(ConfigError, match="`sizes` must be from 1 to"):
        eml.compress(run, data=test, sizes=100_000)
    with pytest.raises(ConfigError, match="has no checkpoint folder to compress"):
        eml.compress("timm:test_resnet", data=test, fit=test)
    out.mkdir()
    with pytest.raises(OutputError, match="exists; give another `out`"):
        eml.compress(run, data=test, keep="smallest", out=out)
    with pytest.raises(OutputError, match="exists and is no checkpoint"):
        eml.compress(run, data=test, keep="smallest", out=out, overwrite=True)


def test_a_checkpoint_outside_a_run_needs_images_to_learn_from(pipeline: Path, tmp_path: Path) -> None:
    import shutil

    from eml.models.pointers import find_checkpoint

    folder = shutil.copytree(find_checkpoint(pipeline / "run"), tmp_path / "alone")
    with pytest.raises(ConfigError, match="it is in no run folder") as caught:
        eml.compress(folder, data=pipeline / "dataset_test.csv")
    assert caught.value.parameter == "fit"
