"""Tables of any bytes, headers, cells and types: they are read exactly, or refused with a documented error."""

import csv
import datetime
import decimal
import io
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import eml
from eml.dataset.column_map import ColumnMap
from eml.dataset.columns import KNOWN
from eml.dataset.table import Table, read_columns, read_file_names, read_table, write_table
from eml.retrieval.verification.pairs import read_pairs
from tests.fuzz.mutations import NASTY_TEXTS, cells, nasty, spoiled, texts
from tests.fuzz.outcome import SUCCESS, fuzz_settings, memory_below, outcome

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # of long examples

IMAGES = [f"{label}/{number}.png" for label in "abc" for number in range(3)]
NUMBERS = ("width", "height", "bytes", "fold")
GOOD: dict[str, str] = {
    **{"label": "a", "file_name": "a/0.png", "width": "8", "height": "8", "bytes": "70", "fold": "0", "split": "train"},
    **{"x_1": "0", "y_1": "0", "x_2": "8", "y_2": "8", "is_query": "True", "is_gallery": "1", "content": "0f" * 8},
    **{"hash": "00ff" * 4, "hash_kind": "phash", "format": "png", "mode": "RGB", "dataset": "d", "path": "a/0.png"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nine small images."""
    root = tmp_path_factory.mktemp("fuzz")
    for number, name in enumerate(IMAGES):
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number * 25, 0, 255 - number * 25)).save(root / name)
    return root


names = st.one_of(st.sampled_from(IMAGES), nasty, texts)
headers = st.lists(st.one_of(st.sampled_from([*KNOWN, "path", "camera"]), nasty, texts), max_size=8)


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """Return a CSV, mostly one that is nearly right: one of its rows, fields, marks or bytes is odd."""
    columns = ["label", "file_name", *draw(st.lists(st.sampled_from(sorted(GOOD)), max_size=6, unique=True))]
    columns = columns if draw(st.integers(0, 9)) else draw(headers)
    rows = []
    for number in range(draw(st.integers(0, 6))):
        row = [GOOD.get(name, "north") if name != "file_name" else IMAGES[number] for name in columns]
        for place in draw(st.lists(st.integers(0, max(0, len(row) - 1)), max_size=2)) if row else ():
            row[place] = draw(names if columns[place] == "file_name" else cells)
        ragged = draw(st.integers(-2, 2)) if not draw(st.integers(0, 9)) else 0
        rows.append(row[:ragged] if ragged < 0 else row + ["x"] * ragged)
    text = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    mark, end = draw(st.sampled_from(",,,;\t|")), draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n \n"]))
    csv.writer(text, delimiter=mark, quoting=quoting, lineterminator=end).writerows([columns, *rows])
    encoding = draw(
        st.sampled_from([*["utf-8"] * 6, "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1"])
    )
    content = text.getvalue().encode(encoding, errors="replace")
    return draw(spoiled(content)) if draw(st.booleans()) else content


ODD_TYPES: list[Callable[[list[str]], Any]] = [
    lambda values: pyarrow.array(values).dictionary_encode(),
    lambda values: pyarrow.array(values, pyarrow.large_string()),
    lambda values: pyarrow.array(values).cast(pyarrow.string_view()),
    lambda values: pyarrow.array([value.encode() for value in values]),
    lambda values: pyarrow.array([[value] for value in values]),
    lambda values: pyarrow.array([{"a": value} for value in values]),
    lambda values: pyarrow.array(
        [{value: value} for value in values], pyarrow.map_(pyarrow.string(), pyarrow.string())
    ),
    lambda values: pyarrow.nulls(len(values)),
    lambda values: pyarrow.array([2**63 + len(value) for value in values], pyarrow.uint64()),
    lambda values: pyarrow.array([-len(value) % 100 for value in values], pyarrow.int8()),
    lambda values: pyarrow.array([None if len(value) % 2 else len(value) for value in values], pyarrow.int32()),
    lambda values: pyarrow.array([float("nan") if len(value) % 2 else 1e300 for value in values]),
    lambda values: pyarrow.array([len(value) for value in values], pyarrow.float32()),
    lambda values: pyarrow.array([None if len(value) % 3 else bool(value) for value in values], pyarrow.bool_()),
    lambda values: pyarrow.array([decimal.Decimal(len(value)) / 2 for value in values], pyarrow.decimal128(20, 3)),
    lambda values: pyarrow.array([datetime.datetime(1, 1, 1)] * len(values), pyarrow.timestamp("us")),
    lambda values: pyarrow.array([len(value) for value in values], pyarrow.timestamp("ns", tz="Nowhere/None")),
    lambda values: pyarrow.array([2**50] * len(values), pyarrow.timestamp("s")),
    lambda values: pyarrow.array([2**50] * len(values), pyarrow.duration("s")),
    lambda values: pyarrow.array([datetime.date(9999, 1, 1)] * len(values)),
    lambda values: pyarrow.array([datetime.time(1)] * len(values)),
    lambda values: pyarrow.array([2**31 - 1] * len(values), pyarrow.date32()),
]


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    """Return a Parquet file with columns of odd types, odd notes of pandas, or spoiled bytes."""
    count = draw(st.integers(0, 5))
    columns = ["label", "file_name", *draw(st.lists(st.sampled_from([*sorted(GOOD), "camera"]), max_size=5))]
    arrays = []
    for name in columns:
        values = IMAGES[:count] if name == "file_name" else [draw(cells) for _ in range(count)]
        if draw(st.booleans()) and name not in ("file_name", "label"):
            values = [GOOD.get(name, "north")] * count
        odd = draw(st.sampled_from(ODD_TYPES)) if not draw(st.integers(0, 2)) else pyarrow.array
        arrays.append(odd(values) if count or odd is not pyarrow.array else pyarrow.array([], pyarrow.string()))
    table = pyarrow.Table.from_arrays(arrays, names=columns)
    notes = draw(st.sampled_from([None, b"{", b"[]", b"null", b'{"index_columns": [{"kind": 5}], "columns": [5]}']))
    table = table.replace_schema_metadata({b"pandas": notes} if notes is not None else None)
    sink = pyarrow.BufferOutputStream()
    compression = draw(st.sampled_from(["NONE", "SNAPPY", "ZSTD", "GZIP"]))
    pyarrow.parquet.write_table(table, sink, compression=compression, use_dictionary=draw(st.booleans()))
    content = sink.getvalue().to_pybytes()
    return draw(spoiled(content)) if draw(st.booleans()) else content


column_maps = st.builds(
    ColumnMap,
    st.one_of(st.none(), st.none(), st.sampled_from(["file_name", "path", "label", "x"])),
    st.one_of(st.none(), st.none(), st.sampled_from(["label", "camera", "file_name", "x"])),
    st.one_of(st.none(), nasty),
    st.one_of(st.none(), nasty, st.sampled_from(["{label}/", "{width}{", "a/", "../"])),
    st.one_of(st.none(), nasty, st.just(".png")),
    st.booleans(),
)

seen: Counter[str] = Counter()


def is_exact(table: Table, folder: Path | None) -> None:
    """Check what a table that was read promises and, in a folder, that it survives being written."""
    frame = table.frame
    assert all(isinstance(value, str) and value for name in ("label", "file_name") for value in frame[name])
    assert not any(name.startswith("/") or ".." in name.split("/") for name in frame["file_name"])
    for name in set(NUMBERS) & set(frame.columns):
        assert frame[name].dtype == "int64"
        assert frame[name].min() >= {"width": 1, "height": 1, "bytes": 0, "fold": -2}[name]
        assert name == "bytes" or frame[name].max() < 2**31
    for suffix in (".csv", ".parquet") if folder else ():
        assert folder
        path = folder / "written" / f"t{suffix}"
        write_table(frame, path, command="eml kfold", root=folder, overwrite=True)
        again = read_table(path).frame
        assert again[["label", "file_name"]].to_dict("list") == frame[["label", "file_name"]].to_dict("list")


def read_all(folder: Path, name: str, content: bytes, columns: ColumnMap) -> None:
    """Read the bytes as each kind of table that eml reads."""
    path = folder / name
    path.write_bytes(content)
    tables: list[Table] = []
    seen[outcome(lambda: tables.append(read_table(path, folder)))] += 1
    for table in tables:
        is_exact(table, folder if len(content) % 3 == 0 else None)
    outcome(lambda: read_table(path, folder, check_files=True, columns=columns))
    outcome(lambda: read_file_names(path))
    outcome(lambda: read_columns(path, ["file_name", "reason"]))
    if name.endswith(".csv"):
        for pairs in (path, path.with_suffix(".txt")):
            pairs.write_bytes(content)
            outcome(lambda pairs=pairs: read_pairs(pairs, IMAGES, folder))  # type: ignore[misc]


@pytest.mark.wide
@fuzz_settings(0.5)
@given(csv_files(), column_maps)
def test_a_csv_is_read_exactly_or_refused(folder: Path, content: bytes, columns: ColumnMap) -> None:
    read_all(folder, "t.csv", content, columns)


@pytest.mark.wide
@fuzz_settings(0.4)
@given(parquet_files(), column_maps)
def test_a_parquet_file_is_read_exactly_or_refused(folder: Path, content: bytes, columns: ColumnMap) -> None:
    read_all(folder, "t.parquet", content, columns)


@pytest.mark.wide
@fuzz_settings(0.1)
@given(st.one_of(st.binary(max_size=300), texts.map(str.encode)), st.sampled_from(["t.csv", "t.parquet", "t.tsv"]))
def test_any_bytes_are_read_exactly_or_refused(folder: Path, content: bytes, name: str) -> None:
    magic = b"PAR1" if name.endswith(".parquet") else b""
    read_all(folder, name, magic + content + magic, ColumnMap())


@st.composite
def tables_of_images(draw: st.DrawFn) -> bytes:
    """Return a CSV of the images that are there, with a few odd cells in its other columns."""
    columns = draw(
        st.lists(st.sampled_from(sorted(set(GOOD) - {"file_name", "label", "path"})), max_size=6, unique=True)
    )
    columns += draw(st.lists(st.one_of(nasty, texts), max_size=1))
    rows = []
    for name in IMAGES[: draw(st.integers(4, 9))]:
        row = [name, name[0], *(GOOD.get(column, "x") for column in columns)]
        if not draw(st.integers(0, 3)):
            place = draw(st.integers(1, len(row) - 1))
            row[place] = draw(cells)
        rows.append(row)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["file_name", "label", *columns], *rows])
    return text.getvalue().encode()


def commands(path: Path, out: Path, column: str) -> list[Callable[[], object]]:
    """Return the data commands on a table, with any of its columns where they take one."""
    return [
        lambda: eml.filter(path, dedup=True, scope="dataset", min_per_class=2, out=out),
        lambda: eml.filter(path, min_size=4, out=out),
        lambda: eml.split(path, by="ratio", group_by=[column], out=out),
        lambda: eml.split(path, column, by="column", out=out),
        lambda: eml.split(path, by="alternate", query_gallery=True, out=out),
        lambda: eml.kfold(path, k=2, group_by=[column], out=out),
        lambda: eml.report(path, out=out),
        lambda: eml.init(path, out=out / "c.yaml", weights="none", overwrite=True),
        lambda: eml.audit(path, group_by=[column]),
        lambda: eml.merge([path, f"other={path.with_name('other.csv')}"], out=out / "m", overwrite=True),
    ]


@pytest.mark.wide
@fuzz_settings(0.05)
@given(tables_of_images(), st.sampled_from(["camera", "split", "fold", "label", "content", "is_query", "width", "x"]))
def test_the_data_commands_work_or_say_why_not(folder: Path, content: bytes, column: str) -> None:
    (folder / "t.csv").write_bytes(content)
    (folder / "other.csv").write_text("label,file_name,camera\na,c/0.png,n\nb,c/1.png,\n")
    out = folder / "out"
    for call in commands(folder / "t.csv", out, column):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        outcome(call)


QUOTED = ['"' + text.replace('"', '""') + '"' for text in NASTY_TEXTS]
WORST: dict[str, bytes] = {
    "nothing": b"",
    "zeros": b"\0" * 1000,
    "one quote": b'label,file_name\n"a,1.png\n',
    "a quote within": b'label,file_name\na"b"c,1.png\n"a"b,2.png\n',
    "bare returns": b"label,file_name\ra,1.png\rb,2.png\r",
    "utf-16": "label\tfile_name\nM\u00fcller\t1.png\n".encode("utf-16"),
    "utf-16 cut off": "label\tfile_name\nM\u00fcller\t1.png\n".encode("utf-16")[:-1],
    "utf-32": "label,file_name\na,1.png\n".encode("utf-32"),
    "cp1252": "label,file_name\nM\u00fcller,1.png\n".encode("cp1252"),
    "ten marks": b"\xef\xbb\xbf" * 10 + b"label,file_name\na,1.png\n",
    "a long field": b"label,file_name\n," + b"x" * 200_000 + b"\n",
    "a NUL in a folder": b"label,file_name\na,x\0/1.png\n",
    "the longest path": b"label,file_name\na," + b"x/" * 5000 + b"\n",
    "all nasty labels": "\n".join(["label,file_name", *(f"{field},x" for field in QUOTED)]).encode(),
    "all nasty numbers": "\n".join(["label,file_name,fold,x_1", *(f"a,x,{f},{f}" for f in QUOTED)]).encode(),
    "all nasty names": "\n".join(["label,file_name", *(f"a,{field}" for field in QUOTED)]).encode(),
    "one long column": b"x" * 140_000,
    "only commas": b",,,,\n,,,,\n",
    "a parquet's mark": b"PAR1\0\0\0\0PAR1",
    "a lying footer": b"PAR1" + b"\x15\0" * 50 + b"\xff\xff\xff\x7fPAR1",
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_tables_are_refused_or_read_exactly(folder: Path, name: str) -> None:
    for suffix in (".csv", ".parquet", ".tsv"):
        read_all(folder, f"t{suffix}", WORST[name], ColumnMap(match_names=True))


def test_a_fuzzer_fails_on_any_other_exception_and_on_memory() -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(KeyError, match="a bug"):
        outcome(lambda: fail(KeyError("a bug")))
    with pytest.raises(AssertionError, match="no-such-code"):
        outcome(lambda: fail(eml.EmlError("x", code="no-such-code")))
    assert outcome(lambda: fail(eml.EmlError("x", code="not-a-table"))) == "not-a-table"
    assert outcome(dict) == SUCCESS
    with pytest.raises(AssertionError, match="MiB"), memory_below(2**24):
        bytearray(2**26)[:] = bytes(2**26)
