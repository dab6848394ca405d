"""The sidecar says which command wrote a table, from what, and where its images are, also after a move."""

import os
from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.sidecar import read_sidecar, sidecar_path, sources, written_by_eml
from eml.dataset.table import read_table, write_table
from eml.errors import OutputError
from eml.files import write_text
from tests.dataset.test_table import ROWS, csv, images, problems


def test_the_sidecar_says_where_the_images_are(tmp_path: Path) -> None:
    root, inside, elsewhere = tmp_path / "images", tmp_path / "images" / "tables", tmp_path / "out"
    images(root, "a/1.jpg", "b/1.jpg")
    frame = read_table(csv(root)).frame
    for folder, recorded in ((root, "."), (inside, ".."), (tmp_path, "images"), (elsewhere, str(root.resolve()))):
        write_table(frame, folder / "x.csv", command="eml scan", root=root)
        sidecar = read_sidecar(folder / "x.csv")
        assert sidecar is not None
        assert sidecar.root == recorded
        assert read_table(folder / "x.csv", check_files=True).root.resolve() == root.resolve()
    moved = tmp_path / "moved"
    root.rename(moved)
    assert read_table(moved / "x.csv", check_files=True).root == moved
    assert "the folder of its images, " in problems(elsewhere / "x.csv", check_files=True)[0]
    assert read_table(elsewhere / "x.csv", moved, check_files=True).root == moved


def test_images_and_tables_that_were_moved_together_find_each_other(tmp_path: Path) -> None:
    root, out = tmp_path / "one" / "images", tmp_path / "one" / "out"
    images(root, "a/1.jpg", "b/1.jpg")
    table = read_table(csv(root))
    write_table(table.frame, out / "x.csv", command="eml filter", root=root, inputs=[table.source])
    (tmp_path / "one").rename(tmp_path / "two")
    moved = tmp_path / "two" / "out" / "x.csv"
    assert read_table(moved, check_files=True).root == tmp_path / "two" / "images"
    assert [(path.parent, changed) for _, path, changed in sources(moved)] == [(tmp_path / "two" / "images", False)]
    csv(tmp_path / "two" / "images", ROWS + "c,c.jpg\n")
    assert [changed for _, _, changed in sources(moved)] == [True]


def test_the_sidecar_has_the_command_and_the_digests_of_what_was_read(tmp_path: Path) -> None:
    source = csv(tmp_path, name="source.csv")
    table = read_table(source)
    write_table(table.frame, tmp_path / "x.csv", command="eml filter x", root=tmp_path, inputs=[source], notes={"n": 1})
    sidecar = read_sidecar(tmp_path / "x.csv")
    assert sidecar is not None
    assert (sidecar.command, sidecar.notes, [i["path"] for i in sidecar.inputs]) == (
        "eml filter x",
        {"n": 1},
        ["source.csv"],
    )
    assert [changed for _, _, changed in sources(tmp_path / "x.csv")] == [False]
    csv(tmp_path, ROWS + "c,c.jpg\n", "source.csv")
    assert [changed for _, _, changed in sources(tmp_path / "x.csv")] == [True]
    source.unlink()
    assert [changed for _, _, changed in sources(tmp_path / "x.csv")] == [False]


def test_a_damaged_sidecar_is_reported(tmp_path: Path) -> None:
    path = csv(tmp_path)
    sidecar_path(path).write_text("{")
    assert problems(path)[0].startswith(f"{path}.eml.json: cannot be read as a sidecar of this version of eml")


def test_a_kill_between_sidecar_and_table_leaves_a_table_that_is_still_emls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"label": ["a"], "file_name": ["1.jpg"]})
    write_table(frame, path, command="eml scan", root=tmp_path)
    before = path.read_bytes()
    moved: list[str] = []
    replace = Path.replace

    def stop_at_the_table(self: Path, target: Path) -> Path:
        moved.append(Path(target).name)
        if Path(target) == path:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_the_table)
    with pytest.raises(KeyboardInterrupt):
        write_table(frame.assign(label="b"), path, command="eml scan", root=tmp_path)
    monkeypatch.undo()
    assert moved == ["t.csv.eml.json", "t.csv"]
    assert path.read_bytes() == before
    assert written_by_eml(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.csv.eml.json"]


def test_a_name_as_long_as_the_system_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".json")
    write_text(path, "{}")
    assert path.read_text() == "{}"
    assert list(tmp_path.iterdir()) == [path]
    assert read_sidecar(path) is None, "its name would be too long"
    assert read_sidecar(path / "t.csv") is None, "nothing is in a file"


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="pipe: cannot be written: it is a device or a pipe"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()
