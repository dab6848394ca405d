import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import eml
from eml.errors import ConfigError, DataError, OutputError
from eml.storage import RemotePath
from eml.storage import upload as upload_module
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


def test_a_damaged_copy_is_fetched_again_and_a_folder_that_is_none_makes_room(run: Path, tmp_path: Path) -> None:
    with faulty_store() as store:
        upload([run], TARGET)
        copy = fetch(TARGET, tmp_path / "cache")
        damages: list[Callable[[], object]] = [
            lambda: (copy / "a.txt").write_text("fir"),
            lambda: (copy / "deep" / "b.txt").unlink(),
            lambda: (copy.parent / ".copied-from").unlink(),
            lambda: shutil.rmtree(copy),
            lambda: (copy / "a.txt").unlink() or (copy / "a.txt").symlink_to(run / "a.txt"),  # type: ignore[func-returns-value]
            lambda: shutil.rmtree(copy.parent) or copy.parent.write_text("a file"),  # type: ignore[func-returns-value]
        ]
        for damage in damages:
            damage()
            assert fetch(TARGET, tmp_path / "cache") == copy
            assert ((copy / "a.txt").read_text(), (copy / "deep/b.txt").read_text()) == ("first", "second")
            assert not (copy / "a.txt").is_symlink()
            assert [path.name for path in (tmp_path / "cache").iterdir()] == [copy.parent.name]
        requests = store.requests["a.txt"]
        assert fetch(TARGET, tmp_path / "cache") == copy
        assert store.requests["a.txt"] == requests


@pytest.mark.parametrize("other", ["first", "half"])
def test_a_copy_of_another_process_is_believed_only_where_it_is_whole(run: Path, tmp_path: Path, other: str) -> None:
    with faulty_store() as store:
        upload([run], TARGET)
        copy = fetch(TARGET, tmp_path / "cache")
        aside = copy.parent.rename(tmp_path / "aside")
        (aside / "1" / "deep" / "c.txt").write_text("its own")

        def appear(number: int, data: bytes) -> bytes:
            if aside.exists():
                (aside / "1" / "a.txt").write_text(other)
                aside.rename(copy.parent)
            return data

        store.faults["a.txt"] = appear
        assert fetch(TARGET, tmp_path / "cache") == copy
        assert (copy / "a.txt").read_text() == "first"
        assert (copy / "deep" / "c.txt").exists() == (other == "first")


def test_a_file_comes_in_blocks_and_no_more_of_it_than_the_manifest_says(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_module, "_BLOCK", 2)
    with faulty_store() as store:
        upload([run], TARGET)
        assert (fetch(TARGET, tmp_path / "cache") / "a.txt").read_text() == "first"
        assert store.requests["a.txt"] == 3
        store.pipe("/bucket/runs/1/a.txt", b"first" * 1_000)
        store.requests.clear()
        with pytest.raises(DataError, match=r"a\.txt: is not the file that eml-upload\.json lists"):
            fetch(TARGET, tmp_path / "other")
        assert store.requests["a.txt"] == 0


HOSTILE = {
    "deep": "[" * 200_000,
    "half a character": '{"files": {"\\ud800x": {"bytes": 1, "digest": "1"}}}',
    "no files": '{"files": {}}',
    "a file in a file": '{"files": {"a": {"bytes": 1, "digest": "1"}, "a/b": {"bytes": 1, "digest": "1"}}}',
    "one file twice": '{"files": {"a/b": {"bytes": 1, "digest": "1"}, "a//b": {"bytes": 1, "digest": "1"}}}',
    "fewer than none": '{"files": {"a": {"bytes": -1, "digest": "1"}}}',
    "no number": '{"files": {"a": {"bytes": true, "digest": "1"}}}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_list_of_files_that_cannot_be_one_is_that_of_no_whole_copy(text: str, tmp_path: Path) -> None:
    with faulty_store() as store:
        store.pipe(f"/bucket/runs/1/{MANIFEST}", text.encode())
        with pytest.raises(DataError, match="is no whole copy"):
            fetch(TARGET, tmp_path / "cache")


def test_what_a_killed_process_left_is_removed_an_hour_later(run: Path, tmp_path: Path) -> None:
    left, used = (tmp_path / "cache" / f".{key}-12345678" for key in ("old", "new"))
    for folder in (left, used):
        (folder / "1").mkdir(parents=True)
        (folder / "1" / "model.bin").write_text("half")
        for path in (folder / "1", folder):
            os.utime(path, times=(0, 0))
    os.utime(left / "1" / "model.bin", times=(0, 0))  # the other is being written
    with faulty_store():
        upload([run], TARGET)
        fetch(TARGET, tmp_path / "cache")
    assert (left.exists(), used.exists()) == (False, True)


def test_a_folder_of_this_machine_takes_a_copy_too(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "www" / "run 1"
    result = eml.upload(run, to=place.as_uri())
    assert result.to_dict() | {"to": ""} == {"to": "", "files": 2, "bytes": 11, "sent": 2}
    assert sorted(path.name for path in place.rglob("*") if path.is_file()) == ["a.txt", "b.txt", MANIFEST]
    (run / "a.txt").unlink()
    assert eml.upload(run, to=place.as_uri()).copy.sent == 0
    assert not (place / "a.txt").exists()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x").write_text("")
    with pytest.raises(OutputError, match="such as x"):
        eml.upload(run, to=(tmp_path / "theirs").as_uri())
    with pytest.raises(OutputError, match="lies in the other"):
        eml.upload(run, to=(run / "copy").as_uri())
    with pytest.raises(ConfigError, match=r"such as s3://bucket/folder or file:///folder, got runs/1"):
        eml.upload(run, to="runs/1")
