"""docs/tables.md: its error is real, in a table that says the sizes of its images and in one that does not."""

import re
import shlex
from pathlib import Path

import pytest

from eml.cli.app import main
from eml.dataset.table import read_table
from eml.errors import DataError
from tests.docs.blocks import PAGES, read_page
from tests.docs.prepared import draw_rows

pytestmark = pytest.mark.slow

MESSAGE = r"`(boxes\.csv:3: [^`]+)`"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's table of boxes with one that is too wide, its config beside it, and its images of 60 × 40 pixels."""
    monkeypatch.chdir(tmp_path)
    Path("shelf").mkdir()
    for block in read_page("tables.md").blocks:
        if block.title in ("shelf/boxes.csv", "shelf/config.yaml"):
            Path(block.title).write_text(block.text)
            if block.language == "csv":
                draw_rows(block)
    table = tmp_path / "shelf" / "boxes.csv"
    text = table.read_text()
    assert "mug,1.jpg,30,0,60,40" in text
    table.write_text(text.replace("mug,1.jpg,30,0,60,40", "mug,1.jpg,30,0,90,40"))
    return table


def told() -> str:
    (message,) = re.findall(MESSAGE, PAGES["tables.md"].read_text(encoding="utf-8"))
    return str(message)


def test_the_pages_error_is_real(table: Path) -> None:
    rows = table.read_text().splitlines()
    known = [f"{row},{'width,height' if n == 0 else '60,40'}" for n, row in enumerate(rows)]
    table.with_name("sized.csv").write_text("\n".join(known) + "\n")
    with pytest.raises(DataError) as error:
        read_table(table.with_name("sized.csv"))
    assert error.value.problems == [f"{table.parent}/{told().replace('boxes', 'sized')}"]


def test_the_same_error_is_told_by_train_where_the_table_has_no_sizes(
    table: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for line in ("train shelf/config.yaml", "evaluate timm:test_resnet --weights none --data shelf/boxes.csv --out x"):
        assert main(shlex.split(line)) == 2
        assert f"shelf/{told()}" in capfd.readouterr().err
    assert not Path("shelf/run").exists()
