"""eml scan: what it writes, prints and refuses, and Ctrl-C."""

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.progress  # noqa: F401 - an interrupt may come at any moment, and must not leave an import half done
from PIL import Image

from eml.cli.app import main
from eml.dataset.sidecar import recorded_root
from eml.dataset.table import read_table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (20, 10), (len(name), 0, 0))
        picture.putpixel((0, 0), (255, 255, 255))
        picture.save(tmp_path / "data" / name)
    (tmp_path / "data" / "dog" / "notes.txt").write_text("no image")
    return tmp_path / "data"


def scanned(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main(["scan", *map(str, arguments), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["scan", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.strip()


def test_scan_writes_the_table_and_the_errors_and_tells_all_in_json(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = scanned(capsys, root)
    assert told == {
        "folder": str(root),
        "images": 4,
        "classes": 2,
        "bytes": sum(path.stat().st_size for path in root.glob("*/*.png")),
        "images_per_class": {"min": 2, "median": 2, "max": 2},
        "short_side": {"min": 10, "median": 10, "max": 10},
        "long_side": {"min": 20, "median": 20, "max": 20},
        "formats": {"PNG": 4},
        "errors": {"not_an_image": 1},
        "cached_files": 0,
        "blank": 0,
        "unknown_images": 0,
        "warnings": [],
        "written": [f"{root}/dataset_info.csv", f"{root}/dataset_errors.csv"],
    }
    assert len(read_table(root / "dataset_info.csv", check_files=True).frame) == 4
    assert (root / "dataset_errors.csv").read_text(encoding="utf-8") == (
        "file_name,reason,detail\ndog/notes.txt,not_an_image,its bytes are of no known image format\n"
    )


def test_what_is_shown(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["scan", str(root)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("4 images in 2 classes, 0.0 MB: PNG 4\n")
    assert "not_an_image       1   dog/notes.txt\n" in out
    assert err == (f"wrote {root}/dataset_info.csv\nwrote {root}/dataset_errors.csv\nnext: eml filter {root} --dedup\n")
    assert main(["scan", str(root)]) == 0
    assert f"replaced {root}/dataset_info.csv" in capsys.readouterr().err


def test_out_takes_a_folder_or_a_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(root.rglob("*"))
    out = root.parent / "out"
    assert scanned(capsys, root, "--out", out)["written"][0] == f"{out}/dataset_info.csv"
    told = scanned(capsys, root, "--out", out / "mine.parquet", "--hash-exact")
    assert told["written"] == [f"{out}/mine.parquet", f"{out}/mine_errors.parquet"]
    table = read_table(out / "mine.parquet", check_files=True)
    assert set(table.frame["hash_kind"]) == {"phash-imagehash"}
    assert recorded_root(out / "mine.parquet") == root.resolve()
    assert sorted(root.rglob("*")) == before


def test_a_file_of_the_users_is_not_replaced_unless_wanted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "dataset_errors.csv").write_text("mine")
    assert refused(capsys, root) == (
        f"{root}/dataset_errors.csv: exists and was not written by eml. Set --overwrite to replace it, or give another "
        "--out"
    )
    assert (root / "dataset_errors.csv").read_text() == "mine"
    assert not (root / "dataset_info.csv").exists()
    assert scanned(capsys, root, "--overwrite")["images"] == 4


def test_refusals(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        refused(capsys, root, "--no-hashes", "--hash-exact")
        == "--hash-exact needs hashes; it does not go with --no-hashes"
    )
    assert refused(capsys, root / "none").startswith(f"{root}/none: no such folder. ")
    assert refused(capsys, root / "cat" / "1.png").startswith(f"{root}/cat/1.png: is a file, not a folder. ")
    assert sorted(path.name for path in root.iterdir()) == ["cat", "dog"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself")
@pytest.mark.slow
def test_ctrl_c_stops_at_once_and_leaves_earlier_tables_whole(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(root)]) == 0
    earlier = {path: path.read_bytes() for path in root.glob("dataset_*")}
    noise = np.random.default_rng(0).integers(0, 255, (2000, 1500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "cat" / "slow.png", compress_level=1)
    for number in range(500):  # half a minute of work
        (root / "cat" / f"slow{number}.png").hardlink_to(root / "cat" / "slow.png")
    capsys.readouterr()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    code = main(["scan", str(root), "--workers", "1"])
    timer.join()
    assert (code, (root / "dataset_errors.csv").read_bytes()) == (130, earlier[root / "dataset_errors.csv"])
    told = capsys.readouterr().err
    assert re.fullmatch(
        r"(interrupted: \d+ of 506 files have been read and saved\. .* to continue|interrupted)\n", told
    )
    assert {path: path.read_bytes() for path in root.glob("dataset_*")} == earlier
    assert len(earlier) == 4
