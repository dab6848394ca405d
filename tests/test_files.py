"""Files and folders are replaced whole, whenever the process is killed, and what a kill leaves is taken away."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eml import files
from eml.files import restore_folders, whole_file, whole_folder, write_text


def write(folder: Path, text: str) -> None:
    with whole_folder(folder) as temporary:
        for name in ("a", "b"):
            (temporary / name).write_text(text)


def content(folder: Path) -> set[str]:
    return {(folder / name).read_text() for name in ("a", "b")}


def killed_at(rename: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that is killed before its rename number `rename`; return whether it came so far."""
    if (child := os.fork()) == 0:
        renames = iter(range(rename + 1))
        replace, exchange = Path.replace, files.exchange

        def counted(call: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
            def put(path: Path, partner: Path) -> object:
                if next(renames) == rename:
                    os._exit(9)
                return call(path, partner)

            return put

        Path.replace = counted(replace)  # type: ignore[assignment,method-assign]
        files.exchange = counted(exchange)  # type: ignore[assignment]
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_the_old_or_the_new_one_whenever_its_writer_is_killed(
    can_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "exchange", lambda path, partner: False)
    elif not files.exchange(tmp_path, tmp_path):
        pytest.skip("this system cannot exchange folders")
    write(folder := tmp_path / "kept", "old")
    at = 0
    while killed_at(at, lambda: write(folder, "new")):
        if can_exchange:
            assert folder.is_dir(), "it was away for a moment"
        restore_folders(tmp_path)
        assert content(folder) == {"old"}
        at += 1
    assert at == (1 if can_exchange else 3)
    assert content(folder) == {"new"}
    write(folder, "newer")
    assert content(folder) == {"newer"}


def test_only_a_folder_that_was_moved_aside_is_brought_back(tmp_path: Path) -> None:
    for name in (".eml-tmp-0123abcd-x-old", ".eml-tmp-old-0123abcd.npz", ".eml-tmp-old-0123abcd-", ".eml-tmp-old-mine"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    restore_folders(tmp_path)
    restore_folders(tmp_path / "missing")
    assert sorted(tmp_path.iterdir()) == before


def test_an_exchange_says_whether_it_was_done(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert not files.exchange(tmp_path / "one", tmp_path / "missing")
    assert (tmp_path / "one").is_dir()


def test_what_a_killed_command_left_is_removed_after_a_day_and_nothing_else(tmp_path: Path) -> None:
    old = [".eml-tmp-0123abcd-t.csv", ".eml-tmp-0123abcd.csv"]
    kept = [
        ".eml-tmp-mine",
        ".eml-tmp-old-0123abcd-away",
        "t.csv",
        ".eml-tmp-0123abcdef-t.csv",
        ".eml-tmp-0000aaaa-t.csv",
    ]
    for name in (*old, *kept):
        (tmp_path / name).write_text("half")
    (tmp_path / ".eml-tmp-0123abcd-run").mkdir()
    (tmp_path / ".eml-tmp-0123abcd-run" / "half").touch()
    for path in tmp_path.iterdir():
        if path.name != kept[-1]:  # somebody may be writing it
            os.utime(path, (time.time() - 90_000,) * 2)
    write_text(tmp_path / "new.csv", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "new.csv"])
    with whole_file(tmp_path / "t.csv") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "t.csv").read_text() == "whole"


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "kept").write_text("old")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda file: seen.append((os.fstat(file).st_ino, path.read_text())))
    write_text(path, "new")
    assert seen[0] == (path.stat().st_ino, "old")
    assert seen[-1] == (tmp_path.stat().st_ino, "new"), "and then the folder, so that the name is there too"
