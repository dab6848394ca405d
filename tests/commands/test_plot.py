from collections.abc import Callable
from pathlib import Path
from typing import Any

import eml
from eml.commands.plot import PlotResult


def test_plot_returns_the_best_values_and_what_json_prints(
    pipeline: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    result = eml.plot(pipeline / "run", out=tmp_path / "plot.png")
    assert isinstance(result, PlotResult)
    assert result.runs["run"].epoch == 1
    assert printed_json("plot", pipeline / "run", "--out", tmp_path / "plot.png") == result.to_dict()
