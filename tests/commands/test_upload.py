from collections.abc import Iterator
from pathlib import Path

import pytest

import eml
from eml.commands.with_upload import upload_result
from eml.errors import ConfigError, OutputError
from eml.progress import no_progress
from eml.storage import RemotePath
from tests.storage.stores import FaultyStore, faulty_store

TARGET = RemotePath("memory://bucket/tables")


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    with faulty_store(attempts=2) as store:
        yield store


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text("label,file_name\n")
    path.with_name("table.csv.eml.json").write_text("{}")
    return path


def test_a_copy_is_made_by_name_and_a_second_one_sends_nothing(store: FaultyStore, table: Path) -> None:
    result = eml.upload(table, to=str(TARGET))
    assert result.to_dict() == {"to": str(TARGET), "files": 1, "bytes": 16, "sent": 1}
    assert store.cat_file("/bucket/tables/table.csv") == b"label,file_name\n"
    assert eml.upload(table, to=TARGET).copy.sent == 0


def test_a_local_place_is_refused(table: Path) -> None:
    with pytest.raises(ConfigError, match="`to` must be an address such as s3://bucket/folder"):
        eml.upload(table, to="copies")


def test_the_result_of_a_command_is_copied_with_its_sidecar_and_the_place_is_noted(
    store: FaultyStore, table: Path
) -> None:
    notes: list[str] = []
    upload_result([table], TARGET, overwrite=False, report=notes.append, progress=no_progress)
    assert notes == [f"copied 2 files, 0.0 MB, to {TARGET}"]
    assert store.exists("/bucket/tables/table.csv.eml.json")


def test_a_copy_that_fails_says_the_command_that_makes_it(
    store: FaultyStore, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, place: str) -> None:
        raise TimeoutError("Slow Down")

    monkeypatch.setattr(store, "put_file", refuse)
    with pytest.raises(OutputError) as error:
        upload_result([table], TARGET, overwrite=False, report=print, progress=no_progress)
    assert f"to copy it, run: eml upload {table} {table}.eml.json --to {TARGET}" in str(error.value)
    assert error.value.code == "not-uploaded"


def test_other_processes_than_the_first_copy_nothing(
    store: FaultyStore, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    upload_result([table], TARGET, overwrite=False, report=print, progress=no_progress)
    assert not store.find("/bucket")
