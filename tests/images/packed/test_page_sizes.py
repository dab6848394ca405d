"""What pages become when they are decompressed is known from their headers, and damaged headers say nothing."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import pyarrow
import pyarrow.parquet

from eml.images.packed.page_sizes import page_sizes
from eml.images.packed.random_access import LocalFile
from tests.packed_files import write_parquet

VALUES = [bytes([number % 7]) * 3000 for number in range(400)]
WAYS: list[dict[str, Any]] = [
    {"compression": "none", "use_dictionary": False},
    {"compression": "snappy"},
    {"compression": "zstd", "use_dictionary": False, "data_page_version": "2.0", "data_page_size": 9000},
    {"compression": "gzip", "use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY"},
    {"compression": "zstd", "dictionary_pagesize_limit": 5000, "write_page_index": True, "write_page_checksum": True},
]


def chunk_of(path: Path) -> tuple[LocalFile, int, int, int]:
    """Return the file, where its column begins, its bytes there, and those that pyarrow says it becomes."""
    chunk = pyarrow.parquet.read_metadata(path).row_group(0).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    file = LocalFile(str(path), path.stat().st_size)
    return file, start, chunk.total_compressed_size, chunk.total_uncompressed_size


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_sizes_are_those_that_the_writer_says_but_for_the_headers(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write_parquet(tmp_path / "a.parquet", pyarrow.table({"x": VALUES}), write_statistics=False, **options)
    file, start, size, said = chunk_of(path)
    sizes = page_sizes(file, start, size)
    assert sizes is not None
    assert said * 0.9 < sizes.bytes <= said
    assert (sizes.repeated > 0) == options.get("use_dictionary", True)


def test_values_that_begin_like_the_one_before_may_be_said_again(tmp_path: Path) -> None:
    table = pyarrow.table({"x": VALUES})
    path = write_parquet(tmp_path / "a.parquet", table, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY")
    file, start, size, _ = chunk_of(path)
    sizes = page_sizes(file, start, size)
    assert sizes is not None
    assert sizes.repeated == sizes.bytes


def test_damaged_headers_and_places_outside_the_file_say_nothing(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", pyarrow.table({"x": VALUES}), compression="snappy")
    file, start, size, _ = chunk_of(path)
    assert page_sizes(file, start + 3, size - 3) is None
    assert page_sizes(file, -1, size) is None
    assert page_sizes(file, start, file.size) is None
    (tmp_path / "zeros").write_bytes(bytes(5000))
    assert page_sizes(LocalFile(str(tmp_path / "zeros"), 5000), 0, 5000) is None
