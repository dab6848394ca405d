"""What is the user's in the folder of packed files, beside it and around it stays, and damage there is no bug."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.dataset.packing.pack import PackWork
from eml.dataset.packing.place import packed_already
from eml.dataset.packing.plan import PackPlan, plan_pack
from eml.dataset.table import read_table
from eml.errors import OutputError
from tests.packed_files import jpeg, write_files

FILES = {f"{label}/{number}.jpg": jpeg(60 * row + number) for row, label in enumerate("ab") for number in range(2)}
PACKED = "data/train-00000-of-00001.tar"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> PackPlan:
    root = write_files(tmp_path_factory.mktemp("place") / "photos", FILES)
    eml.scan(root, workers=1)
    return plan_pack(read_table(root / "dataset_info.csv"), "tar", 10**6, "train")


@pytest.fixture(scope="module")
def packed_once(plan: PackPlan) -> Path:
    out = plan.table.root.with_name("packed")
    finish(plan, out)
    return out


@pytest.fixture
def packed(tmp_path: Path, packed_once: Path) -> Path:
    return Path(shutil.copytree(packed_once, tmp_path / "packed"))


def finish(plan: PackPlan, out: Path, *, replace: bool = False) -> None:
    work = PackWork(plan, out)
    work.begin()
    work.finish([work.done(0) or work.write(0)], "eml pack", replace=replace)


def pack(plan: PackPlan, out: Path, **options: Any) -> None:
    eml.pack(plan.table.root, out, format="tar", **options)


@pytest.mark.parametrize("name", ["data/mine.txt", "data/train-00009-of-00010.tar", "data/notes/mine.txt", "README.md"])
def test_replacing_refuses_files_of_the_user_and_names_them(plan: PackPlan, packed: Path, name: str) -> None:
    (packed / name).parent.mkdir(exist_ok=True)
    (packed / name).write_text("mine")
    (packed / PACKED).write_bytes(b"cut")
    with pytest.raises(OutputError, match=name.removesuffix("/mine.txt") if "notes" in name else name) as caught:
        pack(plan, packed, overwrite=True)
    assert (caught.value.code, (packed / name).read_text()) == ("folder-not-empty", "mine")


def test_a_page_that_was_edited_is_kept_and_our_own_is_replaced(tmp_path: Path, plan: PackPlan) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    out = tmp_path / "packed"
    parquet = plan_pack(plan.table, "parquet", 10**6, "train")
    finish(parquet, out)
    finish(parquet, out, replace=True)
    with (out / "README.md").open("a") as file:
        file.write("My licence.")
    with pytest.raises(OutputError, match=r"README\.md, which was changed"):
        pack(plan, out, overwrite=True)
    assert (out / "README.md").read_text().endswith("My licence.")


@pytest.mark.parametrize("name, told", [("dataset_info.csv", ", which was changed,"), ("dataset_train.csv", "")])
def test_a_table_that_is_the_users_is_kept(plan: PackPlan, packed: Path, name: str, told: str) -> None:
    with (packed / name).open("a") as file:
        file.write("mine,1\n")
    (packed / PACKED).write_bytes(b"cut")
    with pytest.raises(OutputError, match=f"holds {name}{told} beside the packed images"):
        pack(plan, packed, overwrite=True)
    assert (packed / name).read_text().endswith("mine,1\n")


def test_what_came_while_images_were_packed_is_kept(plan: PackPlan, packed: Path) -> None:
    (packed / "data" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        finish(plan, packed, replace=True)
    with pytest.raises(OutputError, match="other packed images"):
        finish(plan, packed)
    assert PackWork(plan, packed).done(0) is not None  # nothing is packed twice


def test_a_packed_file_that_was_damaged_before_the_pack_went_on_is_written_again(
    tmp_path: Path, plan: PackPlan
) -> None:
    work = PackWork(plan, tmp_path / "out")
    work.begin()
    shard = work.write(0)
    file = work.folder / PACKED
    whole = file.read_bytes()
    file.write_bytes(whole)  # another time, the same bytes
    os.utime(file, (1, 1))
    assert PackWork(plan, tmp_path / "out").done(0) == shard
    file.write_bytes(whole[:-1] + b"x")
    os.utime(file, (2, 2))
    assert PackWork(plan, tmp_path / "out").done(0) is None
    finish(plan, tmp_path / "out")
    assert (tmp_path / "out" / PACKED).read_bytes() == whole


@pytest.mark.parametrize("name", ["mine.txt", "plan.json", "data/mine.txt"])
def test_a_hidden_folder_of_the_user_is_refused(tmp_path: Path, plan: PackPlan, name: str) -> None:
    write_files(tmp_path / ".out.eml-pack", {name: b'{"my": "plan"}'})
    with pytest.raises(OutputError, match="was not made by it"):
        finish(plan, tmp_path / "out")
    assert (tmp_path / ".out.eml-pack" / name).exists()


def test_a_hidden_folder_of_a_killed_run_is_taken(tmp_path: Path, plan: PackPlan, packed: Path) -> None:
    (tmp_path / ".out.eml-pack" / ".done").mkdir(parents=True)
    write_files(tmp_path / ".out.eml-pack", {".eml-tmp-0a1b2c3d-plan.json": b"{"})
    PackWork(plan, tmp_path / "out").begin()
    write_files(tmp_path / ".out.eml-pack" / "data", {".eml-tmp-0a1b2c3d-train-00000-of-00001.tar": b"half"})
    finish(plan, tmp_path / "out")
    assert not list((tmp_path / "out").glob(".eml-tmp-*"))
    assert [path.name for path in (tmp_path / "out" / "data").iterdir()] == ["train-00000-of-00001.tar"]
    packed.rename(tmp_path / ".two.eml-pack")
    finish(plan, tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "two"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_leads_to_the_folder_that_is_made(tmp_path: Path, plan: PackPlan, there: bool) -> None:
    target, link = tmp_path / "disk" / "target", tmp_path / "link"
    if there:
        target.mkdir(parents=True)
    link.symlink_to(target)
    finish(plan, link)
    assert link.is_symlink()
    assert packed_already(plan, target) is not None
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_link_to_itself_is_refused_before_packing(tmp_path: Path, plan: PackPlan) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with pytest.raises(OutputError, match="leads to itself"):
        pack(plan, tmp_path / "link")


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"plan": "PLAN"}', '{"plan": "PLAN", "files": []}', "ESCAPING"])
def test_a_damaged_list_is_an_error_with_a_code(plan: PackPlan, packed: Path, text: str) -> None:
    facts = json.dumps({"plan": plan.digest, "files": {"../../x": {}}})
    (packed / "eml-pack.json").write_text(facts if text == "ESCAPING" else text.replace("PLAN", plan.digest))
    with pytest.raises(OutputError, match=r"damaged eml-pack\.json") as caught:
        pack(plan, packed, overwrite=True)
    assert caught.value.code == "folder-not-empty"


@pytest.mark.parametrize("text", ["[]", "{}", '{"file": "../x", "images": 1, "bytes": 2, "digest": "", "left_out": 3}'])
def test_a_damaged_record_lets_the_file_be_packed_again(tmp_path: Path, plan: PackPlan, text: str) -> None:
    work = PackWork(plan, tmp_path / "out")
    work.begin()
    work.write(0)
    (work.folder / ".done" / "00000.json").write_text(text)
    assert work.done(0) is None


def test_a_packed_file_that_was_changed_at_its_size_is_made_again(plan: PackPlan, packed: Path) -> None:
    data = (packed / PACKED).read_bytes()
    (packed / PACKED).write_bytes(data[:600] + b"X" + data[601:])
    assert packed_already(plan, packed) is None
    with pytest.raises(OutputError, match="were changed"):
        pack(plan, packed)
    pack(plan, packed, overwrite=True)
    assert (packed / PACKED).read_bytes() == data


def test_neither_lies_in_the_other(tmp_path: Path, plan: PackPlan, packed: Path) -> None:
    photos = plan.table.root
    for dataset in (photos, photos / "dataset_info.csv"):
        with pytest.raises(OutputError, match="photos-packed") as caught:
            eml.pack(dataset, photos / "packed", format="tar")
        assert caught.value.code == "inside-dataset"
    for dataset, out in ((photos, photos.parent), (packed, packed)):
        with pytest.raises(OutputError, match="which is packed, lies in it"):
            eml.pack(dataset, out, format="tar", overwrite=True)


def test_a_table_of_ones_own_is_packed_into_the_folder_it_lies_in(tmp_path: Path) -> None:
    write_files(tmp_path / "images", FILES)
    (tmp_path / "own.csv").write_text("file_name,label\n" + "".join(f"images/{name},{name[0]}\n" for name in FILES))
    assert eml.pack(tmp_path / "own.csv", tmp_path / "packed", format="tar").images == len(FILES)
