"""`eml pack` as a command: what it refuses, what it says, and what is there after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eml
from eml.commands.pack import parse_bytes
from eml.errors import ConfigError, OutputError
from tests.packed_files import jpeg, write_files

FILES = {f"{label}/{number}.jpg": jpeg(60 * row + number) for row, label in enumerate("ab") for number in range(3)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_files(tmp_path / "photos", FILES)


def test_a_folder_is_packed_and_the_way_goes_on_from_there(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "packed"
    result = eml.pack(photos, out, format="tar")
    assert (result.images, result.classes, result.resumed) == (6, 2, 0)
    assert [path.name for path in result.written] == ["dataset_info.csv", "eml-pack.json"]
    assert json.loads((out / "eml-pack.json").read_text())["images"] == 6
    split = eml.split(out, by="alternate")
    assert len(split.messages) >= 1
    again = eml.pack(photos, out, format="tar")
    assert again.messages[-1] == f"{out}: holds just these images already; nothing is written"


def test_what_lies_in_the_folder_is_never_lost(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "packed"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="was not written by eml pack"):
        eml.pack(photos, out, format="tar", overwrite=True)
    (out / "mine.txt").unlink()
    eml.pack(photos, out, format="tar")
    (photos / "b" / "9.jpg").write_bytes(jpeg(200))
    eml.scan(photos)
    with pytest.raises(OutputError) as caught:
        eml.pack(photos, out, format="tar")
    assert caught.value.parameter == "overwrite"
    (out / "runs").mkdir()
    with pytest.raises(OutputError, match="holds runs beside"):
        eml.pack(photos, out, format="tar", overwrite=True)
    (out / "runs").rmdir()
    assert eml.pack(photos, out, format="tar", overwrite=True).images == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed", "photos"]


def test_the_table_of_one_side_stays_one(tmp_path: Path, photos: Path) -> None:
    eml.split(photos, by="alternate")
    result = eml.pack(photos / "dataset_test.csv", tmp_path / "test", format="tar")
    assert result.shards[0].file == "data/test-00000-of-00001.tar"
    assert (tmp_path / "test" / "dataset_test.csv").is_file()
    assert result.next_command is None


@pytest.mark.parametrize(
    "text, count", [("512MB", 512_000_000), ("1 GiB", 2**30), ("1.5gb", 1_500_000_000), ("2000000", 2_000_000)]
)
def test_sizes_have_the_usual_units(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "MB", "1e9", "-1MB", "1KB", "1 PB", "9999TB", "1.2345MB"])
def test_other_sizes_are_refused(tmp_path: Path, photos: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        eml.pack(photos, tmp_path / "out", shard_size=text)
    assert caught.value.parameter == "shard_size"


@pytest.mark.wide
def test_a_killed_pack_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    files = {f"{number % 7}/{number}.jpg": jpeg(number, (40, 40)) + os.urandom(60_000) for number in range(200)}
    photos = write_files(tmp_path / "photos", files)
    eml.scan(photos)
    words = [sys.executable, "-m", "eml", "pack", str(photos), "--format", "tar", "--shard-size", "1MB"]
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen([*words, str(tmp_path / "out")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        work = tmp_path / ".out.eml-pack" / "data"
        deadline = time.monotonic() + 60
        before = len(list(work.iterdir())) if work.is_dir() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if work.is_dir() and len(list(work.iterdir())) >= before + 2 and attempt < 5:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        process.communicate()
        if (tmp_path / "out").exists():
            break
    assert kills >= 2
    eml.pack(photos, tmp_path / "whole", format="tar", shard_size="1MB")
    names = sorted(path.name for path in (tmp_path / "whole" / "data").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    for name in names:
        assert (tmp_path / "out" / "data" / name).read_bytes() == (tmp_path / "whole" / "data" / name).read_bytes()
