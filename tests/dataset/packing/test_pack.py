"""Packed files: whole or not there, the same for the same input, and taken up again where a run was stopped."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eml
from eml.dataset.packing import pack as packing
from eml.dataset.packing.pack import PackWork
from eml.dataset.packing.place import packed_already
from eml.dataset.packing.plan import PackPlan, plan_pack
from eml.dataset.table import Table, read_table
from eml.errors import DataError, OutputError
from eml.files import digest
from tests.packed_files import jpeg, write_files

FILES = {
    f"{label}/{number}.{suffix}": jpeg(17 * number + 60 * row, (20 + number, 16), form)
    for row, label in enumerate(("ant", "bee", "cat"))
    for number, (suffix, form) in enumerate([("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("jpg", "JPEG")])
}
FORMATS = [
    "tar",
    pytest.param("parquet", marks=pytest.mark.skipif("not __import__('importlib').util.find_spec('pyarrow')")),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Table:
    root = write_files(tmp_path_factory.mktemp("source"), FILES)
    eml.scan(root, workers=1)
    return read_table(root / "dataset_info.csv")


def plan(table: Table, format_: Any = "tar", most: int = 2_000) -> PackPlan:
    return plan_pack(table, format_, most, "train")


def run(plan: PackPlan, out: Path, *, leave_out: bool = False) -> None:
    work = PackWork(plan, out, leave_out=leave_out)
    work.begin()
    work.finish(
        [work.done(number) or work.write(number) for number in range(len(plan.shards))], "eml pack", replace=False
    )


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".eml.json"))
    return {str(path.relative_to(folder)): digest(path) for path in files}


@pytest.mark.parametrize("format_", FORMATS)
def test_a_scan_of_what_was_packed_gives_the_table_that_was_packed(tmp_path: Path, source: Table, format_: str) -> None:
    run(plan(source, format_), tmp_path / "packed")
    own = read_table(tmp_path / "packed" / "dataset_info.csv", check_files=True)
    scanned = eml.scan(tmp_path / "packed", out=tmp_path, workers=1)
    assert scanned.scan.errors.empty
    pd.testing.assert_frame_equal(own.frame, read_table(tmp_path / "dataset_info.csv").frame)
    names = own.frame["file_name"].str.split("/", n=2).str[2]
    names = names.astype(source.frame["file_name"].dtype)
    pd.testing.assert_frame_equal(own.frame.assign(file_name=names), source.frame)
    assert len(set(own.frame["file_name"].str.split("/").str[1])) > 2


@pytest.mark.parametrize("format_", FORMATS)
def test_a_stopped_run_goes_on_and_any_run_gives_the_same_bytes(tmp_path: Path, source: Table, format_: str) -> None:
    packed = plan(source, format_)
    run(packed, tmp_path / "one")
    work = PackWork(packed, tmp_path / "two")
    work.begin()
    for number in (2, 0):
        work.write(number)
    (work.folder / packed.file(0)).write_bytes(b"cut")
    assert not (tmp_path / "two").exists()
    written = {number for number in range(len(packed.shards)) if work.done(number) is not None}
    assert written == {2}
    run(plan(source, format_), tmp_path / "two")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert packed_already(packed, tmp_path / "two") is not None


def test_a_run_with_another_plan_begins_anew(tmp_path: Path, source: Table) -> None:
    work = PackWork(plan(source), tmp_path / "out")
    work.begin()
    work.write(0)
    other = PackWork(plan(source, most=4_000), tmp_path / "out")
    other.begin()
    assert other.done(0) is None
    assert not list((other.folder / "data").iterdir())


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, source: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    work = PackWork(plan(source), tmp_path / "out")
    work.begin()
    work.write(0)

    def fail(plan: PackPlan, images: Any, path: Path) -> None:
        path.write_bytes(next(images)[1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing, "write_tar", fail)
    with pytest.raises(OutputError, match="No space left"):
        work.write(1)
    assert [path.name for path in (work.folder / "data").iterdir()] == [Path(work.plan.file(0)).name]
    assert work.done(0) is not None


def test_images_that_cannot_be_read_are_refused_or_left_out_and_listed(tmp_path: Path) -> None:
    root = write_files(tmp_path / "photos", FILES)
    eml.scan(root, workers=1)
    (root / "bee/1.png").write_bytes(b"no image at all")
    (root / "cat/0.jpg").write_bytes(jpeg(250))
    packed = plan(read_table(root / "dataset_info.csv"))
    with pytest.raises(DataError) as caught:
        run(packed, tmp_path / "out")
    assert "bee/1.png" in str(caught.value) or "cat/0.jpg" in str(caught.value)
    assert caught.value.problems[-1].parameter == "leave_out"
    run(packed, tmp_path / "out", leave_out=True)
    errors = pd.read_csv(tmp_path / "out" / "pack_errors.csv")
    assert errors["file_name"].tolist() == ["bee/1.png", "cat/0.jpg"]
    assert errors["reason"].tolist() == ["not_an_image", "unreadable"]
    table = read_table(tmp_path / "out" / "dataset_info.csv", check_files=True)
    assert len(table.frame) == len(FILES) - 2
    assert eml.scan(tmp_path / "out", out=tmp_path, workers=1).facts.images == len(FILES) - 2


def test_images_that_are_gone_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = write_files(tmp_path / "photos", FILES)
    eml.scan(root, workers=1)
    table = read_table(root / "dataset_info.csv")
    Path(root / "ant/0.jpg").unlink()
    with pytest.raises(DataError, match="no such image"):
        plan(table)


def test_images_stay_as_they_are_and_columns_lie_beside_them(tmp_path: Path, source: Table) -> None:
    import json
    import tarfile

    frame = source.frame.assign(fold=range(len(source.frame)), note=["é", *[None] * (len(source.frame) - 1)])
    run(plan(Table(frame, source.root, source.path), most=10**6), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "data" / "train-00000-of-00001.tar") as file:
        members = {member.name: file.extractfile(member).read() for member in file}  # type: ignore[union-attr]
        assert {(member.mtime, member.uid, member.uname) for member in file} == {(0, 0, "")}
    assert {name: members[name] for name in FILES} == FILES
    assert (members["bee/0.cls"], json.loads(members["ant/0.json"])["note"]) == (b"1", "é")
    assert "note" not in json.loads(members["bee/0.json"])
    scanned = eml.scan(tmp_path / "out", out=tmp_path, workers=1).table.frame
    assert scanned["fold"].tolist() == list(range(len(frame)))


def test_a_packed_data_set_can_be_packed_again_in_the_other_format(tmp_path: Path, source: Table) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    run(plan(source, "parquet"), tmp_path / "p")
    run(plan(read_table(tmp_path / "p" / "dataset_info.csv"), "tar"), tmp_path / "t")
    run(plan(source, "tar"), tmp_path / "t2")
    assert {name: value for name, value in digests(tmp_path / "t").items() if name.endswith(".tar")} == {
        name: value for name, value in digests(tmp_path / "t2").items() if name.endswith(".tar")
    }
