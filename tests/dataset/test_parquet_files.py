"""Parquet files are read by their own columns and types, and damaged or lying ones are refused."""

import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from eml.dataset.table import read_table, write_table
from eml.errors import DataError
from tests.fuzz.outcome import memory_below

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

ROWS = {"label": ["a", "b"], "file_name": ["1.jpg", "2.jpg"]}


def parquet(folder: Path, columns: dict[str, Any] | None = None, metadata: dict[str, str] | None = None) -> Path:
    table = pyarrow.table(ROWS | (columns or {}))
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), folder / "t.parquet")
    return folder / "t.parquet"


def problem(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read_table(path)
    line, *_ = error.value.problems
    assert line.code in ("not-a-table", "repeated-column", "invalid-value", "repeated-image")
    return str(line)


def test_texts_and_numbers_of_all_storages_are_the_same(tmp_path: Path) -> None:
    kinds = ["large_string", "string", "dictionary", "string_view"]
    for kind in kinds:
        column = pyarrow.array(["007", "b"])
        column = column.dictionary_encode() if kind == "dictionary" else column.cast(getattr(pyarrow, kind)())
        assert read_table(parquet(tmp_path, {"label": column})).frame["label"].tolist() == ["007", "b"]
    for kind in ("int8", "uint64", "float", "string", "decimal128"):
        target = (
            pyarrow.decimal128(25, 2)
            if kind == "decimal128"
            else getattr(pyarrow, f"{kind}32" if kind == "float" else kind)()
        )
        path = parquet(tmp_path, {"width": pyarrow.array([5, 6], "int64").cast(target)})
        assert read_table(path).frame["width"].tolist() == [5, 6]


def test_whole_numbers_with_blanks_stay_whole_in_columns_that_eml_does_not_know(tmp_path: Path) -> None:
    values = {"year": pyarrow.array([2**60 + 1, None]), "seen": pyarrow.array([True, None])}
    table = read_table(parquet(tmp_path, values))
    write_table(table.frame, tmp_path / "again.csv", command="eml kfold", root=tmp_path)
    assert (tmp_path / "again.csv").read_text() == f"label,file_name,year,seen\na,1.jpg,{2**60 + 1},True\nb,2.jpg,,\n"


def test_columns_that_are_no_table_cells_are_left_out_with_a_note(tmp_path: Path) -> None:
    odd = {"embedding": [[1.0], [2.0]], "box": [{"x": 1}, {"x": 2}], "jpeg": [b"1", b"2"]}
    plain = {"when": [datetime.datetime(2020, 1, 1)] * 2, "nothing": pyarrow.nulls(2), "camera": ["n", "s"]}
    table = read_table(path := parquet(tmp_path, odd | plain))
    assert list(table.frame) == ["label", "file_name", "when", "nothing", "camera"]
    assert table.notes == (
        f"{path}: columns left out, since their values are not text, numbers or times: embedding, box, jpeg",
    )
    assert "holds neither text nor whole numbers" in problem(parquet(tmp_path, {"label": [["a"], ["b"]]}))


@pytest.mark.parametrize(
    "note",
    ["{", "[]", "null", "1e999", '{"columns": 5}', '{"index_columns": ["x"], "columns": []}', '{"columns": [{}]}'],
)
def test_what_pandas_noted_in_a_file_is_of_no_concern(tmp_path: Path, note: str) -> None:
    assert len(read_table(parquet(tmp_path, metadata={"pandas": note})).frame) == 2


def test_a_column_that_was_the_index_is_a_column(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).set_index("file_name").to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").frame["file_name"].tolist() == ROWS["file_name"]
    pd.DataFrame(ROWS, index=[7, 9]).to_parquet(tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet").frame) == ["label", "file_name"]
    folder = tmp_path / "fold=1"  # no column is taken from the name of a folder
    folder.mkdir()
    assert list(read_table(parquet(folder)).frame) == ["label", "file_name"]


def test_a_file_that_says_to_hold_far_more_than_it_can_is_refused(tmp_path: Path) -> None:
    same = pyarrow.array(["x"]).take(pyarrow.array([0] * 300_000, "int32"))
    columns = {"label": same.dictionary_encode(), "file_name": same.dictionary_encode()}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert "it says to hold 300,000 rows of" in problem(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    "kind",
    [
        "string_view",
        "list",
        *(pytest.param(name, marks=pytest.mark.wide) for name in ("string", "large_string", "binary", "fixed")),
    ],
)
def test_a_long_text_in_all_rows_of_a_small_file_takes_no_memory(tmp_path: Path, kind: str) -> None:
    text = "x" * 100_000  # 600 MB, once for each row
    types = {"fixed": pyarrow.binary(len(text)), "list": pyarrow.string()}
    one = pyarrow.array([text.encode()]).cast(types.get(kind) or getattr(pyarrow, kind)())
    one = pyarrow.ListArray.from_arrays(pyarrow.array([0, 1], "int32"), one) if kind == "list" else one
    rows = pyarrow.table({"label": ["a"] * 1000, "file_name": list(map(str, range(1000)))})
    rows = rows.append_column("more", pyarrow.concat_arrays([one] * 1000))
    with pyarrow.parquet.ParquetWriter(path := tmp_path / "t.parquet", rows.schema, compression="zstd") as writer:
        for _ in range(6):
            writer.write_table(rows)
    del rows
    with memory_below(2**28):
        expected = "occurs more than once" if kind == "list" else "so it is no table of images"
        assert expected in problem(path)


def test_a_damaged_or_repetitive_file_is_refused(tmp_path: Path) -> None:
    good = parquet(tmp_path).read_bytes()
    for damaged in (good[:-9], good[: len(good) // 2] + good[-8:], b"PAR1" + good[8:], b"PAR1" * 3):
        (tmp_path / "t.parquet").write_bytes(damaged)
        assert "cannot be read as a table" in problem(tmp_path / "t.parquet")
    twice = pyarrow.table([["a"], ["1.jpg"], ["b"]], names=["label", "file_name", "label"])
    pyarrow.parquet.write_table(twice, tmp_path / "t.parquet")
    assert "the header has columns twice: 'label'" in problem(tmp_path / "t.parquet")
    bad = pyarrow.Array.from_buffers(
        pyarrow.string(), 2, [None, pyarrow.array([0, 1, 2], "int32").buffers()[1], pyarrow.py_buffer(b"\xff\xfe")]
    )
    assert "UTF8" in problem(parquet(tmp_path, {"label": bad}))


def test_more_columns_than_a_table_of_images_has_are_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    columns = {"label": ["a"], "file_name": ["1.jpg"], **{f"c{number}": [None] for number in range(2_001)}}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    structure = {f"c{number}": 1 for number in range(2_001)}
    pyarrow.parquet.write_table(
        pyarrow.table({"label": ["a"], "file_name": ["1.jpg"], "s": [structure]}), tmp_path / "s.parquet"
    )
    for name in ("t", "s"):
        with pytest.raises(
            DataError, match=rf"{name}\.parquet: has 2,001 columns that eml does not know; at most 2,000"
        ):
            read_table(tmp_path / f"{name}.parquet")
