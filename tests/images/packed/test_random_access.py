"""Files stay open for the next reader, few at once."""

from pathlib import Path

from eml.images.packed import random_access
from eml.images.packed.random_access import LocalFile


def test_few_files_are_open_and_all_are_read(tmp_path: Path) -> None:
    files = []
    for number in range(random_access.MOST_OPEN + 10):
        path = tmp_path / f"{number}"
        path.write_bytes(f"file {number:04d}".encode())
        files.append(LocalFile(str(path), 9))
    for number, file in enumerate([*files, *files]):
        assert file.read(5, 100) == f"{number % len(files):04d}".encode()
    assert len(random_access._open_files._files) <= random_access.MOST_OPEN
