"""Pages of Parquet that are not as they should be are left to the reader of Parquet; none is believed."""

import random
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from eml.images.packed.plain_pages import value_places
from eml.images.packed.random_access import LocalFile
from tests.packed_files import arrow_table, write_parquet


def test_no_change_of_a_byte_leads_out_of_the_file_or_to_an_endless_reading(tmp_path: Path) -> None:
    import pyarrow.parquet

    images = [(None, bytes([number]) * 40) for number in range(12)]
    path = write_parquet(tmp_path / "a.parquet", arrow_table(images), compression="none", use_dictionary=False)
    chunk = pyarrow.parquet.read_metadata(path).row_group(0).column(0)
    start, size, whole = chunk.data_page_offset, chunk.total_compressed_size, path.read_bytes()
    found = value_places(LocalFile(str(path), len(whole)), start, size, 12, 2)
    assert found is not None
    assert [whole[offset : offset + length] for offset, length in zip(*found, strict=True)] == [b for _, b in images]
    draw, other = random.Random(0), 0
    damaged_path = tmp_path / "b.parquet"
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(start, start + size)] = draw.randrange(256)
        damaged_path.write_bytes(damaged)
        places = value_places(LocalFile(str(damaged_path), len(damaged)), start, size, 12, 2)
        other += places is None
        if places is not None:
            assert (places[0] >= start).all()
            assert (places[0] + places[1] <= start + size).all()
    assert other > 10


def test_a_chunk_of_fewer_or_more_values_is_not_taken_apart(tmp_path: Path) -> None:
    import pyarrow.parquet

    path = write_parquet(
        tmp_path / "a.parquet", arrow_table([(None, b"1")] * 4), compression="none", use_dictionary=False
    )
    chunk = pyarrow.parquet.read_metadata(path).row_group(0).column(0)
    file = LocalFile(str(path), path.stat().st_size)
    for rows in (3, 5):
        assert value_places(file, chunk.data_page_offset, chunk.total_compressed_size, rows, 2) is None
    assert value_places(file, chunk.data_page_offset, chunk.total_compressed_size - 1, 4, 2) is None
