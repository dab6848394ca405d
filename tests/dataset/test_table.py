"""The table survives being written and read, and says what is wrong with it, where, all at once."""

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.ancestry import staleness
from eml.dataset.column_map import ColumnMap
from eml.dataset.pipeline import resolve
from eml.dataset.sidecar import sidecar_path
from eml.dataset.table import Table, check_outputs, read_file_names, read_table, write_table, write_tables
from eml.dataset.table_files import read_frame
from eml.errors import DataError, OutputError
from eml.files import digest
from tests.examples import examples

ROWS = "label,file_name\na,a/1.jpg\nb,b/1.jpg\n"


def csv(folder: Path, text: str = ROWS, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def images(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"image")


def problems(path: Path, root: Path | None = None, check_files: bool = False) -> list[str]:
    with pytest.raises(DataError) as error:
        read_table(path, root, check_files=check_files)
    return error.value.problems


def test_labels_stay_the_text_they_are(tmp_path: Path) -> None:
    labels = ["007", "7", "NA", "nan", "None", "1e3", "True", "🍎", " a ", "x,y", 'say "a"', "two\nlines", "r\rn"]
    frame = pd.DataFrame({"label": labels, "file_name": [f"{n}.jpg" for n in range(len(labels))]})
    for name in ("t.csv", "t.parquet"):
        write_table(frame, tmp_path / name, command="eml scan", root=tmp_path)
        assert read_table(tmp_path / name).frame["label"].tolist() == labels


def test_whole_numbers_in_a_parquet_label_become_text(tmp_path: Path) -> None:
    pd.DataFrame({"label": [7, 8], "file_name": ["a", "b"]}).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").frame["label"].tolist() == ["7", "8"]


def test_decimal_labels_in_a_parquet_table_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"label": [7.0, 8.0], "file_name": ["a", "b"]}).to_parquet(tmp_path / "t.parquet")
    assert problems(tmp_path / "t.parquet") == [
        f"{tmp_path}/t.parquet: column 'label' holds decimal numbers, and 7.0 may have been 7 or 007; write it as text"
    ]


def test_known_columns_have_their_types_and_others_are_untouched(tmp_path: Path) -> None:
    header = "label,file_name,width,fold,x_1,y_1,x_2,y_2,is_query,price,note\n"
    path = csv(tmp_path, header + "a,1.jpg,640,-1,3,0,9,9,True,0.10,\nb,2.jpg,480,2,,,,,0,007,NA\n")
    frame = read_table(path).frame
    assert frame["width"].tolist() == [640, 480]
    assert frame["fold"].tolist() == [-1, 2]
    assert frame["x_1"].isna().tolist() == [False, True]
    assert frame["x_1"][0] == 3
    assert frame["is_query"].tolist() == [True, False]
    assert frame["price"].tolist() == ["0.10", "007"]
    assert frame["note"].tolist() == ["", "NA"]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.tuples(texts.filter(bool), texts, st.integers(0, 2**40), st.integers(-2, 9)), min_size=1, max_size=8),
    st.sampled_from(["t.csv", "t.parquet"]),
)
def test_any_table_survives_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int, int]], name: str
) -> None:
    folder = tmp_path_factory.mktemp("round")
    frame = pd.DataFrame(rows, columns=["label", "note", "bytes", "fold"])
    frame.insert(1, "file_name", [f"ä b/{n},'{n}.jpg" for n in range(len(rows))])
    write_table(frame, folder / name, command="eml scan", root=folder)
    read = read_table(folder / name)
    assert read.frame.to_dict("list") == frame.to_dict("list")
    write_table(read.frame, folder / "again.csv", command="eml scan", root=folder)
    if name == "t.csv":
        assert (folder / "again.csv").read_bytes() == (folder / name).read_bytes()


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = csv(tmp_path, "\ufefflabel,file_name\r\na,1.jpg\r\n")
    assert read_table(path).frame.to_dict("list") == {"label": ["a"], "file_name": ["1.jpg"]}


def test_one_image_has_one_spelling(tmp_path: Path) -> None:
    path = csv(tmp_path, "label,file_name\na,./a/1.jpg\na,a//1.jpg\na,a/.hidden.jpg\na,a/2..jpg\n")
    assert problems(path) == [f"{path}:3: 'a/1.jpg' occurs more than once"]


def test_missing_columns_name_those_that_were_found(tmp_path: Path) -> None:
    path = csv(tmp_path, "genus;price\na;1.5\n")
    assert problems(path) == [
        f"{path}:1: column 'label' is missing (set `label_column`) and column 'file_name' is missing (set "
        "`file_column`); columns found: genus, price"
    ]


def test_columns_of_other_names_are_suggested(tmp_path: Path) -> None:
    path = csv(tmp_path, "image,Class,split\n1.jpg,a,train\n")
    assert problems(path) == [
        f"{path}:1: columns 'label' and 'file_name' are missing (are they 'Class' and 'image'? Set "
        '`file_column="image"` `label_column="Class"`); columns found: image, Class, split'
    ]


def test_columns_whose_contents_look_swapped_are_told(tmp_path: Path) -> None:
    images(tmp_path, *(f"{number}.jpg" for number in range(6)))
    path = csv(tmp_path, "id;product\n" + "".join(f"{number};{'ab'[number % 2]}\n" for number in range(6)))
    swapped = ColumnMap(file_column="product", label_column="id")
    with pytest.raises(DataError) as error:
        read_table(path, check_files=True, columns=swapped)
    assert error.value.problems[-1] == (
        f"{path}: none of its 6 images is under {tmp_path} (the first: 'a'). The values of 'id' are images there, so "
        'the two columns look swapped: set `file_column="id"` `label_column="product"`'
    )
    right = ColumnMap(file_column="id", label_column="product", path_suffix=".jpg")
    assert read_table(path, check_files=True, columns=right).frame["label"].tolist() == list("ababab")
    path = csv(tmp_path, "label,file_name\n0.jpg,a\n1.jpg,b\n")
    assert problems(path, check_files=True)[-1].endswith('set `file_column="label"` `label_column="file_name"`')
    read = read_table(path, check_files=True, columns=ColumnMap("label", "file_name")).frame
    assert read.to_dict("list") == {"file_name": ["0.jpg", "1.jpg"], "label": ["a", "b"]}


def test_every_problem_is_reported_with_its_line(tmp_path: Path) -> None:
    text = (
        "label,file_name,width,is_query\n"
        '"a\nb",1.jpg,5,True\n'  # a quoted line end: the next row is at line 4
        ",2.jpg,5,1\n"
        "\n"
        "c,../3.jpg,5,0\n"
        "c,/etc/passwd,wide,\n"
        "c,1.jpg,5.5,maybe\n"
        "c,C:\\x.jpg,,no\n"
        "c,x\\..\\..\\y.jpg,1,\n"
        "c,,1,\n"
    )
    path = csv(tmp_path, text)
    leaves = "file_name must stay under the root: relative and without '..', got"
    assert problems(path) == [
        f"{path}:4: label is empty",
        f"{path}:6: {leaves} '../3.jpg'",
        f"{path}:7: width must be a whole number from 1 to 2,147,483,647, got 'wide'",
        f"{path}:7: {leaves} '/etc/passwd'",
        f"{path}:8: width must be a whole number from 1 to 2,147,483,647, got '5.5'",
        f"{path}:8: is_query must be True, False or blank, got 'maybe'",
        f"{path}:8: '1.jpg' occurs more than once",
        f"{path}:9: width must be a whole number from 1 to 2,147,483,647, got ''",
        f"{path}:9: is_query must be True, False or blank, got 'no'",
        f"{path}:9: {leaves} 'C:\\\\x.jpg'",
        f"{path}:10: {leaves} 'x\\\\..\\\\..\\\\y.jpg'",
        f"{path}:11: file_name is empty",
    ]


def test_of_many_problems_twenty_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    path = csv(tmp_path, "label,file_name\n" + "".join(f"a,../{n}.jpg\n" for n in range(1234)))
    lines = problems(path)
    assert len(lines) == 21
    assert lines[-1] == f"{path}: and 1,214 more problems like these"


def test_an_image_may_stand_once_for_each_of_its_boxes(tmp_path: Path) -> None:
    header = "label,file_name,x_1,y_1,x_2,y_2\n"
    assert len(read_table(csv(tmp_path, header + "a,1.jpg,0,0,5,5\nb,1.jpg,5,0,9,5\nc,2.jpg,,,,\n")).frame) == 3
    twice = csv(tmp_path, header + "a,1.jpg,0,0,5,5\nb,1.jpg,0,0,5,5\n", "twice.csv")
    assert problems(twice) == [f"{twice}:3: '1.jpg' occurs more than once with the same box"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty; a table has the columns label and file_name"),
        (b"label,file_name\n", "has no rows"),
        (b"label,file_name\n\xff\xfe,1.jpg\n", ":2: is not UTF-8 text (byte 0xff); save it as UTF-8"),
        (
            "label,file_name\na,1.jpg\nMüller,2.jpg\n".encode("cp1252"),
            ":3: is not UTF-8 text (byte 0xfc); save it as UTF-8. It may be Windows-1252, which reads 'Müller,2.jpg': "
            "iconv -f WINDOWS-1252 -t UTF-8",
        ),
        (b"label,file_name,label\na,1.jpg,b\n", "the header has columns twice: 'label'"),
        (b"label,file_name\na,1.jpg\nb,2.jpg,c\n", "Expected 2 fields in line 3, saw 3"),
        (b"label,file_name\na,1.jpg,c\nb,2.jpg,c\n", "cannot be read as a table"),
        (b"label,file_name\nb\n", "file_name is empty"),
    ],
)
def test_files_that_are_no_table_are_distinguished(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    (line,) = problems(path)
    assert line.startswith(str(path))
    assert message in line


def test_a_table_must_be_there_and_be_a_csv_or_parquet_file(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.csv") == [f"{tmp_path}/none.csv: no such file"]
    assert problems(tmp_path / "t.xlsx") == [f"{tmp_path}/t.xlsx: a table's name ends in .csv, .tsv or .parquet"]
    (tmp_path / "folder.csv").mkdir()
    assert problems(tmp_path / "folder.csv") == [f"{tmp_path}/folder.csv: is a folder, not a table"]
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    assert "cannot be read as a table" in problems(tmp_path / "t.parquet")[0]


def test_a_list_of_images_needs_only_their_names(tmp_path: Path) -> None:
    assert read_file_names(csv(tmp_path, "file_name,score\na b.jpg,1\n")) == ["a b.jpg"]
    with pytest.raises(DataError, match="column 'file_name' is missing; columns found: image"):
        read_file_names(csv(tmp_path, "image\n1.jpg\n"))


def test_images_that_are_not_there_are_reported(tmp_path: Path) -> None:
    images(tmp_path, "a/1.jpg")
    path = csv(tmp_path)
    assert problems(path, check_files=True) == [f"{path}:3: no such image under {tmp_path}: 'b/1.jpg'"]
    images(tmp_path, "b/1.jpg")
    assert read_table(path, check_files=True).root == tmp_path


def test_when_no_image_is_there_the_root_is_questioned(tmp_path: Path) -> None:
    path = csv(tmp_path)
    assert problems(path, check_files=True) == [
        f"{path}: none of its 2 images is under {tmp_path} (the first: 'a/1.jpg'). Give the folder that file_name is "
        "relative to as `root`"
    ]
    assert problems(path, tmp_path / "none") == [f"`root` {tmp_path}/none: no such folder"]


def test_a_folder_named_like_an_image_is_no_image(tmp_path: Path) -> None:
    images(tmp_path, "a/1.jpg", "b/1.jpg/inner")
    assert problems(csv(tmp_path), check_files=True) == [
        f"{tmp_path}/t.csv:3: no such image under {tmp_path}: 'b/1.jpg'"
    ]


def test_only_emls_own_unchanged_tables_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"label": ["a"], "file_name": ["1.jpg"]})
    write = {"command": "eml scan", "root": tmp_path}
    assert write_tables({path: frame}, **write) == []
    assert write_tables({path: frame.assign(label="b")}, **write) == [path]
    path.write_text(path.read_text() + "mine,2.jpg\n")
    with pytest.raises(OutputError) as error:
        write_tables({path: frame, tmp_path / "new.csv": frame}, **write)
    assert error.value.problems == [
        f"{path}: exists and was changed since eml wrote it. Set `overwrite` to replace it, or give another `out`"
    ]
    assert "mine" in path.read_text()
    assert not (tmp_path / "new.csv").exists()
    assert write_tables({path: frame}, overwrite=True, **write) == [path]
    assert "mine" not in path.read_text()


def test_a_users_file_is_kept_without_overwrite(tmp_path: Path) -> None:
    path = csv(tmp_path)
    with pytest.raises(OutputError, match="exists and was not written by eml"):
        check_outputs([path])
    assert check_outputs([path], overwrite=True) == [path]


def test_what_a_table_was_made_from_is_never_written_over(tmp_path: Path) -> None:
    source = csv(tmp_path)
    table = read_table(source)
    write_table(table.frame, tmp_path / "x.csv", command="eml filter", root=tmp_path, inputs=[source])
    write_table(table.frame, tmp_path / "y.csv", command="eml split", root=tmp_path, inputs=[tmp_path / "x.csv"])
    for path in (source, tmp_path / "x.csv", tmp_path / "y.csv"):
        with pytest.raises(OutputError, match="would be overwritten"):
            check_outputs([path], inputs=[tmp_path / "y.csv"], overwrite=True)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    frame = pd.DataFrame({"label": ["a"], "file_name": ["1.jpg"]})
    with pytest.raises(OutputError) as error:
        write_table(frame, tmp_path / "file" / "x" / "t.csv", command="eml scan", root=tmp_path)
    message = f"{tmp_path}/file/x: cannot be written, since {tmp_path}/file is a file. Give another `out`"
    assert error.value.problems == [message]
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may write everywhere
    with pytest.raises(OutputError, match=r"new: cannot be written \(no permission\)\. Give another `out`"):
        write_table(frame, tmp_path / "new" / "t.csv", command="eml scan", root=tmp_path)
    monkeypatch.undo()
    with pytest.raises(OutputError, match=r"a table's name ends in \.csv or \.parquet"):
        write_table(frame, tmp_path / "t.txt", command="eml scan", root=tmp_path)
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(OutputError, match="is a folder, not a table"):
        check_outputs([tmp_path / "t.csv"], overwrite=True)


def test_the_sidecar_is_json_and_the_table_has_a_name(tmp_path: Path) -> None:
    table = write_table(
        pd.DataFrame({"label": ["a"], "file_name": ["1.jpg"]}), tmp_path / "t.csv", command="eml scan", root=tmp_path
    )
    assert json.loads(sidecar_path(tmp_path / "t.csv").read_text())["replaces"] is None
    assert (table.name, Table(table.frame, tmp_path).name) == (f"{tmp_path}/t.csv", f"the table of {tmp_path}")


@pytest.mark.parametrize("box", ["-5,0,10,10", "10,0,5,10", "1,,10,10"])
def test_a_box_that_is_none_is_never_taken_for_the_whole_image(tmp_path: Path, box: str) -> None:
    (tmp_path / "t.csv").write_text(f"label,file_name,x_1,y_1,x_2,y_2\na,a.jpg,,,,\nb,b.jpg,{box}\n")
    with pytest.raises(DataError, match=r"t\.csv:3: a box must have 0 ≤ x_1 < x_2"):
        read_table(tmp_path / "t.csv")


def test_a_long_field_is_read_and_named_by_its_line(tmp_path: Path) -> None:
    long = "x" * 200_000  # Python's csv refuses more than 131,072 characters
    assert read_table(csv(tmp_path, f"label,file_name,{long}\na,1.jpg,{long}\n")).frame[long].tolist() == [long]
    path = csv(tmp_path, f"label,file_name,note\na,1.jpg,{long}\n,2.jpg,\n")
    assert problems(path) == [f"{path}:3: label is empty"]
    path = csv(tmp_path, f"label,file_name\na,../{long}.jpg\n")
    assert len("".join(problems(path))) < 1000


@pytest.mark.skipif(pd.__version__ < "3", reason="pandas 2 ends a field at its first NUL")
def test_names_that_no_file_can_have_are_errors_with_their_lines(tmp_path: Path) -> None:
    names = ["x\0.jpg", "x\0/1.jpg", "x" * 256, "ü" * 128, "x/" * 2048 + "1.jpg"]
    path = csv(tmp_path, "label,file_name\n" + "".join(f"a,{name}\n" for name in names))
    assert [line.partition(" is no path")[0] for line in problems(path, check_files=True)] == [
        f"{path}:{number}: file_name" for number in range(2, 7)
    ]
    near = csv(tmp_path, "label,file_name\na," + "x/" * 2040 + "1.jpg\nb,b/1.jpg\n")  # too long with its root only
    images(tmp_path, "b/1.jpg")
    assert "no such image" in problems(near, check_files=True)[0]


@pytest.mark.wide
def test_a_table_may_have_two_thousand_columns_of_its_own(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(2_001)]
    path = csv(tmp_path, f"fold,label,file_name,{','.join(names[:-1])}\n0,a,1.jpg{',1' * 2_000}\n")
    table = read_table(path)
    assert list(table.frame)[3:] == names[:-1]
    write_table(
        table.frame.assign(split="train", is_query=True), path := tmp_path / "w.csv", command="x", root=tmp_path
    )
    assert len(read_table(path).frame.columns) == 2_005  # what eml adds makes no table unreadable
    path = csv(tmp_path, f"label,file_name,{','.join(names * 2)}\n")
    assert problems(path) == [
        f"{path}:1: the header has columns twice: 'c0', 'c1', 'c10', 'c100', 'c1000' and 1,996 more"
    ]


@pytest.mark.parametrize("count", [2_001, 500_000])
def test_more_columns_are_refused_by_the_header(tmp_path: Path, count: int) -> None:
    names = ",".join(f"c{number}" for number in range(count))
    path = csv(tmp_path, f"label,file_name,{names}\na,1.jpg,and the rows are not read\n\xff")
    assert problems(path) == [
        f"{path}: has {count:,} columns that eml does not know; at most 2,000 are read beside its own. Leave out those "
        "that are not needed"
    ]


@pytest.mark.parametrize(
    "text, line",
    [
        ("label,file_name\nb,2.jpg\n{},1.jpg\n", 3),
        ('label,file_name\nb,2.jpg\n"not closed,{}\n', 3),
        ('label,file_name\n"b\nc",2.jpg\na,"{}"\n', 4),
        ("label,file_name,{}\n", 1),
    ],
)
def test_a_field_of_more_than_a_mebibyte_is_an_error_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = csv(tmp_path, text.format("x\n,yz" * 2**18 if 'c"' in text or "not" in text else "x" * (2**20 + 1)))
    assert problems(path) == [
        f"{path}:{line}: a field has more than 1,048,576 characters; perhaps a quotation mark is not closed"
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_line_without_an_end_is_not_read_to_it(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("label,file_name\na,1.jpg\n" + "x" * 50_000_000, encoding=encoding)
    tracemalloc.start()
    assert problems(path) == [f"{path}:3: has more than 8,388,608 characters, so it is no line of a table"]
    assert tracemalloc.get_traced_memory()[1] < 40_000_000
    tracemalloc.stop()
    path.write_bytes(path.read_bytes().replace(b"a,1", b"\xffa,1"))
    assert "t.csv:2: is not UTF-8 text" in problems(path)[0] or encoding == "utf-16"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_csv_may_be_separated_by_semicolons_tabs_or_bars(tmp_path: Path, delimiter: str) -> None:
    text = 'label,file_name,note\n"a\nb",1.jpg,"x;y\t|z"\n,2.jpg,"1,5"\n'.replace(",", delimiter)
    path = csv(tmp_path, text.replace(f"1{delimiter}5", "1,5"))
    assert problems(path) == [f"{path}:4: label is empty"]
    path = csv(tmp_path, text.replace(f"1{delimiter}5", "1,5").replace(f"\n{delimiter}2", f"\nc{delimiter}2"), "t.TSV")
    assert read_table(path).frame["note"].tolist() == ["x;y\t|z".replace(",", delimiter), "1,5"]


def test_the_header_decides_which_mark_separates(tmp_path: Path) -> None:
    path = csv(tmp_path, "label,file_name,a;b;c;d\na,1.jpg,1;2;3;4\n")
    assert list(read_table(path).frame) == ["label", "file_name", "a;b;c;d"]
    path = csv(tmp_path, "size, cm;label;file_name\n1,5;a;1.jpg\n")
    assert read_table(path).frame.to_dict("list") == {"size, cm": ["1,5"], "label": ["a"], "file_name": ["1.jpg"]}


def test_excels_unicode_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("label\tfile_name\nMüller\t1.jpg\n\t2.jpg\n".encode("utf-16"))
    assert problems(path) == [f"{path}:3: label is empty"]
    path.write_bytes("label\tfile_name\nMüller\t1.jpg\n".encode("utf-16"))
    assert read_table(path).frame["label"].tolist() == ["Müller"]
    path.write_bytes("label\tfile_name\nMüller\t1.jpg\n".encode("utf-16")[:-1])
    assert "is not UTF-16 text" in problems(path)[0]


def test_lines_of_blanks_are_no_rows(tmp_path: Path) -> None:
    path = csv(tmp_path, "\n  \nlabel,file_name\n\n \n,1.jpg\n")
    assert problems(path) == [f"{path}:6: label is empty"]
    path = csv(tmp_path, "\nlabel,file_name,label\na,1.jpg,b\n")
    assert problems(path) == [f"{path}:1: the header has columns twice: 'label'"]


def test_a_pipe_is_refused_at_once_by_readers_and_commands(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "t.csv")
    for read in (lambda: read_table(pipe), lambda: resolve(pipe, "kfold")):
        with pytest.raises(DataError, match=r"t\.csv: is a pipe or a device, not a table"):
            read()


def test_a_table_that_is_written_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = csv(tmp_path)
    assert read_table(source).inputs == {source: digest(source)}

    def read_and_replace(*args: Any) -> Any:
        frame = read_frame(*args)
        csv(tmp_path, ROWS + "c,c.jpg\n")
        return frame

    monkeypatch.setattr("eml.dataset.table.read_frame", read_and_replace)
    with pytest.raises(DataError, match="was changed while it was read") as caught:
        read_table(source)
    assert caught.value.code == "changed-while-read"


def test_a_link_in_a_circle_is_an_error_as_an_output_and_no_changed_input(tmp_path: Path) -> None:
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop.name)
    with pytest.raises(OutputError, match=r"loop\.csv: cannot be written, since it is a link in a circle"):
        check_outputs([loop], inputs=[csv(tmp_path)])
    table = write_table(read_table(csv(tmp_path)).frame, tmp_path / "x.csv", command="eml filter", root=tmp_path)
    sidecar = json.loads((tmp_path / "x.csv.eml.json").read_text()) | {"inputs": [{"path": "loop.csv", "digest": "0"}]}
    (tmp_path / "x.csv.eml.json").write_text(json.dumps(sidecar))
    assert staleness(table.source) is None
