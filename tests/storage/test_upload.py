import json
from pathlib import Path

import pytest

from eml.errors import DataError, OutputError
from eml.storage import RemotePath
from eml.storage.upload import MANIFEST, check_target, fetch, upload
from tests.storage.stores import FaultyStore, faulty_store

TARGET = RemotePath("memory://bucket/runs/1")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for name, text in {"a.txt": "first", "deep/b.txt": "second", ".eml-tmp-12345678-c": "half", "d.lock": ""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def names(store: FaultyStore) -> set[str]:
    return {name.removeprefix("/bucket/runs/1/") for name in store.find("/bucket/runs/1")}


def test_a_folder_is_copied_whole_and_fetched_whole(run: Path, tmp_path: Path) -> None:
    with faulty_store() as store:
        done = upload([run], TARGET)
        assert (done.files, done.bytes, done.sent) == (2, 11, 2)
        assert names(store) == {"a.txt", "deep/b.txt", MANIFEST}
        copy = fetch(TARGET, tmp_path / "cache")
        assert {path.relative_to(copy).as_posix(): path.read_text() for path in copy.rglob("*.txt")} == {
            "a.txt": "first",
            "deep/b.txt": "second",
        }
        assert copy.name == "1"
        assert fetch(TARGET, tmp_path / "cache") == copy


def test_a_second_copy_sends_what_changed_and_removes_what_is_gone(run: Path) -> None:
    with faulty_store() as store:
        upload([run], TARGET)
        (run / "a.txt").write_text("other")
        (run / "deep" / "b.txt").rename(run / "deep" / "c.txt")
        assert upload([run], TARGET).sent == 2
        assert names(store) == {"a.txt", "deep/c.txt", MANIFEST}
        assert store.cat_file("/bucket/runs/1/a.txt") == b"other"
        assert upload([run], TARGET).sent == 0


def test_a_copy_that_fails_has_no_manifest_and_leaves_the_local_files(run: Path, tmp_path: Path) -> None:
    with faulty_store(attempts=2) as store:
        upload([run], TARGET)
        (run / "deep" / "b.txt").write_text("another")
        put, store.put_file = store.put_file, None  # type: ignore[assignment]
        store.put_file = lambda source, place: _refuse_b(put, source, place)  # type: ignore[assignment]
        with pytest.raises(OutputError, match="the copy is not complete") as error:
            upload([run], TARGET)
        assert error.value.code == "not-uploaded"
        assert MANIFEST not in names(store)
        assert (run / "deep" / "b.txt").read_text() == "another"
        with pytest.raises(DataError, match="is no whole copy"):
            fetch(TARGET, tmp_path / "cache")
        store.put_file = put  # type: ignore[method-assign]
        upload([run], TARGET, overwrite=True)
        assert (fetch(TARGET, tmp_path / "cache") / "deep" / "b.txt").read_text() == "another"


def _refuse_b(put: object, source: str, place: str) -> None:
    if place.endswith("b.txt"):
        raise TimeoutError("Slow Down")
    put(source, place)  # type: ignore[operator]


def test_files_of_others_and_places_that_take_nothing_are_refused_before_the_work(run: Path) -> None:
    with faulty_store() as store:
        store.pipe("/bucket/runs/1/theirs.txt", b"1")
        with pytest.raises(OutputError, match=r"holds files that eml did not put there, such as theirs\.txt"):
            check_target(TARGET)
        upload([run], TARGET, overwrite=True)
        assert "theirs.txt" in names(store)
        for place in ("https://host/runs", "hf://datasets/a/b", "memory://bucket"):
            with pytest.raises(OutputError, match=r"nothing is written there|is a whole bucket"):
                check_target(RemotePath(place))


def test_a_copy_whose_files_differ_from_the_manifest_is_not_used(run: Path, tmp_path: Path) -> None:
    with faulty_store() as store:
        upload([run], TARGET)
        store.pipe("/bucket/runs/1/a.txt", b"wrong")
        with pytest.raises(DataError, match=r"is not the file that eml-upload\.json lists"):
            fetch(TARGET, tmp_path / "cache")
        assert not list((tmp_path / "cache").iterdir())
        manifest = json.loads(store.cat_file(f"/bucket/runs/1/{MANIFEST}"))
        manifest["files"]["../outside"] = manifest["files"]["a.txt"]
        store.pipe(f"/bucket/runs/1/{MANIFEST}", json.dumps(manifest).encode())
        with pytest.raises(DataError, match="is no whole copy"):
            fetch(TARGET, tmp_path / "cache")


def test_a_single_file_and_several_are_copied_by_their_names(run: Path) -> None:
    with faulty_store() as store:
        upload([run / "a.txt", run / "deep"], TARGET)
        assert names(store) == {"a.txt", "deep/b.txt", MANIFEST}
        with pytest.raises(DataError, match="no such file or folder"):
            upload([run / "missing"], TARGET)
