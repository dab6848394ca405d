"""Remote packed files: the same images as in local ones, by few requests, and of one version alone."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import eml
from eml.dataset.scanning.scan import scan_folder
from eml.images.decode import ImageError, has_transparency, read, shown_size
from eml.images.packed.contents import UnusableError
from eml.images.packed.members import contents_of, is_member, member_digest, member_state, split_member
from eml.images.packed.opened_files import opened_files
from eml.images.source import FileSource
from eml.storage import RemotePath, list_objects, listing, object_blocks
from tests.packed_files import arrow_table, jpeg, write_arrow, write_parquet, write_tar
from tests.storage.stores import FaultyStore, faulty_store, refuse, vanish

ROOT = RemotePath("memory://ds")
FILES = {
    f"{label}/{number:02}.jpg": jpeg(17 * number + ord(label[0])) for label in ("cat", "dog") for number in range(30)
}


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A folder of packed files of all kinds, with a loose image beside."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    rows, root = list(FILES.items()), tmp_path / "ds"
    write_tar(root / "a" / "plain.tar", rows[:20])
    members = [own for n, (_, data) in enumerate(rows[20:40]) for own in ((f"{n}.jpg", data), (f"{n}.cls", b"bird"))]
    write_tar(root / "a" / "web.tar", members)
    data = write_tar(root / "a" / "cut.tar", rows[20:30]).read_bytes()
    (root / "a" / "cut.tar").write_bytes(data[: len(data) // 2 + 100])
    (root / "a" / "no.tar").write_bytes(b"no tar file")
    table = arrow_table([(None, data) for _, data in rows[40:]], ["cat", "dog"], label=[0] * 5 + [1] * 15)
    stored = {"compression": "none", "use_dictionary": False, "row_group_size": 8}
    write_parquet(root / "b" / "train-00000-of-00002.parquet", table.slice(0, 10), **stored)
    write_parquet(root / "b" / "test-00001-of-00002.parquet", table.slice(10), compression="snappy")
    files = {"a/gone.tar": {"bytes": 5}, "a/plain.tar": {"bytes": 10**9}, "a/web.tar": {"bytes": 5}}
    (root / "eml-pack.json").write_text(json.dumps({"files": files}))
    (root / "cat").mkdir()
    (root / "cat" / "loose.jpg").write_bytes(jpeg(9))
    return root


@pytest.fixture
def store(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EML_REMOTE_CACHE_SIZE", raising=False)
    with faulty_store() as store:
        for path in filter(Path.is_file, local.rglob("*")):
            store.pipe(f"/ds/{path.relative_to(local).as_posix()}", path.read_bytes())
        yield store
    as_another_process()


def as_another_process() -> None:
    """Forget what this process knows, opened and read."""
    listing.forget_all()
    opened_files._reset()
    object_blocks._memory._reset()


def test_a_remote_packed_folder_gives_the_tables_of_the_local_one(
    store: FaultyStore, local: Path, tmp_path: Path
) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    for source, out in ((local, near), (ROOT, far)):
        result = eml.scan(source, out=out)
        assert result.facts.images > 50
        eml.split(out / "dataset_info.csv", by="ratio", test_ratio=0.4, near=False)
    names = sorted(path.name for path in near.glob("*.csv"))
    assert {"dataset_info.csv", "dataset_errors.csv", "dataset_train.csv"} <= set(names)
    for name in names:
        assert (far / name).read_bytes() == (near / name).read_bytes()
    assert store.requests.total() == 6 + 2  # a block of each packed file, the loose image, and the list of the pack
    eml.scan(ROOT, out=far)
    assert store.requests.total() == 6 + 3


def test_without_a_cache_a_remote_packed_folder_gives_the_same_table(
    store: FaultyStore, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EML_REMOTE_CACHE_SIZE", "0")
    near, far = scan_folder(local, workers=1), scan_folder(ROOT, workers=1)
    assert far.table.to_csv() == near.table.to_csv()
    assert far.errors.to_csv() == near.errors.to_csv()
    assert store.requests.total() == 6 + 2


def test_images_are_read_for_training_by_requests_of_blocks_and_not_of_images(store: FaultyStore, local: Path) -> None:
    names = [f"a/plain.tar/{name}" for name in list(FILES)[:20]]
    names += [f"b/train-00000-of-00002.parquet/{row:08}" for row in range(10)]
    near, far = FileSource(local, names), FileSource(ROOT, names)
    store.requests.clear()
    store.asked.clear()
    for _ in range(3):
        far.fetch(range(len(names)))
        for row in range(len(names)):
            expected, image = near.whole(row, (4, 4)), far.whole(row, (4, 4))
            np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
    assert store.requests.total() == 2  # a block of each packed file
    assert store.asked.total() == 2  # after each block, whether it is of the version
    as_another_process()
    far = FileSource(ROOT, names)
    assert store.asked.total() == 4  # a source looks at the versions
    for row in range(len(names)):
        far.whole(row, (4, 4))
    assert (store.requests.total(), store.asked.total()) == (2, 4)


def test_a_path_into_a_remote_packed_file_is_read_like_a_file(store: FaultyStore, local: Path) -> None:
    name = "a/plain.tar/cat/01.jpg"
    assert read(ROOT / name) == read(local / name) == jpeg(17 + ord("c"))
    assert (shown_size(ROOT / name), has_transparency(ROOT / name)) == ((12, 8), False)
    assert member_digest(ROOT / name) == member_digest(local / name)
    assert (state := member_state(ROOT / name)) is not None
    assert state.size == len(jpeg(17 + ord("c")))
    assert split_member(f"{ROOT}/{name}") == split_member(ROOT / name) == (f"{ROOT}/a/plain.tar", "cat/01.jpg")
    assert not is_member(ROOT / "a/plain.tar/cat/none.jpg")
    store.pipe("/ds/x.tar/cat/1.jpg", jpeg(3))  # a folder that is called so
    assert split_member(ROOT / "x.tar/cat/1.jpg") is None
    assert read(ROOT / "x.tar/cat/1.jpg") == jpeg(3)


def test_a_replaced_packed_file_gives_an_error_and_then_its_new_images(store: FaultyStore, tmp_path: Path) -> None:
    members = [(f"cat/{number}.jpg", jpeg(number) + bytes(40_000)) for number in range(60)]
    old = write_tar(tmp_path / "old.tar", members).read_bytes()
    new = write_tar(tmp_path / "new.tar", members[::-1]).read_bytes()
    assert len(old) == len(new) > 2 * object_blocks.BLOCK
    store.pipe("/ds/a/big.tar", old)
    path = ROOT / "a/big.tar"
    list_objects(ROOT)
    assert read(path / "cat/0.jpg") == members[0][1]
    object_blocks._memory._reset()
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file() and file.stat().st_size > 2**19:
            file.unlink()
    store.pipe("/ds/a/big.tar", new)
    for number in (50, 0):
        with pytest.raises(ImageError, match="replaced while it was read"):
            read(path / f"cat/{number}.jpg")
    source = FileSource(ROOT, ["a/big.tar/cat/0.jpg"])  # the listing is of the last minute
    with pytest.raises(ImageError, match="replaced while it was read"):
        source.data(source.path(0))
    list_objects(ROOT)
    assert read(path / "cat/50.jpg") == members[50][1]


@pytest.mark.parametrize("fault, reason", [(vanish, "missing"), (refuse(99), "unreadable")])
def test_a_packed_file_that_is_gone_or_refused_is_an_error_of_its_images(
    store: FaultyStore, tmp_path: Path, fault: Callable[[int, bytes], bytes], reason: str
) -> None:
    store.faults["plain.tar"] = fault
    with pytest.raises(ImageError) as caught:
        read(ROOT / "a/plain.tar/cat/01.jpg")
    assert caught.value.reason == reason
    scan = eml.scan(ROOT, out=tmp_path / "tables").scan
    problems = dict(zip(scan.errors["file_name"], scan.errors["reason"], strict=True))
    assert problems["a/plain.tar"] == "unreadable"
    assert scan.table["file_name"].str.startswith("a/web.tar/").sum() == 20


def test_arrow_files_are_refused_with_what_to_do(store: FaultyStore, tmp_path: Path) -> None:
    path = write_arrow(tmp_path / "a.arrow", arrow_table([(None, jpeg(1))]))
    store.pipe("/ds/a.arrow", path.read_bytes())
    with pytest.raises(UnusableError, match=r"read from local folders alone: copy the folder here, or have it as"):
        contents_of(ROOT / "a.arrow")
