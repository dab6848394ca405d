"""A file becomes a record in one reading, which says whether an equal time later means an equal file."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eml.dataset.scanning.hashing import content_hash
from eml.dataset.scanning.inspect_file import UNSETTLED, FileRecord, inspect_file

LONG_AGO = 1_600_000_000


def old(path: Path) -> Path:
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """A JPEG of 30 × 20 pixels, shown as 20 × 30."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "cat").mkdir()
    Image.linear_gradient("L").resize((30, 20)).convert("RGB").save(tmp_path / "cat" / "a.jpg", exif=exif)
    return old(tmp_path / "cat" / "a.jpg")


def test_an_image_has_all_the_fields_of_its_record(turned: Path) -> None:
    data = turned.read_bytes()
    record = inspect_file(turned.parents[1], "cat/a.jpg", "phash-luma256")
    assert record == FileRecord(
        file_name="cat/a.jpg",
        mtime=LONG_AGO * 10**9,
        bytes=len(data),
        content=content_hash(data),
        width=20,
        height=30,
        format="JPEG",
        mode="RGB",
        hash=record.hash,
    )
    assert len(record.hash) == 16
    assert inspect_file(turned.parents[1], "cat/a.jpg", None).hash == ""


def test_a_file_is_opened_once(turned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    original = Path.open

    def counted(self: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(self)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", counted)
    inspect_file(turned.parents[1], "cat/a.jpg", "phash-imagehash")
    assert [path for path in opened if path.suffix == ".jpg"] == [turned]


def test_a_file_that_is_no_image_has_a_reason_and_no_image_fields(turned: Path) -> None:
    turned.with_name("text.jpg").write_text("no image")
    record = inspect_file(turned.parents[1], "cat/text.jpg", "phash-luma256")
    assert (record.reason, record.bytes, record.width, record.format, record.hash) == ("not_an_image", 8, 0, "", "")
    assert record.detail == "its bytes are of no known image format"


@pytest.mark.parametrize("name", ["cat/a.jpg", "cat/text.jpg"])
def test_a_file_written_just_now_is_unsettled(turned: Path, name: str) -> None:
    turned.with_name("text.jpg").write_text("no image")
    root = turned.parents[1]
    now = time.time()
    os.utime(root / name, (now, now))
    assert inspect_file(root, name, None).mtime == UNSETTLED
    assert inspect_file(root, "/".join(old(root / name).parts[-2:]), None).mtime == LONG_AGO * 10**9


def test_a_file_that_may_be_mended_without_a_trace_is_unsettled(turned: Path) -> None:
    record = inspect_file(turned.parents[1], "cat/gone.jpg", None)
    assert (record.mtime, record.bytes, record.reason) == (UNSETTLED, 0, "missing")


def test_a_file_that_grows_while_it_is_read_is_unsettled(turned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eml.dataset.scanning import inspect_file as module

    original = module.read

    def growing(path: Path) -> bytes:
        with path.open("ab") as file:
            file.write(b"\0" * 5)
        old(path)
        return original(path)

    size = turned.stat().st_size
    monkeypatch.setattr(module, "read", growing)
    record = inspect_file(turned.parents[1], "cat/a.jpg", None)
    assert (record.mtime, record.bytes) == (UNSETTLED, size + 5)
