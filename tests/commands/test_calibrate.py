import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.commands.calibrate import CalibrateResult
from eml.errors import EmlError


def test_calibrate_returns_the_threshold_and_what_json_prints(
    pipeline: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    run = Path(shutil.copytree(pipeline / "run", tmp_path / "run"))
    table = pipeline / "dataset_info.csv"
    result = eml.calibrate(run, data=table, pair_far=0.2)
    assert isinstance(result, CalibrateResult)
    assert eml.load(run).threshold == result.threshold
    assert printed_json("calibrate", run, "--data", table, "--pair-far", 0.2) | {"created": ""} == result.to_dict() | {
        "created": ""
    }


def test_a_goal_is_needed(pipeline: Path) -> None:
    with pytest.raises(EmlError, match="no goal is given; give one goal: `far`"):
        eml.calibrate(pipeline / "run", data=pipeline)
