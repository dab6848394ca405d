import tomllib
from pathlib import Path

import pytest

import eml
from eml.cli.app import main
from eml.commands.doctor import EXTRAS


def test_doctor_lists_versions_devices_and_extras(capsys: pytest.CaptureFixture[str]) -> None:
    result = eml.doctor(hub=False)
    assert {"eml", "torch", "devices", "cores", "memory", "free disk here", "extras found"} <= set(result.facts)
    assert "model hub" not in result.facts
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("model hub ")] == [
        f"{'model hub':<{max(map(len, result.facts))}}  off (HF_HUB_OFFLINE)"
    ]


def test_doctor_knows_every_extra_that_a_user_can_install() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(EXTRAS) == set(project["project"]["optional-dependencies"]) - {"dev", "databases"}
