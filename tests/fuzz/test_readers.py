"""Whatever the bytes of a file: it is read, or refused with a documented error. Exit code 70 is never the answer."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from eml.errors import CheckpointError
from eml.training.run_folder import RunFolder
from tests.fuzz.outcome import SUCCESS, outcome
from tests.fuzz.readers import READERS, Reader, make_dataset

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


BYTES = ("empty", "half", "zeros")
QUICK = {
    ".json": (*BYTES, "null", "deep", "NaN", "text for numbers"),
    ".jsonl": (*BYTES, "null", "section", "list of lists", "NaN", "nulls for numbers", "text for numbers"),
    ".csv": (*BYTES, "not UTF-8", "NUL", "text for numbers", "long"),
    ".yaml": (*BYTES, "number", "NUL"),
    ".txt": (*BYTES, "not UTF-8", "NUL", "long"),
}
"""The damages that the default run does to a file of a kind; of others it does `BYTES` alone."""


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_every_reader_reads_or_refuses_a_damaged_file(dataset: Path, reader: Reader) -> None:
    damage_every_way(dataset, reader, QUICK.get(Path(reader.file).suffix, BYTES))


@pytest.mark.wide
@pytest.mark.parametrize("reader", READERS, ids=str)
def test_every_reader_reads_or_refuses_a_file_damaged_in_every_way(dataset: Path, reader: Reader) -> None:
    damage_every_way(dataset, reader, tuple(DAMAGES))


def damage_every_way(folder: Path, reader: Reader, damages: tuple[str, ...]) -> None:
    """Read the file with each of the damages, then without it, as a pipe and as a folder; leave it whole."""
    file = next(iter(folder.glob(reader.file)), folder / reader.file)
    whole = file.read_bytes()
    assert outcome(lambda: reader.read(folder)) == SUCCESS
    try:
        for name in damages:
            file.write_bytes(DAMAGES[name](whole))
            try:
                outcome(lambda: reader.read(folder))
            except Exception as error:
                raise AssertionError(f"{reader.file}, {name}: {type(error).__name__}: {error}") from error
        if file.name != "override.txt":  # of the command line, not of a file
            read_what_is_no_file(folder, file, reader)
    finally:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        file.write_bytes(whole)


def read_what_is_no_file(folder: Path, file: Path, reader: Reader) -> None:
    file.unlink()
    assert outcome(lambda: reader.read(folder))
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    with ends_in(5, f"{reader.file} that is a pipe is waited for"):
        assert outcome(lambda: reader.read(folder))
    file.unlink()
    file.mkdir()
    assert outcome(lambda: reader.read(folder))


@contextmanager
def ends_in(seconds: int, otherwise: str) -> Iterator[None]:
    """Fail where the block waits for ever."""

    def fail(*_: object) -> None:
        raise AssertionError(otherwise)

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("state", [[1], {"version": 2}, {"version": "x"}, {"version": 2, "config": []}, None])
def test_a_state_of_another_shape_is_refused(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=r"damaged|another version of eml"):
        RunFolder(tmp_path).load_state()
