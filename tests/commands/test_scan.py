from collections.abc import Callable
from pathlib import Path
from typing import Any

import eml
from eml.commands.scan import ScanResult


def test_scan_returns_its_table_and_what_json_prints(images: Path, printed_json: Callable[..., dict[str, Any]]) -> None:
    result = eml.scan(images)
    assert isinstance(result, ScanResult)
    assert len(result.table.frame) == 24
    assert repr(result) == f"ScanResult(24 images of 4 classes, 0 unusable files, {images}/dataset_info.csv)"
    assert result.next_command == f"eml filter {images} --dedup"
    assert printed_json("scan", images, "--reread") == result.to_dict()


def test_scan_writes_the_page_of_report_too(images: Path) -> None:
    assert eml.scan(images, report=True).written[-1] == images / "data_report.html"
    assert (images / "data_report.html").is_file()
