"""What SQLite's errors mean."""

import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from eml.indexing.database import explain


@pytest.mark.parametrize(
    ("free", "code", "message"),
    [
        (10_000, "disk-full", "index.sqlite: the disk is full; searching needs 64 kB beside the index too. Free space"),
        (10**9, "not-readable", "index.sqlite: cannot be read: disk I/O error"),
    ],
)
def test_a_disk_error_where_the_disk_is_full_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, code: str, message: str
) -> None:
    path = tmp_path / "index.sqlite"
    path.touch()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    explained = explain(error, path)
    assert (explained.code, str(explained)) == (code, f"{tmp_path}/{message}")
