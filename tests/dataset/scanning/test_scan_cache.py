"""What a scan keeps: a stopped one goes on where it was, a later one reads only what is new or changed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from eml.dataset.pipeline import resolve
from eml.dataset.scanning import scan as scanning
from eml.dataset.scanning.scan import FolderScan, scan_folder
from eml.errors import DataError, Interrupted, OutputError

LONG_AGO = 1_600_000_000


def image(path: Path, colour: int, when: float = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (colour, 255 - colour, 60)).save(path)
    os.utime(path, (when, when))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six images of two classes and a file that is none, all of them old."""
    for number in range(6):
        image(tmp_path / "data" / ("cat", "dog")[number % 2] / f"{number}.bmp", 40 * number)
    (tmp_path / "data" / "dog" / "notes.txt").write_text("no image")
    os.utime(tmp_path / "data" / "dog" / "notes.txt", (LONG_AGO, LONG_AGO))
    return tmp_path / "data"


def kept(root: Path, **options: object) -> tuple[FolderScan, list[str]]:
    lines: list[str] = []
    return scan_folder(root, table_path=root / "t.csv", report=lines.append, **options), lines  # type: ignore[arg-type]


def same(first: FolderScan, second: FolderScan) -> bool:
    return first.table.equals(second.table) and first.errors.equals(second.errors)


def change_unseen(path: Path, colour: int) -> None:
    """Another image of the same size and time: only reading it can tell."""
    image(path, colour)


def test_unchanged_files_are_taken_over_and_others_read(root: Path) -> None:
    first, lines = kept(root)
    assert (first.cached_files, lines) == (0, [])
    again, lines = kept(root)
    assert (again.cached_files, same(first, again)) == (7, True)
    assert lines == ["7 of 7 files are unchanged since the last scan and are not read again"]
    image(root / "cat" / "0.bmp", 201, LONG_AGO + 1)
    image(root / "cat" / "new.bmp", 202)
    (root / "dog" / "notes.txt").write_text("still no image")
    (root / "dog" / "1.bmp").unlink()
    third, lines = kept(root)
    assert third.cached_files == 4
    assert same(third, scan_folder(root))
    assert kept(root, hash_kind="phash-luma256")[0].cached_files == 6  # notes.txt is as new as the scan


def test_only_reading_again_sees_a_change_that_leaves_size_and_time(root: Path) -> None:
    first, _ = kept(root)
    change_unseen(root / "cat" / "0.bmp", 255)
    assert same(kept(root)[0], first)
    again, lines = kept(root, reread=True)
    assert (again.cached_files, lines) == (0, [])
    assert not same(again, first)
    assert same(again, scan_folder(root))
    assert same(kept(root)[0], again)  # and is what is kept from now on


def test_a_file_as_new_as_its_scan_is_read_again(root: Path) -> None:
    """It may be written once more within one tick of the clock, and then looks the same."""
    for name in ("cat/0.bmp", "dog/notes.txt"):
        os.utime(root / name)
    kept(root)
    assert kept(root)[0].cached_files == 5


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_could_not_be_read_is_tried_again(root: Path) -> None:
    (root / "cat" / "0.bmp").chmod(0)
    assert len(kept(root)[0].errors) == 2
    (root / "cat" / "0.bmp").chmod(0o600)
    assert len(kept(root)[0].errors) == 1


def test_what_was_read_in_another_way_or_elsewhere_is_not_taken_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(root)
    assert kept(root, hash_kind="phash-imagehash")[0].cached_files == 0
    assert kept(root, hash_kind="phash-imagehash")[0].cached_files == 7
    assert kept(root, hashes=False)[0].cached_files == 0
    other = shutil.copytree(root, root.parent / "other" / "data")  # times are copied too
    shutil.copy(root / ".t.csv.eml-scan", root.parent)
    assert scan_folder(other, table_path=root.parent / "t.csv", hashes=False).cached_files == 0
    assert kept(root)[0].cached_files == 0
    monkeypatch.setattr("eml.dataset.scanning.scan_cache.version", lambda name: "0.1")  # of Pillow
    assert kept(root)[0].cached_files == 0


def test_a_data_set_copied_with_its_times_is_not_read_again(root: Path) -> None:
    first, _ = kept(root)
    copy = shutil.copytree(root, root.parent / "copy")
    again, _ = kept(copy)
    assert (again.cached_files, again.table.equals(first.table)) == (7, True)


@pytest.mark.parametrize("damage", ["", "{", "0 []\n", "\x00\xff"])
def test_damaged_records_cost_only_time(root: Path, damage: str) -> None:
    first, _ = kept(root)
    (root / ".t.csv.eml-scan").write_text(damage, encoding="latin-1")
    assert same(kept(root)[0], first)
    assert kept(root)[0].cached_files == 7


def test_a_changed_value_is_noticed(root: Path) -> None:
    first, _ = kept(root)
    whole = (root / ".t.csv.eml-scan").read_text()
    assert "12,8" in whole
    (root / ".t.csv.eml-scan").write_text(whole.replace("12,8", "13,8", 1))
    again, lines = kept(root)
    assert same(again, first)
    assert lines == [
        f"warning: {root}/.t.csv.eml-scan: cannot be used, so more files are read than necessary (it is damaged)"
    ]


def stopping(after: int, stop: Callable[[], None]) -> scanning.Progress:
    @contextmanager
    def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
        seen = 0

        def advance(done: int) -> None:
            nonlocal seen
            seen += done
            if description == "reading" and seen >= after:
                stop()

        yield advance

    return progress


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_after_an_interrupt_a_scan_goes_on_where_it_was(root: Path, workers: int) -> None:
    for number in range(100):
        (root / "cat" / f"copy{number:02}.bmp").hardlink_to(root / "cat" / "0.bmp")
    before = sorted(path.name for path in root.iterdir())
    with pytest.raises(Interrupted) as stopped:
        kept(root, progress=stopping(40, interrupt), workers=workers)
    read = int(str(stopped.value).split()[1])
    assert 40 <= read < 107
    assert str(stopped.value) == (
        f"interrupted: {read} of 107 files have been read and saved. Run the same command to continue"
    )
    scan, lines = kept(root, workers=workers)
    assert lines == [f"continuing a scan that was stopped: {read} of 107 files have been read, {107 - read} are left"]
    assert scan.cached_files == read
    assert same(scan, scan_folder(root))
    assert sorted(path.name for path in root.iterdir()) == sorted([".t.csv.eml-scan", *before])


def test_a_scan_stopped_after_its_last_file_keeps_all(root: Path) -> None:
    with pytest.raises(Interrupted, match="7 of 7 files"):
        kept(root, progress=stopping(7, interrupt))
    assert kept(root)[0].cached_files == 7
    assert kept(root)[1] == ["7 of 7 files are unchanged since the last scan and are not read again"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from eml.dataset.scanning import scan
from tests.dataset.scanning.test_scan_cache import stopping
scan.SAVE_EVERY = 0.0
root = Path(sys.argv[1])
kill = stopping(5, lambda: os.kill(os.getpid(), signal.SIGKILL))
scan.scan_folder(root, table_path=root / "t.csv", workers=1, progress=kill)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_scan_loses_nothing_that_was_written(root: Path) -> None:
    kept(root)
    image(root / "dog" / "5.bmp", 99, LONG_AGO + 1)
    for number in range(8):
        image(root / "bird" / f"{number}.bmp", number)
    done = subprocess.run([sys.executable, "-c", KILLED, str(root), str(Path(__file__).parents[3])], check=False)
    assert done.returncode == -signal.SIGKILL
    (root / ".t.csv.eml-scan.parts" / ".eml-tmp-half").write_text('{"settings"')  # what a kill within a write leaves
    scan, lines = kept(root)
    assert lines == [
        "continuing a scan that was stopped: 5 of 15 files have been read, 4 are left",
        "6 of 15 files are unchanged since the last scan and are not read again",
    ]
    assert same(scan, scan_folder(root))
    assert not (root / ".t.csv.eml-scan.parts").exists()
    assert kept(root)[0].cached_files == 15


def test_a_scan_that_finds_nothing_usable_or_cannot_write_leaves_the_records_as_they_were(root: Path) -> None:
    kept(root)
    records = (root / ".t.csv.eml-scan").read_bytes()
    (root / ".t.csv.eml-scan.parts").write_text("in the way")
    image(root / "cat" / "new.bmp", 7)
    with pytest.raises(OutputError, match=r"parts/.*: cannot be written"):
        kept(root, progress=stopping(1, interrupt))
    for path in root.glob("*/*.bmp"):
        path.unlink()
    with pytest.raises(DataError, match="no file in it is a usable image"):
        kept(root)
    assert (root / ".t.csv.eml-scan").read_bytes() == records


def test_a_folder_given_to_a_later_step_goes_on_too(root: Path) -> None:
    with pytest.raises(Interrupted):
        resolve(root, "split", progress=stopping(3, interrupt))
    lines: list[str] = []
    assert len(resolve(root, "split", report=lines.append).frame) == 6
    assert lines[1] == "continuing a scan that was stopped: 3 of 7 files have been read, 4 are left"
