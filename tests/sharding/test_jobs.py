"""Shards of a scan, in one process: what they merge to, when they are made again, and what is told."""

import json
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eml
from eml.commands.base import SILENT
from eml.commands.scan import ScanConfig
from eml.commands.sharded import ShardResult
from eml.errors import DataError, OutputError
from eml.sharding.folder import ShardFolder
from eml.sharding.jobs import job_of
from eml.sharding.shard import WorkShard

FILES = ("dataset_info.csv", "dataset_errors.csv", ".dataset_info.csv.eml-scan")
OF_A_WRITE = {"created", "write", "folder"}
"""Keys of a sidecar in which two runs of one command differ."""


def scan_shards(photos: Path, out: Path, count: int, **options: Any) -> list[ShardResult]:
    """Make all shards, the last one first."""
    return [eml.scan(photos, out=out, shards=count, shard=index, **options) for index in reversed(range(count))]


def facts(table: Path) -> dict[str, Any]:
    sidecar = json.loads(table.with_name(f"{table.name}.eml.json").read_text(encoding="utf-8"))
    return {key: value for key, value in sidecar.items() if key not in OF_A_WRITE}


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.wide), pytest.param(2, marks=pytest.mark.wide), 5])
def test_shards_of_any_number_merge_to_the_bytes_of_a_scan(
    photos: Path, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "whole", tmp_path / "cut"]
    for place in places:
        place.mkdir()
    monkeypatch.chdir(places[0])
    eml.scan(photos, out="t")
    monkeypatch.chdir(places[1])
    scan_shards(photos, Path("t"), count)
    result = eml.merge_shards("t")
    assert [path.name for path in result.written] == list(FILES[:2])
    for name in FILES:
        assert (places[0] / "t" / name).read_bytes() == (places[1] / "t" / name).read_bytes(), name
    for name in FILES[:2]:
        assert facts(places[0] / "t" / name) == facts(places[1] / "t" / name)


def test_a_shard_that_is_done_is_not_made_again_and_says_so(photos: Path, tmp_path: Path) -> None:
    first = eml.scan(photos, out=tmp_path, shards=2, shard=1)
    times = [path.stat().st_mtime_ns for path in first.written]
    again = eml.scan(photos, out=tmp_path, shards=2, shard=1)
    assert (first.was_done, again.was_done, again.rows) == (False, True, first.rows)
    assert again.next_command is None  # shard 0 is not done
    assert eml.scan(photos, out=tmp_path, shards=2, shard=0).next_command == f"eml merge-shards {first.target}"
    assert again.messages == (f"shard 1 of 2 is done already, {first.rows} images; nothing is read again",)
    assert [path.stat().st_mtime_ns for path in first.written] == times
    assert not again.written


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda photos: {"hashes": False}, "`hashes` was not given, and is false"),
        (lambda photos: {"class_level": "last"}, "class_level was not given, and is 'last'"),
        (lambda photos: rewrite(photos / "class 1" / "1.png"), "files of it were written since"),
        (lambda photos: (photos / "class 1" / "1.png").unlink(), "files were added, removed or renamed (31 images"),
    ],
)
def test_a_stale_shard_is_made_again_and_says_why(photos: Path, tmp_path: Path, change: Any, reason: str) -> None:
    scan_shards(photos, tmp_path, 1)
    again = eml.scan(photos, out=tmp_path, shards=1, shard=0, **(change(photos) or {}))
    assert not again.was_done
    assert reason in again.messages[0]
    assert eml.scan(photos, out=tmp_path, shards=1, shard=0, **({"hashes": False} if "hash" in reason else {})).rows


def rewrite(path: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)
    os.utime(path, (1_600_000_009, 1_600_000_009))


def test_merging_names_each_missing_and_stale_shard_with_the_command_that_makes_it(
    photos: Path, tmp_path: Path
) -> None:
    for index in (0, 2, 3):
        eml.scan(photos, out=tmp_path / "t", shards=4, shard=index)
    Image.new("RGB", (9, 9)).save(photos / "class 2" / "new.png")
    stale = [index for index in (0, 2, 3) if not eml.scan(photos, out=tmp_path / "t", shards=4, shard=index).was_done]
    (photos / "class 2" / "new.png").unlink()
    with pytest.raises(DataError) as error:
        eml.merge_shards(tmp_path / "t")
    command = f"eml scan {photos} --out {tmp_path / 't'} --shards 4 --shard"
    assert f"shard 1 of 4 is missing. Run: {command} 1" in error.value.problems
    assert [
        (line.code, line.endswith(f"Run again: {command} {index}"))
        for index, line in zip(stale, [line for line in error.value.problems if "stale" in line], strict=True)
    ] == [("stale-shard", True)] * len(stale)
    assert not (tmp_path / "t" / "dataset_info.csv").exists()


def test_a_damaged_result_is_told_and_made_again(photos: Path, tmp_path: Path) -> None:
    result = scan_shards(photos, tmp_path, 1)[0].written[0]
    result.write_bytes(result.read_bytes().replace(b"class 3/1", b"class 3/9"))
    with pytest.raises(DataError, match=r"is gone or damaged\. Run again: eml scan"):
        eml.merge_shards(tmp_path)
    again = eml.scan(photos, out=tmp_path, shards=1)
    assert "its result is gone or damaged" in again.messages[0]
    assert eml.merge_shards(tmp_path).merged[0].result.facts.images == 30


def test_files_that_were_written_just_before_are_looked_at_again(photos: Path, tmp_path: Path) -> None:
    os.utime(photos / "class 1" / "1.png")
    scan_shards(photos, tmp_path, 1)
    again = eml.scan(photos, out=tmp_path, shards=1)
    assert "may have changed unseen" in again.messages[0]
    assert "30 of 31 files are unchanged" in again.messages[1]
    assert eml.merge_shards(tmp_path).written


def test_a_second_process_waits_for_the_first(photos: Path, tmp_path: Path) -> None:
    folder = ShardFolder.of(tmp_path / "dataset_info.csv")
    held = threading.Event()

    def hold() -> None:
        with folder.locked(WorkShard(1, 0), print):
            held.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    result = eml.scan(photos, out=tmp_path, shards=1)
    thread.join()
    assert result.messages[0] == "shard 0 of 1 is being made by another process; waiting for its end"
    assert result.rows == 31


def test_the_shards_of_another_number_are_left_alone_and_all_of_one_number_suffice(
    photos: Path, tmp_path: Path
) -> None:
    eml.scan(photos, out=tmp_path, shards=3, shard=0)
    scan_shards(photos, tmp_path, 2)
    assert "shards of 3 are there too, and are not used" in eml.merge_shards(tmp_path).messages
    assert not ShardFolder.of(tmp_path / "dataset_info.csv").path.joinpath("gone").exists()
    eml.merge_shards(tmp_path, remove=True)
    with pytest.raises(DataError, match="there are no shards of it"):
        eml.merge_shards(tmp_path)


def test_a_table_of_the_users_is_refused_before_a_shard_is_made(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.csv").write_text("mine\n", encoding="utf-8")
    with pytest.raises(OutputError, match="was not written by eml"):
        eml.scan(photos, out=tmp_path, shards=1)
    scan_shards(photos, tmp_path, 1, overwrite=True)
    with pytest.raises(OutputError, match="was not written by eml"):
        eml.merge_shards(tmp_path)
    assert eml.merge_shards(tmp_path, overwrite=True).replaced


def test_a_program_of_its_own_makes_shards_and_merges_them(photos: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    job, config = job_of("scan"), ScanConfig(dataset=photos, out=tmp_path)
    caller = replace(SILENT, note=lines.append)
    done = [job.run_shard(config, shard, caller) for shard in WorkShard.all(3)]
    assert sum(part.rows for part in done) == 31
    assert job.run_shard(config, WorkShard(3, 1), caller).was_done
    assert job.merge(config, caller).facts.images == 30


def test_shards_are_merged_from_another_folder_and_after_a_move(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scan_shards(Path("photos"), Path("photos"), 2)
    shutil.copytree(photos, tmp_path / "elsewhere" / "moved")  # keeps the times
    monkeypatch.chdir("/")
    eml.merge_shards(tmp_path / "elsewhere" / "moved")
    assert (tmp_path / "elsewhere" / "moved" / "dataset_info.csv").exists()
    assert not (photos / "dataset_info.csv").exists()
