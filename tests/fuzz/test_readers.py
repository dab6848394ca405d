"""Whatever the bytes of a file: it is read, or refused with a documented error. Exit code 70 is never the answer."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eml.errors import CheckpointError
from eml.training.run_folder import RunFolder
from tests.fuzz.readers import READERS, Reader, make_dataset, outcome

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "last byte missing": lambda data: data[:-1],
    "first byte missing": lambda data: data[1:],
    "zeros": lambda data: bytes(len(data)),
    "not UTF-8": lambda data: b"\xff\xfe\x00" + data,
    "null": lambda data: b"null",
    "number": lambda data: b"1",
    "text": lambda data: b'"x"',
    "list": lambda data: b"[]\n",
    "section": lambda data: b"{}\n",
    "list of lists": lambda data: b'[[1], {"step": []}]\n',
    "deep": lambda data: b"[" * 50_000,
    "deep sections": lambda data: b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "NaN": lambda data: b'{"step": NaN, "epoch": 1e999, "root": 1, "format": "x"}\n',
    "lone surrogate": lambda data: rb'{"\ud800": "\ud800", "root": "\ud800"}',
    "NUL": lambda data: data.replace(b"/", b"\\u0000").replace(b"a", b"\\u0000"),
    "nulls for numbers": lambda data: data.replace(b"1", b"null"),
    "text for numbers": lambda data: data.replace(b"1", b'"x"'),
    "twice": lambda data: data + data,
    "long": lambda data: b"x" * 300,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_every_reader_reads_or_refuses_a_damaged_file(dataset: Path, tmp_path: Path, reader: Reader) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(dataset, folder)
    file = next(iter(folder.glob(reader.file)), folder / reader.file)
    whole = file.read_bytes()
    assert outcome(lambda: reader.read(folder)) == "done"
    for name, damage in DAMAGES.items():
        file.write_bytes(damage(whole))
        try:
            outcome(lambda: reader.read(folder))
        except Exception as error:
            raise AssertionError(f"{reader.file}, {name}: {type(error).__name__}: {error}") from error
    if file.name == "override.txt":  # of the command line, not of a file
        return
    file.unlink()
    assert outcome(lambda: reader.read(folder))
    file.unlink(missing_ok=True)
    file.mkdir()
    assert outcome(lambda: reader.read(folder))


@pytest.mark.parametrize("state", [[1], {"version": 2}, {"version": "x"}, {"version": 2, "config": []}, None])
def test_a_state_of_another_shape_is_refused(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=r"damaged|another version of eml"):
        RunFolder(tmp_path).load_state()
