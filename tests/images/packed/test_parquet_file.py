"""Parquet files with images: every way of writing gives the same images, those of `eml pack` by one read each."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from eml.images.packed import parquet_file
from eml.images.packed.contents import NotPackedError, UnusableError
from eml.images.packed.parquet_file import ParquetFile
from eml.images.packed.random_access import LocalFile
from tests.packed_files import KeepingFile, arrow_table, write_parquet

IMAGES = [(f"c{number % 3}/{number}.jpg", bytes([number % 251]) * (50 + 3 * number)) for number in range(90)]


def opened(path: Path) -> ParquetFile:
    return ParquetFile(LocalFile(str(path), path.stat().st_size), lambda: str(path))


@pytest.mark.parametrize(
    "options, alone",
    [
        ({"compression": "none", "use_dictionary": False}, True),
        ({"compression": "none", "use_dictionary": False, "data_page_version": "2.0"}, True),
        ({"compression": "none", "use_dictionary": False, "data_page_size": 300, "write_batch_size": 4}, True),
        ({"compression": {"image.bytes": "none"}, "use_dictionary": ["label"], "write_statistics": False}, True),
        ({"compression": "none", "use_dictionary": False, "write_page_index": True}, True),
        ({"compression": "none", "use_dictionary": False, "write_page_checksum": True}, True),
        ({"compression": "none"}, False),  # with a dictionary
        ({"compression": "snappy"}, False),
        ({"compression": "zstd", "data_page_version": "2.0", "dictionary_pagesize_limit": 200}, False),
    ],
)
def test_images_are_the_same_however_the_file_was_written(tmp_path: Path, options: dict[str, Any], alone: bool) -> None:
    table = arrow_table(IMAGES, ["a", "b", "c"], label=[number % 3 for number in range(90)])
    file = opened(write_parquet(tmp_path / "a.parquet", table, row_group_size=40, **options))
    contents = file.contents()
    assert (contents.keys, contents.labels) == ([name for name, _ in IMAGES], ["a", "b", "c"] * 30)
    for name, data in IMAGES:
        assert file.read(name) == data
        assert file.size(name) == (len(data) if alone else None)  # those read alone say their size
        assert file.open(name).read() == data


def test_rows_without_paths_of_their_own_are_numbered(tmp_path: Path) -> None:
    for paths in ([None] * 3, ["a.jpg", "b.jpg", "a.jpg"], ["a.jpg", "../b.jpg", "c.jpg"], ["/x", "y", "z"]):
        images = [(path, bytes([number])) for number, path in enumerate(paths)]
        file = opened(write_parquet(tmp_path / "a.parquet", arrow_table(images)))
        assert file.contents().keys == ["00000000", "00000001", "00000002"]
        assert file.read("00000002") == b"\2"
        for key in ("00000003", "2", "0000000x", "-0000001", "a.jpg"):
            with pytest.raises(KeyError):
                file.read(key)


def test_a_row_without_bytes_is_missing_and_the_others_are_read(tmp_path: Path) -> None:
    for options in ({"compression": "none", "use_dictionary": False}, {}):
        table = arrow_table([("a", b"1"), ("b", None), ("c", b"3")])
        file = opened(write_parquet(tmp_path / "a.parquet", table, **options))
        assert (file.read("a"), file.read("c")) == (b"1", b"3")
        with pytest.raises(KeyError):
            file.read("b")


def test_labels_and_columns_are_plain_values_and_classes_have_names(tmp_path: Path) -> None:
    images = [(None, b"1"), (None, b"2"), (None, b"3")]
    columns = {"kind": ["x", None, "x"], "fold": [1, None, 2], "seen": [True, False, None], "tags": [[1], [2], [3]]}
    contents = opened(write_parquet(tmp_path / "a.parquet", arrow_table(images, label=["b", None, "a"], **columns)))
    found = contents.contents()
    assert found.labels == ["b", "", "a"]
    assert found.columns == {name: values for name, values in columns.items() if name != "tags"}
    none = opened(write_parquet(tmp_path / "b.parquet", arrow_table(images, ["x"], label=[0, -1, 5]))).contents()
    assert none.labels == ["x", "", ""]  # as datasets writes a test set without labels
    assert opened(write_parquet(tmp_path / "c.parquet", arrow_table(images))).contents().labels == [None] * 3


def test_a_plain_column_of_bytes_is_one_of_images_by_its_name(tmp_path: Path) -> None:
    import pyarrow

    file = opened(write_parquet(tmp_path / "a.parquet", pyarrow.table({"jpg": [b"1", b"22"], "cls": [3, 4]})))
    assert (file.contents().keys, file.contents().labels) == (["00000000", "00000001"], ["3", "4"])
    assert file.read("00000001") == b"22"


def test_a_table_of_names_holds_no_images(tmp_path: Path) -> None:
    import pyarrow

    with pytest.raises(NotPackedError):
        opened(write_parquet(tmp_path / "a.parquet", pyarrow.table({"file_name": ["a"], "label": ["b"]})))


def test_files_that_are_cut_or_damaged_say_so(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", arrow_table(IMAGES))
    whole = path.read_bytes()
    for data, reason in ((whole[: len(whole) // 2], "truncated"), (b"PAR1", "truncated"), (b"no", "unreadable")):
        path.write_bytes(data)
        with pytest.raises(UnusableError) as caught:
            opened(path)
        assert caught.value.reason == reason
    damaged = bytearray(whole)
    damaged[20:400] = bytes(380)
    path.write_bytes(damaged)
    file = opened(path)
    with pytest.raises((UnusableError, KeyError)):
        file.read("c0/0.jpg")


def test_a_dictionary_of_one_large_image_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "LARGEST_GROUP", 2_000_000)
    images: list[tuple[str | None, bytes | None]] = [(None, bytes(100_000))] * 500
    path = write_parquet(tmp_path / "a.parquet", arrow_table(images))
    assert path.stat().st_size < 50_000
    with pytest.raises(UnusableError, match="holds more than 2,000,000 bytes"):
        opened(path).read("00000000")


def test_row_groups_are_read_once_while_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(write_parquet(tmp_path / "a.parquet", arrow_table(IMAGES), row_group_size=30))
    groups: list[int] = []
    read = ParquetFile._read_group
    monkeypatch.setattr(ParquetFile, "_read_group", lambda self, group: groups.append(group) or read(self, group))
    for name, data in [*IMAGES, *IMAGES[::-1]]:
        assert file.read(name) == data
    assert groups == [0, 1, 2]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that are decompressed, in order."""
    groups: list[int] = []
    decode = ParquetFile._decoded
    monkeypatch.setattr(
        ParquetFile, "_decoded", lambda self, group, rows: groups.append(group) or decode(self, group, rows)
    )
    return groups


def test_images_of_a_row_group_that_would_be_too_large_are_listed_and_nothing_is_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    monkeypatch.setattr(parquet_file, "LARGEST_GROUP", 200_000)
    images = [*IMAGES[:2], ("bomb/1", bytes(90_000)), ("bomb/2", bytes(90_000))]
    table = arrow_table(images, label=["a", "b", "c", "d"])
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "row_group_size": 2}
    file = opened(write_parquet(tmp_path / "a.parquet", table, **options))
    contents = file.contents()
    assert (contents.keys, contents.labels) == ([name for name, _ in IMAGES[:2]], ["a", "b"])
    assert [(problem.key, problem.reason) for problem in contents.problems] == [
        ("bomb/1", "too_large"),
        ("bomb/2", "too_large"),
    ]
    for _ in range(3):
        with pytest.raises(UnusableError, match="its row group has 180,0"):
            file.read("bomb/1")
    assert decoded == []
    assert file.read(IMAGES[1][0] or "") == IMAGES[1][1]


def test_a_row_group_that_cannot_be_used_is_not_read_again_for_each_of_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    monkeypatch.setattr(parquet_file, "LARGEST_GROUP", 2_000_000)
    same = write_parquet(tmp_path / "a.parquet", arrow_table([(None, bytes(100_000))] * 50))
    file = opened(same)
    for key in file.contents().keys:
        with pytest.raises(UnusableError, match="holds more than 2,000,000 bytes"):
            file.read(key)
    assert decoded == [0], "a dictionary says how large a row group is only while it is decoded"
    options: dict[str, Any] = {"use_dictionary": False, "compression": "gzip", "write_statistics": False}
    path = write_parquet(tmp_path / "b.parquet", arrow_table(IMAGES), **options)
    damaged = bytearray(path.read_bytes())
    damaged[60:200] = bytes(140)
    path.write_bytes(damaged)
    file = opened(path)
    for name, _ in IMAGES[:5]:
        with pytest.raises(UnusableError):
            file.read(name)
    assert decoded == [0, 0, 0], "twice, since a disk may fail for a moment"


def test_all_row_groups_of_a_file_share_what_it_may_become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "LARGEST_GROUP", 1_000_000)
    images: list[tuple[str | None, bytes | None]] = [(None, bytes(100_000))] * 20
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "row_group_size": 1}
    contents = opened(write_parquet(tmp_path / "a.parquet", arrow_table(images), **options)).contents()
    assert (len(contents.keys), len(contents.problems)) == (0, 20)


def test_columns_that_are_too_long_are_left_out_and_labels_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "LONGEST_COLUMN", 50_000)
    images = [(f"{number}.jpg", bytes([number])) for number in range(9)]
    texts = [f"{number}{'x' * 9_000}" for number in range(9)]
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": False}
    table = arrow_table(images, label=list(range(9)), text=texts)
    contents = opened(write_parquet(tmp_path / "a.parquet", table, **options)).contents()
    assert (list(contents.columns), len(contents.labels)) == ([], 9)
    ((key, reason, detail),) = contents.problems
    assert (key, reason) == ("", "too_large")
    assert "its column 'text' has 81,0" in detail
    with pytest.raises(UnusableError, match="its column 'label' has 81,0"):
        opened(write_parquet(tmp_path / "b.parquet", arrow_table(images, label=texts), **options)).contents()
    names = [(name, b"1") for name in texts]
    numbered = opened(write_parquet(tmp_path / "c.parquet", arrow_table(names), **options)).contents()
    assert numbered.keys[0] == "00000000", "names that are too long are no keys"


def test_a_text_that_all_rows_have_counts_in_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "LONGEST_COLUMN", 50_000)
    images = [(f"{number}.jpg", bytes([number])) for number in range(9)]
    table = arrow_table(images, label=list(range(9)), text=["x" * 9_000] * 9, kind=["y" * 90] * 9)
    contents = opened(write_parquet(tmp_path / "a.parquet", table)).contents()
    assert list(contents.columns) == ["kind"]
    ((_, reason, detail),) = contents.problems
    assert reason == "too_large"
    assert detail == "its column 'text' holds more than 50,000 bytes, each row by itself, so it is left out"
    labelled = opened(write_parquet(tmp_path / "b.parquet", arrow_table(images, label=["x" * 9_000] * 9)))
    with pytest.raises(UnusableError, match="its column 'label' holds more than 50,000"):
        labelled.contents()


def test_few_bytes_cannot_say_that_there_are_millions_of_rows(tmp_path: Path) -> None:
    images: list[tuple[str | None, bytes | None]] = [(None, b"1")] * 40_000
    with pytest.raises(UnusableError, match="says to hold 40,000 rows"):
        opened(write_parquet(tmp_path / "a.parquet", arrow_table(images)))


@pytest.mark.parametrize("named", [True, False])
def test_keys_and_places_are_kept_so_that_the_next_process_reads_the_image_alone(tmp_path: Path, named: bool) -> None:
    images = [(name if named else None, data) for name, data in IMAGES]
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False, "row_group_size": 40}
    path = write_parquet(tmp_path / "a.parquet", arrow_table(images), **options)
    key, kept = (IMAGES[50][0] if named else "00000050"), dict[str, bytes]()
    assert ParquetFile(KeepingFile(path, kept), lambda: str(path)).read(key) == IMAGES[50][1]
    file = KeepingFile(path, kept)
    again = ParquetFile(file, lambda: str(path))
    assert (again.has(key), again.has("none"), file.reads) == (True, False, 0)
    assert (again.read(key), file.reads) == (IMAGES[50][1], 1)
