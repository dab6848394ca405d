import json
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


def test_a_calibration_belongs_to_the_way_in_which_the_model_embeds(pipeline: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pipeline / "run", tmp_path / "run"))
    table = pipeline / "dataset_info.csv"
    calibration = eml.calibrate(run, data=table, pair_far=0.2, tta="flip").result.calibration
    flipped, plain = eml.load(run, tta="flip"), eml.load(run)
    assert calibration.fingerprint == flipped.fingerprint
    assert flipped.threshold == calibration.threshold.value
    assert repr(flipped.calibration).startswith("<Calibration on 32 images: threshold ")
    assert plain.calibration is None
    assert plain.calibration_mismatch == "tta flip, not none"
    with pytest.raises(EmlError, match=r"its calibration is of tta flip, not none\. Load it so") as caught:
        plain.matches(pipeline / "class 0/0.jpg", pipeline / "class 0/1.jpg")
    assert caught.value.code == "not-calibrated"


def test_a_calibration_that_records_no_fingerprint_is_of_the_usual_way(pipeline: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pipeline / "run", tmp_path / "run"))
    path = eml.calibrate(run, data=pipeline / "dataset_info.csv", pair_far=0.2).written[0]
    facts = json.loads(path.read_text())
    del facts["fingerprint"]
    path.write_text(json.dumps(facts))
    assert eml.load(run).calibration is not None
    assert eml.load(run, tta="flip").calibration_mismatch == "tta none, not flip"
    assert eml.load(run, precision="bfloat16").calibration_mismatch == "precision float32, not bfloat16"
