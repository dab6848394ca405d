"""A table of the user's own enters at any command, and what is written from it is eml's own."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eml
from eml.cli.app import main
from eml.commands.options import COLUMN_MAP
from eml.config import load
from eml.dataset.pipeline import resolve
from eml.errors import EmlError
from eml.training.data import table_to_train_on

OWN: dict[str, Any] = {
    "file_column": "Image",
    "label_column": "Species",
    "path_prefix": "{Species}/",
    "path_suffix": ".jpg",
}


@pytest.fixture
def own(images: Path) -> Path:
    """A table with other columns, semicolons, and ids for names."""
    names = sorted(path.relative_to(images) for path in images.rglob("*.jpg"))
    rows = "".join(f"{name.stem};{name.parent};{name.stem}\n" for name in names)
    (images / "own.csv").write_text(f"Image;Species;camera\n{rows}", encoding="utf-8")
    return images / "own.csv"


def test_commands_of_data_read_it_and_write_their_own_form(own: Path, tmp_path: Path) -> None:
    filtered = eml.filter(own, min_per_class=2, out=tmp_path / "f", **OWN)
    assert list(filtered.filtered.kept.columns) == ["camera", "file_name", "label"]
    assert (filtered.next_command or "").startswith(f"eml split {tmp_path}/f --by ratio")
    eml.split(tmp_path / "f", by="ratio")  # needs no option any more
    for command, words in ((eml.split, {"by": "ratio"}), (eml.kfold, {"k": 2})):
        result = command(own, out=tmp_path / command.__name__, **words, **OWN)
        table = resolve(result.written[0], "train")
        assert table.frame["file_name"].str.fullmatch(r"class \d/\d\.jpg").all()
    report = eml.report(own, out=tmp_path, **OWN)
    assert all("--file-column Image --label-column Species" in line for line in report.suggestions if str(own) in line)
    assert any(str(own) in line for line in report.suggestions)


def test_a_config_made_of_it_reads_it_alike(own: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    eml.init(own, out=config, weights="none", **OWN)
    data = load(eml.RunConfig, config).data
    assert {name: getattr(data, name) for name in COLUMN_MAP} == OWN | {"strip_prefix": None, "match_names": False}
    frame = table_to_train_on(data, task="closed").frame
    assert frame["label"].nunique() == 4
    assert frame["fold"].nunique() == 5
    listed = tmp_path / "l.yaml"
    listed.write_text(f"output: r\ndata: {{table: [{own}, {own}], file_column: Image}}\n")
    with pytest.raises(EmlError, match="file_column is for a single table; write the entries of a list as"):
        load(eml.RunConfig, listed)


def test_the_command_line_says_which_options_read_it(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["kfold", str(own)]) == 2
    assert "Set --file-column Image --label-column Species" in capfd.readouterr().err.replace("\n", " ")
    assert main(["kfold", str(own), "--file-column", "Image", "--label-column", "Species"]) == 2
    message = "With --path-prefix '{label}/' and --path-suffix .jpg all 24 would be found"
    assert message in capfd.readouterr().err.replace("\n", " ")
    assert main(["kfold", str(own.parent), "--file-column", "Image"]) == 2
    assert "--file-column goes with a table" in capfd.readouterr().err


def test_several_tables_may_be_of_both_kinds(own: Path, tmp_path: Path) -> None:
    half = pd.read_csv(own, sep=";", dtype=str)
    for name, part in (("train", half.iloc[::2]), ("test", half.iloc[1::2])):
        part.to_csv(own.with_name(f"{name}.csv"), sep=";", index=False)
    eml.kfold(own.with_name("test.csv"), k=2, out=tmp_path, **OWN)
    merged = eml.merge([own.with_name("train.csv"), tmp_path / "folds.csv"], out=tmp_path / "m", **OWN)
    assert len(merged.merged.table.frame) == 24
    audited = eml.audit(own.with_name("train.csv"), tmp_path / "folds.csv", same_classes=True, **OWN)
    assert len(audited.tables) == 2
