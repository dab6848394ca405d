from collections.abc import Callable
from pathlib import Path
from typing import Any

import eml
from eml.commands.report import ReportResult


def test_report_returns_the_numbers_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    result = eml.report(photos)
    assert isinstance(result, ReportResult)
    assert result.written == (photos / "data_report.html",)
    assert "images" in result._repr_html_()
    assert printed_json("report", photos) == result.to_dict()
