"""Arrow files as `save_to_disk` writes them."""

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from eml.images.packed import arrow_file
from eml.images.packed.arrow_file import ArrowFile
from eml.images.packed.contents import NotPackedError, UnusableError
from tests.packed_files import arrow_table, write_arrow

IMAGES = [(f"{number}.jpg", bytes([number]) * (number + 1)) for number in range(7)]


def test_images_labels_and_columns_are_read(tmp_path: Path) -> None:
    table = arrow_table(IMAGES, ["x", "y"], label=[0, 1, 0, 1, 0, 1, None], kind=list("abcdefg"))
    file = ArrowFile(str(write_arrow(tmp_path / "a.arrow", table)))
    contents = file.contents()
    assert contents.keys == [name for name, _ in IMAGES]
    assert contents.labels == ["x", "y", "x", "y", "x", "y", ""]
    assert contents.columns == {"kind": list("abcdefg")}
    for name, data in IMAGES:
        assert (file.read(name), file.size(name), file.open(name).read()) == (data, len(data), data)
    with pytest.raises(KeyError):
        file.read("none")


@pytest.mark.parametrize("kind", ["string", "string_view", "dictionary"])
def test_a_text_that_all_rows_have_counts_in_each_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import pyarrow

    monkeypatch.setattr(arrow_file, "LONGEST_COLUMN", 20_000)
    texts = pyarrow.array([None] + ["x" * 5_000] * 6)
    texts = texts.dictionary_encode() if kind == "dictionary" else texts.cast(kind)
    table = arrow_table(IMAGES, text=texts, number=list(range(7)))
    contents = ArrowFile(str(write_arrow(tmp_path / "a.arrow", table, rows=3))).contents()
    assert contents.columns == {"number": list(range(7))}
    assert [problem.reason for problem in contents.problems] == ["too_large"]
    monkeypatch.setattr(arrow_file, "LONGEST_COLUMN", 40_000)
    contents = ArrowFile(str(tmp_path / "a.arrow")).contents()
    assert (contents.columns["text"], contents.problems) == (texts.to_pylist(), [])


def test_of_a_file_that_is_cut_the_whole_batches_are_used(tmp_path: Path) -> None:
    path = write_arrow(tmp_path / "a.arrow", arrow_table([(None, bytes(5_000))] * 6))
    path.write_bytes(path.read_bytes()[:25_000])
    contents = ArrowFile(str(path)).contents()
    assert contents.keys == ["00000000", "00000001", "00000002", "00000003"]
    assert [problem.reason for problem in contents.problems] == ["truncated"]


def test_other_files_say_that_they_are_none(tmp_path: Path) -> None:
    import pyarrow

    (tmp_path / "a.arrow").write_bytes(b"something else")
    with pytest.raises(UnusableError):
        ArrowFile(str(tmp_path / "a.arrow"))
    with pytest.raises(NotPackedError):
        ArrowFile(str(write_arrow(tmp_path / "b.arrow", pyarrow.table({"label": [1]}))))
