import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eml
from eml.cli.app import main
from eml.commands.calibrate import CalibrateConfig
from eml.commands.evaluate import EvaluateConfig, EvaluateResult
from eml.dataset.column_map import ColumnMap
from eml.errors import EmlError
from eml.evaluation.calibration import CalibrationOptions
from eml.evaluation.options import EvaluationOptions


def test_evaluate_returns_the_metrics_and_what_json_prints(
    pipeline: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    test = pipeline / "dataset_test.csv"
    result = eml.evaluate(pipeline / "run", data=test, out=tmp_path / "out", report=False)
    assert isinstance(result, EvaluateResult)
    assert 0 <= result.results[0].metrics["map_at_r"] <= 1
    assert f"<td>MAP@R</td><td>{result.results[0].metrics['map_at_r']:.3f} (" in result._repr_html_()
    assert "few for intervals over classes" in result.cautions()[0]
    frame = result.to_pandas().set_index("metric").loc["map_at_r"]
    interval = result.results[0].analysis.intervals["map_at_r"]
    assert (frame["value"], frame["low"], frame["high"]) == pytest.approx(
        (result.results[0].metrics["map_at_r"], interval.low, interval.high)
    )
    words = ("evaluate", pipeline / "run", "--data", test, "--out", tmp_path / "out", "--no-report")
    assert printed_json(*words) == result.to_dict()


def test_several_models_are_a_list(pipeline: Path, tmp_path: Path) -> None:
    models = [pipeline / "run", "timm:test_resnet"]
    result = eml.evaluate(models, data=pipeline, out=tmp_path, weights="none", image_size=32, report=False)
    assert [model.model for model in result.results] == [str(models[0]), models[1]]
    columns, rows = result.summary_table()
    assert list(columns[:3]) == ["model", "table", "R@1"]
    assert [row[0] for row in rows] == [str(models[0]), models[1]]
    assert list(result.to_pandas()["model"].unique()) == [row[0] for row in rows]


def test_no_images_to_evaluate_on_is_an_error_that_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(EmlError) as caught:
        eml.evaluate("timm:test_resnet", out=tmp_path)
    assert caught.value.parameter == "data"


SHARDED = {"shards", "shard", "executor", "executor_options", "address"}


def test_the_options_of_the_library_are_those_of_the_commands() -> None:
    """`evaluate` and `calibrate` pass their fields on; one that is added to a config alone would end in a bug."""
    columns = {field.name for field in fields(ColumnMap)}  # these go on together, as `columns`
    for options, config, kept in (
        (EvaluationOptions, EvaluateConfig, {"report", "map", "fold", "plugins"} | SHARDED),
        (CalibrationOptions, CalibrateConfig, {"plot", "from_folds", "plugins"} | SHARDED),
    ):
        names = {field.name for field in fields(options)}
        assert columns <= config.model_fields.keys()
        assert names - {"columns"} == config.model_fields.keys() - kept - columns


def test_the_way_in_which_a_model_embeds_is_recorded_and_shown(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, test = Path(shutil.copytree(pipeline / "run", tmp_path / "run")), pipeline / "dataset_test.csv"
    eml.calibrate(run, data=pipeline / "dataset_info.csv", pair_far=0.2)
    words = (
        "evaluate",
        run,
        "--data",
        test,
        "--out",
        tmp_path / "out",
        "--tta",
        "flip",
        "--precision",
        "bfloat16",
        "--no-report",
    )
    assert main([*map(str, words)]) == 0
    printed = capsys.readouterr()
    assert "run (bfloat16, tta flip)\n" in printed.out.replace("\n(", " (")
    mismatch = "precision float32, not bfloat16; tta none, not flip"
    assert f"its calibration is of {mismatch}, and is not applied" in " ".join(printed.err.split())
    facts = json.loads((tmp_path / "out/dataset_test/metrics.json").read_text())
    fingerprint = eml.load(run, precision="bfloat16", tta="flip").fingerprint
    assert facts["fingerprint"] == fingerprint.digest
    assert (facts["weights"], facts["precision"], facts["tta"]) == (fingerprint.weights, "bfloat16", "flip")
    assert facts["calibration_mismatch"] == mismatch
    assert facts["acceptance"] is None
    plain = eml.evaluate(run, data=test, out=tmp_path / "plain", report=False).to_dict()["evaluations"][0]
    assert plain["fingerprint"] == eml.load(run).fingerprint.digest
    assert plain["acceptance"]
    assert plain["calibration_mismatch"] is None


def test_weights_of_a_file_are_recorded_by_their_digest(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = eml.load("timm:test_resnet", weights="none", image_size=32)
    file, out = tmp_path / "weights.pth", tmp_path / "out"
    torch.save({f"module.{name}": value for name, value in model.embedder.backbone.state_dict().items()}, file)
    words = ("evaluate", "timm:test_resnet", "--data", pipeline, "--image-size", 32, "--weights", file, "--out", out)
    assert main([*map(str, words), "--no-report"]) == 0
    told = "".join(capsys.readouterr().err.split())  # long paths are broken
    assert f"--weights:thenamesin{file}beginwithmodule.,whichwastakenaway" in told
    (metrics,) = out.rglob("metrics.json")
    facts = json.loads(metrics.read_text())
    assert (facts["weights"], facts["fingerprint"]) == (model.fingerprint.weights, model.fingerprint.digest)


def test_precision_and_tta_need_a_model_that_embeds(pipeline: Path, tmp_path: Path) -> None:
    file = tmp_path / "made.npz"
    np.savez(file, embeddings=np.eye(4, dtype=np.float32), label=list("aabb"), file_name=list("1234"))
    with pytest.raises(EmlError) as caught:
        eml.evaluate(file, out=tmp_path / "out", tta="flip", precision="bfloat16")
    assert {problem.parameter for problem in caught.value.problems} == {"tta", "precision"}
    assert caught.value.code == "conflicting-settings"
