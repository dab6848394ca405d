"""docs/tables.md: its tables are read, its configs load, its commands run, its error is real."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.cli.app import main
from eml.dataset.table import read_table
from eml.errors import DataError

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parent.parent / "docs" / "tables.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's tables and configs, and 60 × 40 images for all that the tables name."""
    random = np.random.default_rng(0)
    for kind, name, text in BLOCKS:
        if kind in ("csv", "yaml"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        mark = ";" if ";" in text.partition("\n")[0] else ","
        for row in csv.DictReader(text.splitlines(), delimiter=mark) if kind == "csv" else ():
            file_name = row.get("file_name") or row.get("path") or f"{row['species']}/{row['id']}.jpg"
            image = tmp_path / Path(name).parent / file_name
            image.parent.mkdir(exist_ok=True)
            noise = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((60, 40), Image.Resampling.BICUBIC).save(image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_of_the_page_runs(folder: Path) -> None:
    commands = [line for kind, _, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    assert {line.split()[1] for line in commands} == {"kfold", "train", "evaluate", "merge", "split"}
    for line in commands:
        assert main(shlex.split(line)[1:]) == 0, line
    merged = read_table(folder / "both" / "dataset_merged.csv", check_files=True)
    assert sorted(set(merged.frame["label"])) == ["boxes:mug", "boxes:tea", "mine:007", "mine:boot"]
    assert set(read_table(folder / "oml" / "dataset_test.csv").frame["label"]) == {"3", "4"}


def test_the_pages_error_is_real(folder: Path) -> None:
    (told,) = re.findall(r"`(boxes\.csv:3: [^`]+)`", PAGE)
    table = folder / "shelf" / "boxes.csv"
    table.write_text(table.read_text().replace("mug,1.jpg,30,0,60,40", "mug,1.jpg,30,0,90,40"))
    rows = table.read_text().splitlines()
    known = [f"{row},{'width,height' if n == 0 else '60,40'}" for n, row in enumerate(rows)]
    table.with_name("sized.csv").write_text("\n".join(known) + "\n")
    with pytest.raises(DataError) as error:
        read_table(table.with_name("sized.csv"))
    assert error.value.problems == [f"{folder}/shelf/{told.replace('boxes', 'sized')}"]


def test_the_same_error_is_told_by_train_where_the_table_has_no_sizes(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (told,) = re.findall(r"`(boxes\.csv:3: [^`]+)`", PAGE)
    table = folder / "shelf" / "boxes.csv"
    table.write_text(table.read_text().replace("mug,1.jpg,30,0,60,40", "mug,1.jpg,30,0,90,40"))
    for line in ("train shelf/config.yaml", "evaluate timm:test_resnet --weights none --data shelf/boxes.csv --out x"):
        assert main(shlex.split(line)) == 2
        assert f"shelf/{told}" in capfd.readouterr().err
    assert not (folder / "shelf" / "run").exists()
