"""Arrow files as `save_to_disk` writes them."""

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

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
