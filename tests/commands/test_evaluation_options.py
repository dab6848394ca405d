"""The configs of evaluate and calibrate name the options of the library."""

from dataclasses import fields

from eml.commands.calibrate import CalibrateConfig
from eml.commands.evaluate import EvaluateConfig
from eml.evaluation.calibration import CalibrationOptions
from eml.evaluation.options import EvaluationOptions


def test_the_options_of_the_library_are_those_of_the_commands() -> None:
    """`evaluate` and `calibrate` pass their fields on; one that is added to a config alone would end in a bug."""
    evaluation = {field.name for field in fields(EvaluationOptions)}
    assert evaluation == EvaluateConfig.model_fields.keys() - {"report"}
    calibration = {field.name for field in fields(CalibrationOptions)}
    assert calibration == CalibrateConfig.model_fields.keys() - {"plot"}
