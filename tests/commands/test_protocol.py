"""`eml protocol`: tables, counts, preset and what the later commands make of them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eml
from eml.cli.app import main
from eml.commands.protocol import NAMES
from eml.config import load
from eml.dataset.protocol_notes import protocol_note
from eml.dataset.protocols import Protocol
from eml.dataset.table import read_table
from eml.errors import ConfigError, DataError, OutputError
from eml.training.config import RunConfig
from tests.dataset.protocol_layouts import LAYOUTS

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")


def test_the_help_names_every_protocol() -> None:
    assert sorted(Protocol.members()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_protocol_writes_tables_that_read_and_a_preset_that_loads(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    result = eml.protocol(name, LAYOUTS[name](folder), out=tmp_path / "out", read=False)
    tables = [path for path in result.written if re.fullmatch(r"dataset_(?!errors).*\.csv", path.name)]
    for path in tables:
        assert read_table(path, check_files=True).root == result.root
        note = protocol_note(path)
        assert note is not None
        assert (note.type, note.recall_at) == (name, Protocol.members()[name].recall_at)
    assert result.unusable == 0
    assert result.note.differences, "a miniature copy has not the official counts"
    config = tmp_path / "out" / "config.yaml"
    if not Protocol.members()[name].preset:
        assert not config.exists()
        return
    run = load(RunConfig, config)
    assert run.data.table == tmp_path / "out" / "dataset_train.csv"
    assert (run.recipe, run.data.fold) == ("none", None)
    assert getattr(run.model.neck, "size", None) == 512
    assert result.next_command == f"eml train {config}"


def test_the_page_lists_every_protocol_with_its_licence() -> None:
    for name in NAMES:
        member = Protocol.members()[name]
        assert f"| `{name}` |" in PAGE
        assert member.licence in PAGE
        if member.recall_at:
            assert f"R@{','.join(map(str, member.recall_at))}" in PAGE


def test_counts_stand_beside_the_official_ones(
    tmp_path: Path, printed_json: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS["cub200"](tmp_path)
    (tmp_path / "CUB_200_2011" / "images" / "102.Bird_102" / "Bird_0001.jpg").write_bytes(b"no image")
    assert main(["protocol", "cub200", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert re.search(r"test images +3 +5,924", shown.out)
    assert "test images 3 (officially 5,924)" in shown.err
    assert "1 image is missing or cannot be read, and left out: see dataset_errors.csv" in shown.err
    assert f"next: eml train {tmp_path}/config.yaml" in shown.err
    assert f"eml evaluate {tmp_path}/run --data {tmp_path}/dataset_test.csv" in shown.err
    assert pd.read_csv(tmp_path / "dataset_errors.csv")["reason"].tolist() == ["not_an_image"]
    facts = printed_json("protocol", "cub200", tmp_path)
    assert facts["protocol"]["counted"]["test images"] == 3
    assert "test images 3 (officially 5,924)" in facts["differences"]
    assert list(pd.read_csv(tmp_path / "dataset_test.csv"))[:4] == ["label", "file_name", "width", "height"]


def test_boxes_are_cut_at_their_images(tmp_path: Path) -> None:
    LAYOUTS["cub200"](tmp_path)
    result = eml.protocol("cub200", tmp_path, boxes=True)
    assert result.remarks == ("boxes that reach out of their images, cut at the border: 1",)
    frame = read_table(tmp_path / "dataset_train.csv").frame
    assert frame[["x_1", "y_1", "x_2", "y_2"]].to_numpy().tolist()[:2] == [[4, 2, 40, 13], [4, 2, 25, 13]]


def test_a_config_that_is_there_is_kept(tmp_path: Path) -> None:
    LAYOUTS["sop"](tmp_path)
    (tmp_path / "config.yaml").write_text("output: mine\ndata: {table: dataset_train.csv}\n")
    result = eml.protocol("sop", tmp_path, read=False)
    assert f"kept: {tmp_path}/config.yaml, which was there" in result.messages
    assert "mine" in (tmp_path / "config.yaml").read_text()
    assert result.later_commands == (f"eml evaluate {tmp_path}/mine --data {tmp_path}/dataset_test.csv",)
    (tmp_path / "dataset_train.csv").write_text("label,file_name\n")
    with pytest.raises(OutputError, match="exists and was changed since eml wrote it"):
        eml.protocol("sop", tmp_path, read=False)


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown `protocol` 'cub' .did you mean 'cub200'... known: cars196, cub200"):
        eml.protocol("cub", tmp_path)
    with pytest.raises(ConfigError, match="`boxes`: sop has none; these have: cars196, cub200"):
        eml.protocol("sop", tmp_path, boxes=True)
    with pytest.raises(ConfigError, match="`boxes` are cut at their images' borders, which needs `read`"):
        eml.protocol("cub200", tmp_path, boxes=True, read=False)
    with pytest.raises(DataError, match="no such folder"):
        eml.protocol("cub200", tmp_path / "nowhere")


def evaluated(data: Path, *options: str) -> dict[str, Any]:
    """Return metrics.json of an untrained network on a table."""
    out = data.parent / "result"
    words = ["evaluate", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--data", str(data)]
    assert main([*words, "--out", str(out), "--no-report", *options]) == 0
    facts: dict[str, Any] = json.loads((out / data.stem / "metrics.json").read_text())
    return facts


def test_evaluate_measures_by_the_protocol_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["in_shop"](tmp_path)
    eml.protocol("in_shop", tmp_path)
    facts = evaluated(tmp_path / "dataset_test.csv")
    shown = capsys.readouterr()
    ks = [key for key in facts["metrics"] if key.startswith("recall_at_")]
    assert ks == [f"recall_at_{k}" for k in (1, 10, 20, 30, 40)]
    assert facts["protocol"] == "query/gallery"
    assert set(ks) <= set(facts["intervals"])
    assert re.search(r"R@40 +1\.000", shown.out)
    assert f"protocol in_shop, as {tmp_path}/dataset_test.csv says: R@1,10,20,30,40" in shown.err
    assert "is not the official in_shop: test classes 2 (officially 3,985); queries 2 (officially 14,218)" in shown.err
    given = evaluated(tmp_path / "dataset_test.csv", "--recall-at", "3")
    assert [key for key in given["metrics"] if key.startswith("recall_at_")] == ["recall_at_1", "recall_at_3"]


def test_evaluate_leaves_out_the_camera_of_the_query(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["market1501"](tmp_path)
    eml.protocol("market1501", tmp_path)
    facts = evaluated(tmp_path / "dataset_test.csv")
    assert "--leave-out-same camera" in capsys.readouterr().err
    assert facts["protocol"].startswith("query/gallery")
    assert "camera" in facts["protocol"]
    assert facts["unknown_images"] == 1
    assert facts["queries"] == 2


def test_evaluate_verifies_the_pairs_of_the_table_in_their_folds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS["lfw"](tmp_path)
    result = eml.protocol("lfw", tmp_path)
    assert result.next_command is None
    assert {"test same pairs": 2, "test different pairs": 2, "test folds": 2}.items() <= (
        result.note.counted or {}
    ).items()
    facts = evaluated(tmp_path / "dataset_test.csv")
    assert f"--pairs {tmp_path}/pairs_test.csv" in capsys.readouterr().err
    assert (facts["verification"]["same_pairs"], facts["verification"]["different_pairs"]) == (2, 2)
    assert 0 <= facts["verification"]["fold_accuracy"] <= 1


def test_evaluate_verifies_pairs_of_templates(tmp_path: Path) -> None:
    LAYOUTS["ijbc"](tmp_path)
    eml.protocol("ijbc", tmp_path)
    facts = evaluated(tmp_path / "dataset_test.csv")
    assert (facts["verification"]["same_pairs"], facts["verification"]["different_pairs"]) == (1, 2)
    assert facts["images"] == 5
