from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.commands.init import InitResult
from eml.config import load
from eml.errors import ConfigError, OutputError


def test_init_returns_the_values_and_what_json_prints(
    photos: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    out = tmp_path / "run.yaml"
    result = eml.init(photos, out=out, backbone="test_resnet", weights="none")
    assert isinstance(result, InitResult)
    assert load(eml.RunConfig, out).model.backbone == "test_resnet"
    assert result.next_command == f"eml train {out}"
    words = ("init", photos, "--out", out, "--backbone", "test_resnet", "--weights", "none", "--overwrite")
    assert printed_json(*words) == result.to_dict()


def test_what_is_wrong_names_the_parameter(photos: Path) -> None:
    with pytest.raises(OutputError) as caught:
        eml.init(photos)
    assert (caught.value.code, caught.value.parameter) == ("file-exists", "overwrite")
    with pytest.raises(ConfigError) as refused:
        eml.init(photos, weights=photos / "gone.pth", overwrite=True)
    assert (refused.value.code, refused.value.parameter) == ("missing-file", "weights")
