"""`eml train --preview`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.cli.app import main
from eml.config import dump
from eml.dataset.table import Table
from eml.training.config import RunConfig
from eml.training.preview import preview
from tests.training.runs import changed

pytestmark = pytest.mark.slow


def test_a_preview_shows_the_training_images_of_spread_classes(config: RunConfig, table: Table) -> None:
    config = changed(config, augment={"type": "standard", "flip": 0})
    made = preview(config, table, rows=8, draws=3)
    assert len(made.rows) == 8
    assert {row.label for row in made.rows} == {f"c{number}" for number in range(5)}
    held_out = set(table.frame.loc[table.frame["fold"] == 0, "file_name"])
    names = {row.file_name for row in made.rows}
    assert len(names) == 8
    assert not names & held_out
    for row in made.rows:
        assert row.plain.shape == (32, 32, 3)
        assert len({each.tobytes() for each in [row.plain, *row.drawn]}) == 4
        assert all(abs(each.mean() - row.plain.mean()) < 60 for each in row.drawn)
    again = preview(config, table, rows=8, draws=3)
    for row, other in zip(made.rows, again.rows, strict=True):
        np.testing.assert_array_equal(row.drawn, other.drawn)


def test_without_augmentation_every_draw_is_what_evaluation_sees(config: RunConfig, table: Table) -> None:
    for row in preview(changed(config, augment={"type": "none"}), table).rows:
        assert all(np.array_equal(each, row.plain) for each in row.drawn)


def test_mixed_images_are_shown_mixed(config: RunConfig, table: Table) -> None:
    rows = preview(changed(config, augment={"type": "none"}, mix={"type": "cutmix"}), table).rows
    drawn = [(row.plain, each) for row in rows for each in row.drawn]
    assert any(not np.array_equal(plain, each) for plain, each in drawn)
    for plain, each in drawn:
        pasted = [np.where((each == plain).all(-1, keepdims=True), plain, other.plain) for other in rows]
        assert any(np.array_equal(each, made) for made in pasted)


def test_the_command_writes_a_sheet_beside_the_config_and_makes_no_run(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump(config))
    assert main(["train", str(path), "--preview", "--json"]) == 0
    shown = capsys.readouterr()
    assert f"wrote {tmp_path / 'preview.png'}" in shown.err
    assert json.loads(shown.out)["preview"] == str(tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as sheet:
        assert sheet.width > 8 * 96
    assert not config.output.exists()
    assert main(["train", str(path), "--preview", "--set", "augment.type=products"]) == 0
    assert f"replaced {tmp_path / 'preview.png'}" in capsys.readouterr().err
    before = path.read_bytes()
    for arguments, message in (
        (["--preview", "--out", str(path)], "the name of the file must end in"),
        (["--out", "x.png"], "--out is for the sheet of --preview"),
    ):
        assert main(["train", str(path), *arguments]) == 2
        assert message in capsys.readouterr().err
    assert path.read_bytes() == before
