import re
from pathlib import Path

import pytest

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from tests.exporting.families import PAGE, REAL, export_row, images_of_classes, networks


def test_the_page_has_a_row_of_each_family() -> None:
    rows = re.findall(r"^\| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == ["network", *networks(), REAL]


@pytest.mark.wide
@pytest.mark.parametrize("name", networks())
def test_a_network_of_each_family_is_exported_as_the_page_says(name: str, tmp_path: Path) -> None:
    row = export_row(name, images_of_classes(tmp_path / "images"), tmp_path)
    line = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |"))
    size, numbers, proof, _, _ = row.facts
    assert f"| {size} | {numbers} | {proof} |" in line
    assert proof == "passed" or row.reason in PAGE.read_text(encoding="utf-8")
