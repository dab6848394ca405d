"""A column `content` that does not fit the files is not believed."""

import hashlib
import os
from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.image_keys import image_keys
from eml.dataset.recorded_content import current_content, has_content, sizes_differ
from eml.dataset.table import Table, read_table, write_table
from eml.evaluation.trained_overlap import OverlapCounter
from eml.files import digest
from eml.models.trained_on import trained_on

NAMES = [f"{number:02}.png" for number in range(20)]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Twenty files and their table as eml writes it, older than nothing."""
    for name in NAMES:
        (tmp_path / name).write_bytes(f"image {name}".encode())
    return written(tmp_path, [digest(tmp_path / name) for name in NAMES])


def written(root: Path, content: list[str]) -> Table:
    frame = pd.DataFrame({"label": "x", "file_name": NAMES, "content": content})
    frame["bytes"] = [(root / name).stat().st_size for name in NAMES]
    write_table(frame, root / "dataset_info.csv", command="eml scan x", root=root)
    return read_table(root / "dataset_info.csv")


def replaced(table: Table, name: str, data: bytes, seconds: float = 60) -> None:
    """Write a file anew, some time after the table."""
    path = table.root / name
    path.write_bytes(data)
    time = table.source.stat().st_mtime + seconds
    os.utime(path, (time, time))


def test_images_that_were_overwritten_with_trained_ones_count_as_trained_on(table: Table) -> None:
    trained = [b"trained on, and longer", b"trained 0123"]
    others = table.root.with_name("trained")
    others.mkdir()
    for number, data in enumerate(trained):
        (others / f"{number}.png").write_bytes(data)
    rows = pd.DataFrame({"label": "y", "file_name": ["0.png", "1.png"]})
    record = trained_on(["y"], image_keys(Table(rows, others), rows))
    replaced(table, "03.png", trained[0], seconds=-3600)  # told by its size
    replaced(table, "05.png", trained[1])  # of the size of the image before, told by its time
    assert (table.root / "05.png").stat().st_size == table.frame["bytes"][5]
    lines: list[str] = []
    overlap = OverlapCounter(report=lines.append).count(record, table, table.frame)
    assert (overlap.images, overlap.of_images, overlap.classes) == (2, 20, 1)
    assert lines == [
        f"warning: {table.name}: is older than 2 of its images (the first: '03.png'), which were read again. "
        "Run eml scan again, and what came after it"
    ]


def test_a_table_made_of_the_scan_later_is_as_old_as_the_scan(table: Table) -> None:
    replaced(table, "05.png", b"trained 0123", seconds=0.0)
    path = table.root / "dataset_train.csv"
    write_table(table.frame, path, command="eml split x", root=table.root, inputs=[table.source])
    os.utime(table.root / "05.png", None)
    later = read_table(path)
    assert current_content(later, later.frame)[5] == digest(table.root / "05.png") != table.frame["content"][5]


def test_a_copied_data_set_is_not_said_to_have_changed(table: Table) -> None:
    for name in NAMES:
        os.utime(table.root / name, (2**31, 2**31))
    lines: list[str] = []
    assert current_content(table, table.frame, lines.append).tolist() == table.frame["content"].tolist()
    assert lines == []


@pytest.mark.parametrize("with_sidecar", [False, True])
def test_another_hash_of_the_users_own_is_ignored_and_the_files_are_read(table: Table, with_sidecar: bool) -> None:
    right = table.frame["content"].tolist()
    table = written(table.root, [hashlib.md5((table.root / name).read_bytes()).hexdigest() for name in NAMES])
    if not with_sidecar:  # with one, an eml command carried the column along
        (table.root / "dataset_info.csv.eml.json").unlink()
        table = read_table(table.source)
    lines: list[str] = []
    assert has_content(table.frame).all()
    assert current_content(table, table.frame, lines.append).tolist() == right
    assert lines == [
        f"warning: {table.name}: its column 'content' is not the hash of the files as eml takes it (the first that "
        "differs: '00.png'). It is ignored, and the files are read"
    ]


def test_files_that_are_not_there_keep_what_the_column_says(table: Table) -> None:
    for name in NAMES[1:]:
        (table.root / name).unlink()
    assert current_content(table, table.frame).tolist() == table.frame["content"].tolist()
    assert current_content(table, table.frame.drop(columns=["content"])).tolist() == [""] * 20
    assert sizes_differ(table.root, NAMES, [0.0] * 20) == ["00.png"]
    assert sizes_differ(table.root, NAMES[:1], [float("nan")]) == []
