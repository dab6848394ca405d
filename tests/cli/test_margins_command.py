import json

import pytest

from eml.cli.app import main
from eml.margins import Margin


def test_margins_lists_every_margin_with_formula_defaults_and_paper(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["margins", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["margins"]
    assert set(listed) == set(Margin.members())
    assert listed["cosface"] == {
        "formula": "c − m",
        "defaults": {"m": 0.35},
        "scale": 64.0,
        "paper": "Wang 2018, arXiv:1801.09414",
    }
    assert main(["margins"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["cosface"]]
    assert line.split() == ["cosface", "c", "−", "m", "m", "0.35", "64.0", "Wang", "2018,", "arXiv:1801.09414"]
