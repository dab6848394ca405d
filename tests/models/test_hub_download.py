"""`hf-hub:OWNER/NAME` as a checkpoint: what is not there is told, before and after asking the hub."""

from pathlib import Path

import pytest

import eml
from eml.errors import CheckpointError, ConfigError
from eml.models.hub_download import downloaded_folder


def test_offline_and_not_in_the_cache_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="is not in the cache") as caught:
        eml.load("hf-hub:somebody/products")
    assert caught.value.code == "weights-unavailable"


@pytest.mark.parametrize("name", ["hf-hub:products/", "hf-hub:a/b/c", "hf-hub:a b/c"])
def test_a_name_that_none_can_have_is_told(name: str) -> None:
    with pytest.raises(CheckpointError, match="write hf-hub:OWNER/NAME") as caught:
        downloaded_folder(name)
    assert caught.value.code == "no-checkpoint"


def test_no_calibration_is_written_into_the_cache(tmp_path: Path) -> None:
    from eml.evaluation.calibration import checkpoint_to_calibrate

    with pytest.raises(ConfigError, match="has no folder to keep a threshold in") as caught:
        checkpoint_to_calibrate("hf-hub:somebody/products")
    assert caught.value.parameter == "checkpoint"
