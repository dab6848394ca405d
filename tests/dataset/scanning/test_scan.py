"""scan: which files become rows, which become errors, and what is said about the folder."""

import errno
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from PIL import Image

from eml.dataset.scanning.inspect_file import FileRecord
from eml.dataset.scanning.scan import COLUMNS, FolderScan, errors_path, scan_folder, summarise
from eml.dataset.table import read_table, write_table
from eml.errors import DataError
from eml.files import digest

as_user = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")


def image(path: Path, size: tuple[int, int] = (12, 8), colour: int = 100, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = Image.new("RGB", size, (colour, 255 - colour, 60))
    drawn.paste((255, 255, 255), (0, 0, size[0] // 2, size[1]))  # or it would be blank
    drawn.save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two images."""
    for number, name in enumerate(("cat/1.jpg", "cat/2.png", "dog/1.jpg", "dog/2.jpg")):
        image(tmp_path / "data" / name, colour=40 * number)
    return tmp_path / "data"


def reasons(scan: FolderScan) -> dict[str, str]:
    return dict(zip(scan.errors["file_name"], scan.errors["reason"], strict=True))


def test_a_row_tells_all_that_one_read_of_the_file_tells(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = image(root / "cat" / "deep" / "er" / "3.jpg", (30, 20), exif=exif)
    scan = scan_folder(root)
    assert tuple(scan.table.columns) == COLUMNS
    row = scan.table.set_index("file_name").loc["cat/deep/er/3.jpg"]
    assert (row["label"], row["width"], row["height"], row["format"], row["mode"]) == ("cat", 20, 30, "JPEG", "RGB")
    assert (row["content"], row["bytes"]) == (digest(path), path.stat().st_size)
    assert (len(row["hash"]), row["hash_kind"]) == (16, "phash-luma256")
    assert list(scan.table["file_name"]) == ["cat/1.jpg", "cat/2.png", "cat/deep/er/3.jpg", "dog/1.jpg", "dog/2.jpg"]
    (warning,) = scan.warnings
    assert warning.startswith("folders are 3 levels deep; the classes are folders of level 1: 2.")
    assert len(scan.errors) == 0


def test_hashes_are_of_the_wanted_kind_or_left_out(root: Path) -> None:
    assert set(scan_folder(root, hash_kind="phash-imagehash").table["hash_kind"]) == {"phash-imagehash"}
    without = scan_folder(root, hashes=False).table
    assert tuple(without.columns) == tuple(name for name in COLUMNS if not name.startswith("hash"))
    assert without.equals(scan_folder(root).table[without.columns])


def test_files_that_are_unusable_are_listed_with_the_reason(root: Path) -> None:
    (root / "cat" / "empty.jpg").touch()
    (root / "cat" / "text.jpg").write_text("no image")
    whole = (root / "dog" / "1.jpg").read_bytes()
    (root / "dog" / "cut.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (root / "lost.jpg").write_bytes(whole)
    scan = scan_folder(root)
    assert reasons(scan) == {
        "cat/empty.jpg": "empty",
        "cat/text.jpg": "not_an_image",
        "dog/cut.jpg": "truncated",
        "lost.jpg": "not_in_a_class",
    }
    assert list(scan.errors["file_name"]) == sorted(scan.errors["file_name"])
    assert len(scan.table) == 4


def test_litter_hidden_files_and_emls_own_are_ignored(root: Path) -> None:
    before = scan_folder(root)
    write_table(before.table, root / "any name.csv", command="eml scan", root=root)
    for name in ("config.yaml", ".hidden.jpg", "Thumbs.db", "cat/.DS_Store", "cat/desktop.ini"):
        (root / name).write_bytes(b"x")
    for name in ("__MACOSX/cat/1.jpg", ".ipynb_checkpoints/1.jpg", "cat/.cache/1.jpg"):
        image(root / name)
    image(root / "run 1" / "curves.png")
    for name in ("run.json", "config.yaml", "state.pt"):
        (root / "run 1" / name).write_text("{}")
    after = scan_folder(root)
    assert after.table.equals(before.table)
    assert (len(after.errors), after.warnings) == (0, [])


def test_links_out_of_the_folder_are_not_read(root: Path) -> None:
    outside = image(root.parent / "outside" / "secret.jpg")
    (root / "cat" / "link.jpg").symlink_to(outside)
    (root / "bird").symlink_to(outside.parent)
    (root / "cat" / "within.jpg").symlink_to("../dog/1.jpg")
    (root / "cat" / "again").symlink_to("..")
    (root / "cat" / "dangling.jpg").symlink_to("nowhere.jpg")
    (root / "cat" / "circle.jpg").symlink_to("circle.jpg")
    scan = scan_folder(root)
    assert reasons(scan) == {
        "bird": "outside_dataset",
        "cat/link.jpg": "outside_dataset",
        "cat/again": "linked_folder",
        "cat/dangling.jpg": "missing",
        "cat/circle.jpg": "missing",
    }
    by_name = scan.table.set_index("file_name")
    assert by_name["content"]["cat/within.jpg"] == by_name["content"]["dog/1.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_are_not_opened(root: Path) -> None:
    os.mkfifo(root / "cat" / "pipe.jpg")  # opening it would wait for ever
    assert reasons(scan_folder(root)) == {"cat/pipe.jpg": "not_an_image"}


ODD_NAMES = (
    " lead.png",
    "a,b.png",
    'quo"te.png',
    "new\nline.png",
    "NA",
    "😀.png",
    "back\\slash.png",
    "#x.png",
    "=1.png",
)


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows refuses")
def test_odd_names_survive_the_way_through_a_table(root: Path) -> None:
    for number, name in enumerate(ODD_NAMES):
        image(root / ("007", "NA", "😀", "1.0")[number % 4] / name, format="PNG")
    scan = scan_folder(root)
    assert len(scan.table) == 4 + len(ODD_NAMES)
    write_table(scan.table, root.parent / "t.csv", command="eml scan", root=root)
    read = read_table(root.parent / "t.csv", check_files=True).frame
    assert read.astype(str).equals(scan.table.astype(str))


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_no_text_are_errors(root: Path) -> None:
    raw = os.fsencode(root)
    for name in (b"cat/caf\xe9.jpg", b"caf\xe9"):
        os.link(root / "dog" / "1.jpg", raw + b"/" + name)
    assert reasons(scan_folder(root)) == {"cat/caf\\xe9.jpg": "unusable_name", "caf\\xe9": "unusable_name"}


def many(root: Path, count: int) -> None:
    for number in range(count):
        (root / "cat" / f"copy{number:03}.jpg").hardlink_to(root / "cat" / "1.jpg")


@pytest.mark.slow
def test_result_does_not_depend_on_the_number_of_processes(root: Path) -> None:
    many(root, 70)
    (root / "dog" / "text.jpg").write_text("no image")
    counts: list[object] = []

    @contextmanager
    def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
        counts.append(total)
        yield counts.append

    alone, together = scan_folder(root, workers=1), scan_folder(root, workers=2, progress=progress)
    assert alone.table.equals(together.table)
    assert alone.errors.equals(together.errors)
    assert (counts[0], sum(counts[1:])) == (75, 75)


@pytest.mark.slow
def test_a_killed_process_is_reported_and_leaves_none_behind(root: Path) -> None:
    many(root, 200)

    @contextmanager
    def kill(description: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: [child.kill() for child in multiprocessing.active_children()]

    with pytest.raises(DataError, match=r"was killed, perhaps .* files from cat/.*\.jpg to .* No table was written"):
        scan_folder(root, workers=2, progress=kill)
    assert not multiprocessing.active_children()


def test_processes_that_the_system_refuses_are_told_with_what_to_do(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # for the semaphores, in /dev/shm

    many(root, 40)
    monkeypatch.setattr("eml.dataset.scanning.workers.ProcessPoolExecutor", refused)
    told = r"worker processes cannot be started: No space left on device; set `workers=1`"
    with pytest.raises(DataError, match=told):
        scan_folder(root, workers=2)


@pytest.mark.slow
def test_an_interrupt_stops_the_processes(root: Path) -> None:
    many(root, 200)

    @contextmanager
    def interrupt(description: str, total: int) -> Iterator[Callable[[int], None]]:
        def stop(done: int) -> None:
            raise KeyboardInterrupt

        yield stop

    with pytest.raises(KeyboardInterrupt):
        scan_folder(root, workers=2, progress=interrupt)
    assert not multiprocessing.active_children()


def problem_of(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan_folder(folder)
    return str(caught.value).replace(str(folder), "ROOT")


def test_what_is_no_dataset_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    layout = "A dataset has one folder per class: CLASS/image.jpg"
    give = "Give the folder that holds one folder of images per class"
    assert problem_of(folder) == f"ROOT: no such folder. {give}"
    folder.mkdir()
    assert problem_of(folder) == f"ROOT: is empty. {layout}"
    (folder / "cat").mkdir()
    (folder / "dog").mkdir()
    assert problem_of(folder) == f"ROOT: no images found: only empty folders (2). {layout}"
    flat = image(folder / "1.jpg")
    assert problem_of(folder) == (
        f"ROOT: no class folder, only files (1). {layout}. Sort the images into folders, or give the folder above if "
        "this is one class"
    )
    (folder / "mine.csv").touch()
    assert problem_of(folder) == (
        f"ROOT: no class folder, only files (2). {layout}. If mine.csv is a table of your images, eml split, kfold and "
        "train take it: ROOT/mine.csv"
    )
    (folder / "mine.csv").unlink()
    assert problem_of(flat) == f"ROOT: is a file, not a folder. {give}"
    flat.unlink()
    (folder / "cat" / "1.jpg").write_text("no image")
    assert problem_of(folder) == (
        "ROOT: no file in it is a usable image: not_an_image 1. The first:\n"
        "ROOT/cat/1.jpg: its bytes are of no known image format (not_an_image)"
    )
    for name, start in (
        ("t.csv", "is a table; scan makes a table from a folder"),
        ("d.tar.gz", "is an archive. Unpack it"),
    ):
        (tmp_path / name).touch()
        assert problem_of(tmp_path / name).startswith(f"ROOT: {start}")
    (folder / "cat" / "1.jpg").unlink()
    (folder / "cat" / "1.jpg").symlink_to(tmp_path / "t.csv")
    assert problem_of(folder).startswith("ROOT: holds only links that lead out of it (1), which are not followed.")


@as_user
def test_folders_and_files_that_may_not_be_read(root: Path) -> None:
    (root / "dog" / "1.jpg").chmod(0)
    assert reasons(scan_folder(root)) == {"dog/1.jpg": "unreadable"}
    (root / "cat").chmod(0)
    try:
        assert problem_of(root) == (
            "ROOT/cat: cannot be listed: Permission denied. Make it readable (chmod u+rx) or move it out"
        )
    finally:
        (root / "cat").chmod(0o700)


def test_one_class_only_is_reported_with_the_folder_to_give(tmp_path: Path) -> None:
    image(tmp_path / "my images" / "1.jpg")
    assert scan_folder(tmp_path).warnings == [
        "only one class, 'my images'; training needs two. A dataset has one folder per class; if this is one of them, "
        "scan the folder above"
    ]
    image(tmp_path / "my images" / "cat" / "1.jpg")
    (warning,) = scan_folder(tmp_path).warnings
    assert warning.endswith(f"If its own folders are the classes, run: eml scan '{tmp_path}/my images'")


def test_classes_without_or_with_one_image_and_splits_are_reported(root: Path) -> None:
    (root / "bird").mkdir()
    (root / "bird" / "notes.txt").write_text("none yet")
    (root / "cat" / "1.jpg").unlink()
    assert scan_folder(root).warnings == [
        "1 folder (bird) without a usable image, so not a class",
        "1 class (cat) with one image, which cannot be a query",
    ]
    for name in ("train/cat/1.jpg", "test/cat/1.jpg"):
        image(root.parent / "split" / name)
    (warning,) = scan_folder(root.parent / "split").warnings
    assert warning.startswith("the folders test, train look like splits, not classes. If so, run: eml scan ")


def test_summary_counts(root: Path) -> None:
    image(root / "cat" / "3.jpg", (40, 100))
    (root / "lost.txt").touch()
    scan = scan_folder(root)
    assert asdict(summarise(scan)) == {
        "images": 5,
        "classes": 2,
        "bytes": sum(path.stat().st_size for path in root.glob("*/*")),
        "images_per_class": {"min": 2, "median": 2.5, "max": 3},
        "short_side": {"min": 8, "median": 8, "max": 40},
        "long_side": {"min": 12, "median": 12, "max": 100},
        "formats": {"JPEG": 4, "PNG": 1},
        "errors": {"not_in_a_class": 1},
        "blank": 0,
        "unknown_images": 0,
    }


def test_errors_lie_beside_the_table() -> None:
    assert errors_path(Path("x/dataset_info.parquet")) == Path("x/dataset_errors.parquet")
    assert errors_path(Path("x/mine.csv")) == Path("x/mine_errors.csv")


def test_every_column_of_the_table_comes_from_the_record() -> None:
    assert set(COLUMNS) - {"label", "hash_kind"} <= {field.name for field in fields(FileRecord)}


def test_worker_processes_import_neither_pandas_nor_torch() -> None:
    """A worker imports the module of its function; pandas would double its start, torch take it tenfold."""
    heavy = "{'pandas', 'torch', 'scipy'} & set(sys.modules)"
    code = f"import sys, eml.dataset.scanning.workers; sys.exit(', '.join({heavy}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
