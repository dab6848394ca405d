"""A table is out of date when those written with it, or those it was made from, do not belong to it."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.ancestry import refuse_unwritten, staleness
from eml.dataset.sidecar import read_sidecar, sidecar_path
from eml.dataset.table import write_table, write_tables
from eml.errors import DataError, OutputError

NAMES = ("dataset_train.csv", "dataset_test.csv", "classes_train.csv")


def write(folder: Path, label: str, command: str = "eml split photos --by ratio", **options: bool) -> list[Path]:
    """Write three tables as one command does."""
    paths = [folder / name for name in NAMES]
    frames = {path: pd.DataFrame({"label": [label], "file_name": [f"{path.stem}.jpg"]}) for path in paths}
    write_tables(frames, command=command, root=folder, **options)
    return paths


def reason(table: Path) -> str | None:
    """Return why a table is out of date, without its path and the advice."""
    problem = staleness(table)
    return None if problem is None else str(problem).removeprefix(f"{table}: is out of date: ").partition(". ")[0]


def test_tables_of_one_command_name_each_other(tmp_path: Path) -> None:
    train, test, classes = write(tmp_path, "a")
    sidecars = [read_sidecar(path) for path in (train, test, classes)]
    digests = {
        path.name: sidecar.digest for path, sidecar in zip((train, test, classes), sidecars, strict=True) if sidecar
    }
    assert len({sidecar.write for sidecar in sidecars if sidecar}) == 1
    assert [sidecar.siblings for sidecar in sidecars if sidecar] == [
        {name: digest for name, digest in digests.items() if name != path.name} for path in (train, test, classes)
    ]
    assert [reason(path) for path in (train, test, classes)] == [None] * 3


def test_tables_of_two_runs_of_a_command_do_not_belong_together(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write(one, "a")
    train, test, _ = write(other, "b")
    for name in (test.name, f"{test.name}.eml.json"):
        shutil.copy(one / name, other / name)
    assert reason(train) == "dataset_test.csv beside it is of another run of eml split"
    assert reason(test) == "dataset_train.csv beside it is of another run of eml split"
    frame = pd.DataFrame({"label": ["b"], "file_name": ["1.jpg"]})
    folds = write_table(frame, other / "folds.csv", command="eml kfold", root=other, inputs=[train]).source
    assert reason(folds) == "dataset_test.csv beside it is of another run of eml split"
    write(other, "b")
    assert [reason(path) for path in (train, test, folds)] == [None] * 3  # the same rows: it was made from them


def test_a_table_that_was_moved_alone_edited_or_left_without_the_others_is_used(tmp_path: Path) -> None:
    train, test, classes = write(tmp_path / "all", "a")
    for name in (test.name, f"{test.name}.eml.json"):
        (tmp_path / "alone").mkdir(exist_ok=True)
        shutil.copy(test.with_name(name), tmp_path / "alone" / name)
    assert reason(tmp_path / "alone" / test.name) is None
    test.write_text(test.read_text() + "c,3.jpg\n")  # by its user, who knows
    assert [reason(train), reason(test)] == [None, None]
    classes.unlink()
    assert reason(train) is None
    test.unlink()
    sidecar_path(test).unlink()
    assert reason(train) is None


def test_a_users_table_that_was_to_be_replaced_is_told_from_the_new_one(tmp_path: Path) -> None:
    train, test, _ = write(tmp_path, "a")
    own = test.read_text() + "c,3.jpg\n"
    test.write_text(own)
    write(tmp_path, "b", overwrite=True)
    test.write_text(own)  # as a kill before the last of the tables leaves it
    for table in (train, test):
        assert reason(table) == "eml split was stopped before it wrote dataset_test.csv, or an older copy was put back"
    with pytest.raises(OutputError, match=r"dataset_test\.csv: exists and was changed since eml wrote it"):
        write(tmp_path, "b")
    write(tmp_path, "b", overwrite=True)
    assert [reason(train), reason(test)] == [None, None]


def test_a_test_table_that_is_missing_beside_its_sidecar_is_told(tmp_path: Path) -> None:
    train, test, _ = write(tmp_path, "a")
    test.unlink()
    assert (
        reason(train)
        == "eml split was stopped before it wrote dataset_test.csv, or dataset_test.csv was deleted but for "
        "dataset_test.csv.eml.json"
    )
    with pytest.raises(DataError) as error:
        refuse_unwritten(test)
    assert str(error.value) == (
        f"{test}: is missing: eml split was stopped before it wrote this table, or the table was deleted. To go on "
        f"without it, delete {test}.eml.json; else run eml split again (it was run as: eml split photos --by ratio)"
    )
    sidecar_path(test).unlink()
    refuse_unwritten(test)
    assert reason(train) is None


def test_tables_of_0_1_0_have_no_siblings_and_are_replaced_as_one(tmp_path: Path) -> None:
    train, test, classes = write(tmp_path, "a")
    for path in (train, test, classes):
        facts = json.loads(sidecar_path(path).read_text())
        for name in ("write", "siblings", "folder", "overwrites", "earlier"):
            del facts[name]
        sidecar_path(path).write_text(json.dumps(facts))
    assert [reason(path) for path in (train, test, classes)] == [None] * 3
    old = [(path, path.read_bytes()) for path in (test, sidecar_path(test))]
    write(tmp_path, "b")
    assert reason(train) is None
    for path, content in old:
        path.write_bytes(content)
    assert reason(train) == "dataset_test.csv beside it is of another run of eml split"


def test_the_command_that_made_a_table_is_advised_where_it_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    train, test, _ = write(photos, "a")
    old = test.read_bytes()
    write(photos, "b")
    test.write_bytes(old)
    told = (
        f"{train}: is out of date: eml split was stopped before it wrote dataset_test.csv, or an older copy was put "
        "back. "
    )
    assert str(staleness(train)) == f"{told}Run eml split again (it was run as: eml split photos --by ratio)"
    monkeypatch.chdir(tmp_path)
    assert str(staleness(train)) == f"{told}Run: eml split photos --by ratio"
    for command in ("rm -rf ~", "eml split photos --by '", "eml $(reboot) photos"):
        for path in (train, test):
            facts = json.loads(sidecar_path(path).read_text()) | {"command": command}
            sidecar_path(path).write_text(json.dumps(facts))
        assert str(staleness(train)).endswith(". Run eml split again")


def test_a_users_file_where_a_sidecar_would_be_written_is_kept(tmp_path: Path) -> None:
    path, own = tmp_path / "dataset_train.csv", tmp_path / "dataset_train.csv.eml.json"
    for text in ('{"mine": 1}', "[1]", "{"):
        own.write_text(text)
        with pytest.raises(OutputError) as error:
            write(tmp_path, "a")
        assert str(error.value) == (
            f"{own}: exists and was not written by eml, which would write the facts about {path.name} there. Set "
            "`overwrite` to replace it, or give another `out`"
        )
        assert own.read_text() == text
        assert list(tmp_path.iterdir()) == [own]
    write(tmp_path, "a", overwrite=True)
    assert staleness(path) is None
    own.write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=r"dataset_train\.csv: exists and was not written by eml"):
        write(tmp_path, "a")


def test_any_earlier_table_that_is_put_back_is_known_as_old_and_replaced(tmp_path: Path) -> None:
    written = []
    for label in "abcad":
        train, test, _ = write(tmp_path, label)
        written.append(test.read_bytes())
        assert [reason(train), reason(test)] == [None, None]  # also where it is the same as an earlier one
    for old in written[:-1]:
        test.write_bytes(old)
        for table in (train, test):
            told = "eml split was stopped before it wrote dataset_test.csv, or an older copy was put back"
            assert reason(table) == told
    write(tmp_path, "e")
    assert [reason(train), reason(test)] == [None, None]
    test.write_bytes(written[-1] + b"c,3.jpg\n")
    assert [reason(train), reason(test)] == [None, None]  # an edit
    with pytest.raises(OutputError, match=r"dataset_test\.csv: exists and was changed since eml wrote it"):
        write(tmp_path, "f")
    write(tmp_path, "f", overwrite=True)
    test.write_bytes(written[0])
    assert reason(test) is not None, "the tables before the edit stay known"


def test_the_last_earlier_tables_are_remembered_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eml.dataset.sidecar.EARLIER_WRITES", 3)
    digests = []
    for label in "abcbde":
        _, test, _ = write(tmp_path, label)
        sidecar = read_sidecar(test)
        assert sidecar is not None
        digests.append(sidecar.digest)
        names = dict(zip(digests, "abcbde", strict=False))
    assert [names[value] for value in sidecar.earlier] == ["c", "b", "d"]
