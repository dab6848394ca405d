import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.cli.app import main
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


def test_a_page_of_an_older_table_is_removed_and_one_of_the_same_table_stays(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = images / "data_report.html"
    eml.scan(images, report=True)
    assert eml.scan(images, reread=True).removed_files == ()
    assert page.exists()
    shutil.copy(next(images.rglob("*.jpg")), images / "class 0" / "new.jpg")
    assert main(["scan", str(images)]) == 0
    assert f"removed {page}, which an earlier command wrote" in capsys.readouterr().err
    assert not page.exists()
    assert not page.with_name(f"{page.name}.eml.json").exists()
    page.write_text("the user's own")
    eml.scan(images)
    assert page.exists()
