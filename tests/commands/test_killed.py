"""A data command that is killed, or out of disk, after any of its writes leaves what later commands can tell.

They see either all tables of before or all of after, or refuse; and the same command, run again, mends it.
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import eml
from eml.dataset.ancestry import staleness
from eml.dataset.pipeline import resolve, table_to_evaluate
from eml.dataset.table import Table
from eml.errors import DataError, EmlError
from eml.files import TEMPORARY_PREFIX

Command = Callable[[Path], Any]


def scan(photos: Path) -> None:
    eml.scan(photos, workers=1)


def add_an_image(photos: Path) -> None:
    (photos / "class 0" / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (44, 40), (9, 9, 9)).save(photos / "class 1" / "new.jpg")


def filter(photos: Path) -> None:
    eml.filter(photos, dedup=True, hash_only=True, threshold=20)


def split(photos: Path) -> None:
    eml.split(photos, by="alternate", query_gallery=True)


def kfold(photos: Path) -> None:
    eml.kfold(photos, k=2, by="class")


def merge(photos: Path) -> None:
    eml.merge([photos, f"more={photos.parent / 'more'}"], out=photos.parent / "merged")


def add_a_dataset(photos: Path) -> None:
    shutil.copytree(photos / "class 0", photos.parent / "more" / "class 0")
    shutil.copytree(photos / "class 0", photos.parent / "more" / "class 9")


def audit(photos: Path) -> None:
    eml.audit(photos / "dataset_train.csv", photos / "dataset_test.csv", threshold=40, out=photos / "pairs.csv")


def suspects(photos: Path) -> None:
    eml.suspects(photos / "found.npz", one_network=True, root=photos)


def embed(photos: Path) -> None:
    frame = pd.read_csv(photos / "dataset_info.csv", dtype=str)
    embeddings = np.random.default_rng(0).normal(size=(len(frame), 8)).astype(np.float32)
    names = {name: frame[name].to_numpy(str) for name in ("label", "file_name")}
    np.savez(photos / "found.npz", embeddings=embeddings, **names)


def first(photos: Path) -> None:
    """Leave the images alone, so that a command writes for the first time."""
    for file in photos.iterdir():
        if file.is_file():
            file.unlink()


def nothing(photos: Path) -> None:
    """Leave the tables of the pipeline: a command replaces its own."""


def before_split(photos: Path) -> None:
    for name in ("dataset_train.csv", "dataset_test.csv", "classes_train.csv", "classes_test.csv", "folds.csv"):
        (photos / name).unlink()
        (photos / f"{name}.eml.json").unlink()


COMMANDS: dict[str, tuple[Command, Command]] = {
    "scan, first": (first, scan),
    "scan": (add_an_image, scan),
    "filter, first": (nothing, filter),
    "filter": (lambda photos: eml.filter(photos, dedup=True), filter),
    "split, first": (before_split, split),
    "split": (nothing, split),
    "kfold": (nothing, kfold),
    "merge": (add_a_dataset, merge),
    "audit": (nothing, audit),
    "suspects": (
        lambda photos: (embed(photos), eml.suspects(photos / "found.npz", root=photos, min_score=0.5)),
        suspects,
    ),
}


class Killed(BaseException):
    """What a test stops a command with."""


class Writes:
    """Counts the files that a command puts into place, and stops it before one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, stop: Callable[[], Any], at: int | None = None) -> None:
        self.count, self.at, self.stop, self.stopped = 0, at, stop, False
        self.replace, self.unlink = Path.replace, Path.unlink
        patch.setattr(Path, "replace", lambda path, target: self.put(path, target))
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: self.remove(path, missing_ok))

    def put(self, path: Path, target: Path) -> Path:
        if self.count == self.at:
            self.stopped = True
            self.stop()
        self.count += 1
        return self.replace(path, target)

    def remove(self, path: Path, missing_ok: bool) -> None:
        if not self.stopped:  # who was killed cleans nothing up
            self.unlink(path, missing_ok)


def killed() -> None:
    raise Killed


def out_of_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def exited() -> None:
    os._exit(9)


def run_stopped(command: Command, folder: Path, stop: Callable[[], Any], at: int) -> None:
    """Run a command in the folder until it is stopped before its write number `at`."""
    if stop is exited:
        if (child := os.fork()) == 0:
            Writes(pytest.MonkeyPatch(), stop, at)
            command(folder)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        return
    with pytest.MonkeyPatch.context() as patch:
        Writes(patch, stop, at)
        with pytest.raises((Killed, EmlError)):
            command(folder)


def tables(folder: Path) -> dict[Path, bytes]:
    """Return the tables that eml wrote in a folder and beside it, with their bytes."""
    files = [path for path in folder.parent.rglob("*.eml.json") if not path.name.startswith(TEMPORARY_PREFIX)]
    paths = [path.with_name(path.name.removesuffix(".eml.json")) for path in files]
    return {path.relative_to(folder.parent): path.read_bytes() for path in paths if path.is_file()}


def accepted(folder: Path) -> dict[Path, bytes]:
    """Return those that are up to date."""
    return {path: data for path, data in tables(folder).items() if staleness(folder.parent / path) is None}


def classes(read: Callable[[], Table]) -> set[str]:
    """Return the classes of the table that a command reads; none where it refuses."""
    try:
        return set(read().frame["label"])
    except DataError as error:
        if error.code not in ("out-of-date", "missing-file"):
            raise
        return set()


def assert_consistent(photos: Path, old: dict[Path, bytes], new: dict[Path, bytes], place: str) -> None:
    """Fail where later commands would read tables of before and of after, or train on what they evaluate."""
    kinds: dict[bool, list[str]] = {}
    for path, data in accepted(photos).items():
        if path in new and old.get(path) != new[path]:
            kinds.setdefault(data == new[path], []).append(str(path))
    assert len(kinds) < 2, (place, kinds)
    for read in (lambda: resolve(photos, "kfold"), lambda: eml.kfold(photos, k=2, out=photos.parent / "later").table):
        train = classes(read)
        for test in (lambda: table_to_evaluate(photos, None), lambda: resolve(photos / "dataset_test.csv", "evaluate")):
            shared = train & classes(test)
            assert not shared or not tables(photos).keys() & {Path("photos/dataset_test.csv")}, (place, shared)


QUICK = [("split", killed), ("split, first", killed), ("kfold", out_of_disk)]
ALL = [(name, stop) for name in COMMANDS for stop in (killed, out_of_disk, exited)]


@pytest.mark.parametrize(
    ("name", "stop"), [*QUICK, *(pytest.param(*way, marks=pytest.mark.wide) for way in ALL if way not in QUICK)]
)
def test_a_command_stopped_after_any_write_is_told_from_a_finished_one_and_mended_by_itself(
    name: str, stop: Callable[[], Any], photos: Path, tmp_path: Path
) -> None:
    prepare, command = COMMANDS[name]
    prepare(photos)
    done = Path(shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-done"))) / "photos"
    with pytest.MonkeyPatch.context() as patch:
        writes = Writes(patch, stop)
        command(done)
    old, new = tables(photos), tables(done)
    assert writes.count >= 2
    for at in range(writes.count):
        place = f"{name}, {stop.__name__} before write {at + 1} of {writes.count}"
        folder = Path(shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-{at}"))) / "photos"
        run_stopped(command, folder, stop, at)
        assert_consistent(folder, old, new, place)
        command(folder)
        assert accepted(folder).keys() & new.keys() == accepted(done).keys() & new.keys(), place
        shutil.rmtree(folder.parent)
