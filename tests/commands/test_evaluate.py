from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import eml
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
    assert "MAP@R" in result._repr_html_()
    words = ("evaluate", pipeline / "run", "--data", test, "--out", tmp_path / "out", "--no-report")
    assert printed_json(*words) == result.to_dict()


def test_several_models_are_a_list(pipeline: Path, tmp_path: Path) -> None:
    models = [pipeline / "run", "timm:test_resnet"]
    result = eml.evaluate(models, data=pipeline, out=tmp_path, weights="none", image_size=32, report=False)
    assert [model.model for model in result.results] == [str(models[0]), models[1]]


def test_no_images_to_evaluate_on_is_an_error_that_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(EmlError) as caught:
        eml.evaluate("timm:test_resnet", out=tmp_path)
    assert caught.value.parameter == "data"


def test_the_options_of_the_library_are_those_of_the_commands() -> None:
    """`evaluate` and `calibrate` pass their fields on; one that is added to a config alone would end in a bug."""
    columns = {field.name for field in fields(ColumnMap)}  # these go on together, as `columns`
    for options, config, kept in (
        (EvaluationOptions, EvaluateConfig, {"report"}),
        (CalibrationOptions, CalibrateConfig, {"plot"}),
    ):
        names = {field.name for field in fields(options)}
        assert columns <= config.model_fields.keys()
        assert names - {"columns"} == config.model_fields.keys() - kept - columns
