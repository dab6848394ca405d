import errno
import json
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eml.errors import DataError, OutputError
from eml.images.augment.base import Augmenter
from eml.images.cache import CachedSource, CacheSettings, CacheStore, FillResult, caches, fill
from eml.images.cache import source as source_module
from eml.images.cache import store as store_module
from eml.images.crop import Crop
from eml.images.decode import decode
from eml.images.loading import EpochBatches, ImageDataset, InOrder, batches
from eml.images.preprocess import Fit, Preprocess, reduced
from eml.images.source import FileSource

RAW = CacheSettings("images", 24, "bicubic")
JPEG = CacheSettings("images", 24, "bicubic", "jpeg", 95)
NAMES = [f"{number} é.{suffix}" for number, suffix in enumerate(["png", "jpg"] * 6)]
SIZES = [(60, 40), (30, 90), (24, 24), (100, 20), (10, 12), (33, 47)] * 2


def draw(path: Path, size: tuple[int, int], seed: int) -> None:
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, quality=92)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, (name, size) in enumerate(zip(NAMES, SIZES, strict=True)):
        draw(folder / name, size, seed)
    return folder


def filled(root: Path, settings: CacheSettings = RAW, **options: Any) -> FillResult:
    return fill(root / ".eml_cache", settings, FileSource(root, NAMES), **options)


def same(source: CachedSource, other: CachedSource) -> bool:
    return len(source) == len(other) and all(
        np.array_equal(source.pixels(row), other.pixels(row)) for row in range(len(source))
    )


def test_raw_images_come_back_as_they_were_reduced(root: Path) -> None:
    lines: list[str] = []
    done = filled(root, report=lines.append)
    assert done.added == len(NAMES)
    assert lines[0].startswith("cache: 12 images to add, about ")
    for row, (name, size) in enumerate(zip(NAMES, SIZES, strict=True)):
        expected = np.asarray(reduced(decode(root / name, at_least=(24, 24)), 24, "bicubic"))
        np.testing.assert_array_equal(done.source.pixels(row), expected)
        assert min(expected.shape[:2]) == min(24, *size)
        assert expected.shape[1] / expected.shape[0] == pytest.approx(size[0] / size[1], rel=0.05)


def test_what_is_no_square_covers_height_and_width_and_is_found_again(root: Path) -> None:
    settings = replace(RAW, side=(48, 24))
    done = filled(root, settings)
    for row, (width, height) in enumerate(SIZES):
        stored = done.source.pixels(row).shape
        scale = min(1, max(48 / height, 24 / width))
        assert stored[:2] == pytest.approx((height * scale, width * scale), abs=1)
    assert filled(root, settings).added == 0
    assert str(settings) == "images, 48×24, bicubic, raw"
    assert settings.name not in (RAW.name, replace(RAW, side=(24, 48)).name)
    (text, _) = caches(root / ".eml_cache")[root / ".eml_cache" / settings.name]
    assert text == str(settings)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_cached_input_that_is_no_square_is_the_evaluations_to_the_bit(root: Path, fit: Fit) -> None:
    settings = CacheSettings("squares", (48, 24), "bicubic", fit=fit)
    cached, files = filled(root, settings).source, FileSource(root, NAMES)
    preprocess = Preprocess(size=(48, 24), fit=fit)
    for row in range(len(NAMES)):
        (own, _), (expected, _) = (ImageDataset(source, preprocess)[(0, 0, row)] for source in (cached, files))
        assert torch.equal(own, expected)
        assert own.shape == (1, 3, 48, 24)


def test_the_cache_of_a_square_has_the_name_that_it_had() -> None:
    """A hash over the settings: another text would leave all caches on disk unread."""
    assert RAW.header()["side"] == 24
    assert ", side=24, " in ", ".join(f"{key}={value}" for key, value in sorted(RAW.header().items()))


def test_jpeg_images_come_back_nearly_and_take_less_room(root: Path) -> None:
    for seed, name in enumerate(NAMES):
        draw(root / name, (200, 150), seed)
    raw, jpeg = filled(root, replace(RAW, side=96)), filled(root, replace(JPEG, side=96))
    for row in range(len(NAMES)):
        one, other = (source.pixels(row).astype(int) for source in (raw.source, jpeg.source))
        assert one.shape == other.shape == (96, 128, 3)
        assert np.abs(one - other).mean() < 3
    assert jpeg.bytes < raw.bytes / 3


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_squares_are_what_evaluation_makes_of_the_files_bit_for_bit(root: Path, fit: Fit) -> None:
    preprocess = Preprocess(size=24, fit=fit)
    source = filled(root, CacheSettings("squares", 24, "bicubic", fit=fit)).source
    cached, files = (ImageDataset(each, preprocess) for each in (source, FileSource(root, NAMES)))
    for (pixels, rows), (expected, _) in zip(
        *(batches(each, InOrder(len(NAMES), 5)) for each in (cached, files)), strict=True
    ):
        assert torch.equal(pixels, expected), rows


def test_a_box_is_what_is_kept_and_one_file_may_have_several(root: Path) -> None:
    boxes = np.array([[10, 5, 40, 35], [-1, -1, -1, -1], [0, 0, 8, 9]])
    files = FileSource(root, [NAMES[0]] * 3, boxes)
    source = fill(root / "cache", RAW, files).source
    for row, box in enumerate([(10, 5, 40, 35), None, (0, 0, 8, 9)]):
        expected = reduced(decode(root / NAMES[0], box=box), 24, "bicubic")
        np.testing.assert_array_equal(source.pixels(row), np.asarray(expected))


def test_crops_of_a_cached_image_are_those_of_its_file_but_for_resampling(root: Path) -> None:
    augmenter = Augmenter(crop=Crop(0.4, 1.2), flip=0.5)
    for fit in ("squash", "crop", "pad"):
        preprocess = Preprocess(size=16, fit=fit)
        cached, files = (
            ImageDataset(source, preprocess, augmenter=augmenter)
            for source in (filled(root).source, FileSource(root, NAMES))
        )
        for row in (0, 1, 2):
            one, other = (each[(1, row, row)][0].double() for each in (cached, files))  # type: ignore[union-attr]
            assert (one - other).abs().mean() < 12, (fit, row)
            assert (one - other.flip(3)).abs().mean() > 12, (fit, row)


def test_nothing_is_made_again_until_a_image_changes_and_then_that_one_alone(root: Path) -> None:
    first = filled(root)
    assert filled(root).added == 0
    draw(root / NAMES[3], (50, 50), seed=99)
    again = filled(root)
    assert again.added == 1
    expected = reduced(decode(root / NAMES[3], at_least=(24, 24)), 24, "bicubic")
    np.testing.assert_array_equal(again.source.pixels(3), np.asarray(expected))
    assert np.array_equal(again.source.pixels(4), first.source.pixels(4))
    (root / "new.png").write_bytes((root / NAMES[0]).read_bytes())
    assert fill(root / ".eml_cache", RAW, FileSource(root, [*NAMES[::-1], "new.png"])).added == 1


def test_a_file_with_another_time_and_the_same_bytes_is_not_made_again(root: Path) -> None:
    first = filled(root)
    for name in NAMES:
        os.utime(root / name, ns=(1, 1))
    again = filled(root)
    assert (again.added, again.renewed) == (0, len(NAMES))
    assert filled(root).renewed == 0
    assert same(first.source, again.source)


def test_a_cache_moves_with_its_images(root: Path) -> None:
    filled(root)
    moved = root.rename(root.with_name("moved"))
    assert filled(moved).added == 0


@pytest.mark.parametrize(
    "other",
    [
        JPEG,
        CacheSettings("images", 24, "bicubic", "jpeg", 80),
        CacheSettings("images", 25, "bicubic"),
        CacheSettings("images", 24, "bilinear"),
        CacheSettings("squares", 24, "bicubic", fit="squash"),
        CacheSettings("squares", 24, "bicubic", fit="pad"),
    ],
    ids=str,
)
def test_other_settings_have_another_cache(root: Path, other: CacheSettings) -> None:
    filled(root)
    assert filled(root, other).added == len(NAMES)
    assert [text for text, _ in caches(root / ".eml_cache").values()] in (
        [str(RAW), str(other)],
        [str(other), str(RAW)],
    )
    assert filled(root).added == 0


def test_a_cache_that_does_not_hold_what_its_name_says_is_refused(root: Path) -> None:
    filled(root)
    filled(root, JPEG)
    header, other = CacheStore(root / ".eml_cache", RAW).header, CacheStore(root / ".eml_cache", JPEG)
    header.write_bytes(other.header.read_bytes())
    with pytest.raises(DataError, match=r"describes images, side 24, bicubic, jpeg of quality 95, which differs"):
        filled(root)
    header.write_text('{"side": 24')
    with pytest.raises(DataError, match=r"header\.json: is damaged, so the cache is not read"):
        filled(root)
    header_of_jpeg = json.loads(other.header.read_text())
    other.header.write_text(json.dumps(header_of_jpeg | {"pillow": "0.1"}))
    with pytest.raises(DataError, match="so the cache is not read"):
        filled(root, JPEG)


@pytest.mark.parametrize("kind", ["pictures", "squares"])
def test_a_cache_of_0_1_0_is_not_read_but_listed_so_that_it_can_be_removed(root: Path, kind: str) -> None:
    settings = CacheSettings("squares", 24, "bicubic", fit="squash") if kind == "squares" else RAW
    old = root / ".eml_cache" / f"{kind}-a79565cb39572960"
    old.mkdir(parents=True)
    header = settings.header() | {"kind": kind, "made_as": 1}
    del header["version"]
    (old / "header.json").write_text(json.dumps(header))
    (old / "data.bin").write_bytes(b"old")
    assert filled(root, settings).added == len(NAMES)
    listed = caches(root / ".eml_cache")
    assert set(listed) == {old, CacheStore(root / ".eml_cache", settings).path}
    assert listed[old][0].startswith(f"{kind}, side 24, ")


def test_data_cut_short_are_noticed_and_made_again(root: Path) -> None:
    first = filled(root)
    data = CacheStore(root / ".eml_cache", RAW).data
    size = data.stat().st_size
    os.truncate(data, size - 2000)
    with pytest.raises(
        DataError, match=rf"data\.bin: has {size - 2000:,} bytes of at least {size:,}: it was cut short"
    ):
        first.source._open()
    lines: list[str] = []
    again = filled(root, report=lines.append)
    assert 0 < again.added < len(NAMES)
    assert "are damaged or cut off, and are stored again" in lines[0]
    data.unlink()
    assert filled(root).added == len(NAMES)


def test_a_damaged_image_is_found_by_a_check_and_made_again(root: Path) -> None:
    for settings in (RAW, JPEG):
        first = filled(root, settings)
        expected = [first.source.pixels(row).copy() for row in range(len(NAMES))]
        data = CacheStore(root / ".eml_cache", settings).data
        with data.open("r+b") as file:
            file.seek(500)
            file.write(b"damage")
        if settings is JPEG:
            with pytest.raises(DataError, match=r"row 0 is damaged. Run eml cache"):
                filled(root, settings).source.pixels(0)
        again = filled(root, settings, check=True)
        assert again.added == 1
        assert all(np.array_equal(again.source.pixels(row), pixels) for row, pixels in enumerate(expected))


def test_an_index_cut_anywhere_loses_whole_blocks_and_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "COMMIT_BYTES", 0)
    first = filled(root)
    store = CacheStore(root / ".eml_cache", RAW)
    whole = store.index.read_bytes()
    for cut in (0, 5, 80, 81, 200, len(whole) - 1):
        store.index.write_bytes(whole[:cut])
        again = filled(root)
        assert 0 < again.added <= len(NAMES)
        assert same(first.source, again.source)
    store.index.write_bytes(whole[:40] + b"?" + whole[41:])
    assert filled(root).added == len(NAMES)


KILLED = """
import os, sys
from pathlib import Path
from eml.images.cache import CacheSettings, fill, store
from eml.images.source import FileSource
store.COMMIT_BYTES = 30_000
root = Path(sys.argv[1])
names = sorted(path.name for path in root.iterdir() if path.is_file())
for line in sys.stdin:
    if (pid := os.fork()) == 0:
        fill(root / ".eml_cache", CacheSettings("images", 24, "bicubic"), FileSource(root, names))
        os._exit(0)
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("gone", flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_what_the_next_one_goes_on_from(root: Path) -> None:
    for number in range(400):
        draw(root / f"more {number}.png", (40, 30 + number % 9), number)
    names = sorted(path.name for path in root.iterdir() if path.is_file())
    expected = fill(root / "undisturbed", RAW, FileSource(root, names))
    store, kept, draws = CacheStore(root / ".eml_cache", RAW), [0], random.Random(0)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    for _ in range(6):
        print("go", file=child.stdin, flush=True)
        number = int(child.stdout.readline())
        give_up = time.monotonic() + 2
        while time.monotonic() < give_up and len(store.entries()) <= kept[-1]:
            time.sleep(0.002)
        time.sleep(draws.uniform(0, 0.03))
        with suppress(ProcessLookupError):  # it may have ended on a busy machine
            os.kill(number, signal.SIGKILL)
        assert child.stdout.readline() == "gone\n"
        entries = store.entries()
        assert not store._differ(entries).any()
        kept.append(len(entries))
    child.communicate()
    assert kept == sorted(kept)
    done = fill(root / ".eml_cache", RAW, FileSource(root, names))
    assert done.added == len(names) - kept[-1]
    assert same(done.source, expected.source)


def test_images_that_cannot_be_read_are_all_named_and_the_others_kept(root: Path) -> None:
    (root / NAMES[2]).write_bytes(b"no image")
    (root / NAMES[7]).unlink()
    with pytest.raises(DataError) as caught:
        filled(root)
    assert [NAMES[2] in caught.value.problems[0], NAMES[7] in caught.value.problems[1]] == [True, True]
    draw(root / NAMES[2], (30, 30), 2)
    draw(root / NAMES[7], (30, 30), 7)
    assert filled(root).added == 2


@pytest.mark.parametrize("commit_bytes", [0, 1000, 10**9])
def test_a_full_disk_stops_with_a_message_and_keeps_what_is_there(
    commit_bytes: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index, which comes last, finds no room either, but where images have given some up."""
    free = 15_000
    make_room = store_module.CacheWriter._make_room

    def full(file: Any, data: bytes) -> None:
        nonlocal free
        file.write(data[:free])
        free -= len(data)
        if free < 0:
            free = 0
            raise OSError(errno.ENOSPC, "No space left on device")

    def making_room(writer: store_module.CacheWriter) -> None:
        nonlocal free
        before = writer._end
        make_room(writer)
        free += before - writer._end

    monkeypatch.setattr(store_module, "COMMIT_BYTES", commit_bytes)
    monkeypatch.setattr(store_module, "INDEX_ROOM", 1000)
    monkeypatch.setattr(store_module, "_write_all", full)
    monkeypatch.setattr(store_module.CacheWriter, "_make_room", making_room)
    with pytest.raises(OutputError, match=r"No space left on device\. The stored images remain"):
        filled(root)
    monkeypatch.undo()
    store = CacheStore(root / ".eml_cache", RAW)
    assert 2 <= len(store.entries()) < len(NAMES)
    assert not store._differ(store.entries()).any()
    done = filled(root)
    assert done.added <= len(NAMES) - 2
    assert same(done.source, fill(root / "other", RAW, FileSource(root, NAMES)).source)


def test_what_will_not_fit_is_refused_before_it_is_begun(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10_000}))
    with pytest.raises(OutputError, match=r"12 images need about .* MiB \(images, side 24, bicubic, raw\)"):
        filled(root)
    assert not CacheStore(root / ".eml_cache", RAW).data.exists()


def test_a_second_process_waits_for_the_first_and_then_finds_all_there(root: Path) -> None:
    store = CacheStore(root / ".eml_cache", RAW)
    store.folder.mkdir()
    store.create()
    lines: list[str] = []
    results: list[FillResult] = []
    with store.locked(lambda line: None):
        waiting = threading.Thread(target=lambda: results.append(filled(root, report=lines.append)))
        waiting.start()
        while not lines:
            time.sleep(0.01)
        assert not results
    waiting.join()
    assert lines[0] == f"cache: waiting for process {os.getpid()}, which is filling {store.path}"
    assert sum("waiting" in line for line in lines) == 1
    assert results[0].added == len(NAMES)


def test_a_folder_that_cannot_be_written_is_reported_with_advice(root: Path) -> None:
    (root / ".eml_cache").write_text("in the way")
    with pytest.raises(
        OutputError,
        match=r"Set data\.cache\.folder, or give eml cache another folder: eml cache SOURCE --folder FOLDER",
    ):
        filled(root)


def test_a_pickled_cache_is_small_and_opens_the_file_itself(root: Path) -> None:
    for settings in (RAW, JPEG):
        source = filled(root, settings).source
        pickled = pickle.dumps(source)
        assert len(pickled) < 4000
        assert same(pickle.loads(pickled), source)


def test_letting_go_of_what_was_bytes_read_changes_no_pixel(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = filled(root).source
    expected = [source.pixels(row).copy() for row in range(len(NAMES))]
    monkeypatch.setattr(source_module, "RELEASE_BYTES", 3000)
    views = [source.pixels(row) for row in range(len(NAMES))]
    assert source._bytes_read < sum(each.size for each in expected)
    assert all(np.array_equal(view, pixels) for view, pixels in zip(views, expected, strict=True))


@pytest.mark.wide
def test_spawned_workers_open_the_cache_themselves_and_give_the_same_pixels(root: Path) -> None:
    augmenter = Augmenter(crop=Crop(0.3, 1.2), flip=0.5)
    source = ImageDataset(filled(root).source, Preprocess(size=16), augmenter=augmenter)
    order = EpochBatches(np.array([[3, 0, 5, 11], [7, 2, 9, 1]]), epoch=1)
    expected = list(batches(source, order))
    again = batches(source, order, 1, multiprocessing.get_context("spawn"))
    for (pixels, rows), (other, other_rows) in zip(again, expected, strict=True):
        assert rows.tolist() == other_rows.tolist()
        assert torch.equal(pixels, other)
