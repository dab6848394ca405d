"""Worker processes: the same batches, whatever /dev/shm holds, and an end whatever happens to one of them."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.images import loading_team
from eml.images.loading import EpochBatches, InOrder, batches, loaded_batches
from eml.images.loading_team import kept_workers, read_batches
from eml.images.loading_workers import Key, LoadedBatch, WorkerLostError
from eml.images.preprocess import Pixels
from eml.threads import cores, most_workers

FORKED = pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="its reader cannot be sent to a process that is started afresh"
)


class Numbers:
    """In place of images: every pixel is the row, of which one may do something else."""

    def __init__(self, side: int = 4, row: int = -1, act: Callable[[], object] = int) -> None:
        self.shape, self.row, self.act = (side, side), row, act

    def __len__(self) -> int:
        return 1000

    def read(self, keys: Sequence[Key], pixels: Pixels) -> None:
        for place, (_, _, row) in enumerate(keys):
            if row == self.row:
                self.act()
            pixels[place] = row % 256


def test_batches_have_the_readers_height_and_width() -> None:
    reader = Numbers()
    reader.shape = (6, 4)
    for workers in (0, 1):
        shapes = [batch.pixels.shape for batch in loaded_batches(reader, order(5), workers)]
        assert shapes == [(3, 6, 4, 3), (2, 6, 4, 3)]


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def frozen() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def unreadable() -> None:
    raise DataError("7.png: no image", code="broken")


def children() -> list[BaseProcess]:
    return [child for child in multiprocessing.active_children() if child.name.startswith("loading")]


def order(count: int, size: int = 3) -> list[list[Key]]:
    return list(InOrder(count, size))


def test_batches_come_in_order_and_those_that_are_kept_stay_as_they_are() -> None:
    for workers in (1, 3):
        kept = list(read_batches(Numbers(), order(100), workers))
        assert [[row for _, _, row in keys] for _, keys, _ in kept] == [
            list(range(n, min(n + 3, 100))) for n in range(0, 100, 3)
        ]
        for pixels, keys, _ in kept:
            assert [int(image.min()) for image in pixels] == [int(image.max()) for image in pixels]
            assert [int(image.max()) for image in pixels] == [row for _, _, row in keys]
    assert not children()
    assert list(read_batches(Numbers(), [], 1)) == []


def test_memory_is_used_again_when_a_batch_is_let_go() -> None:
    places = {pixels.__array_interface__["data"][0] for pixels, *_ in read_batches(Numbers(), order(300), 1)}
    assert len(places) <= loading_team.AHEAD + loading_team.HELD


@pytest.mark.parametrize(
    "act, said", [(killed, "by SIGKILL, perhaps for lack of memory"), (sys.exit, "with exit code 0")]
)
def test_a_worker_that_ends_is_told_with_what_to_do(act: Callable[[], None], said: str) -> None:
    taken = read_batches(Numbers(row=10, act=act), order(100), 2)
    assert [next(taken)[1][0][2] for _ in range(3)] == [0, 3, 6]
    with pytest.raises(WorkerLostError) as caught:
        next(taken)
    assert caught.value.problems == [
        f"a process that loads images was ended {said}; set fewer `workers` than 2, or `workers=0` to load them "
        "without such processes"
    ]
    assert (caught.value.code, caught.value.parameter) == ("worker-died", "workers")
    assert not children()


@FORKED
def test_an_error_keeps_its_code_and_a_bug_its_traceback() -> None:
    with pytest.raises(DataError, match=r"^7\.png: no image$") as caught:
        list(read_batches(Numbers(row=7, act=unreadable), order(20), 2))
    assert caught.value.code == "broken"
    with pytest.raises(RuntimeError, match=r"(?s)in a process that loads images.*ZeroDivisionError"):
        list(read_batches(Numbers(row=7, act=lambda: 1 // 0), order(20), 2))


def test_frozen_workers_end_when_the_batches_are_left() -> None:
    taken = read_batches(Numbers(row=10, act=frozen), order(100), 2)
    next(taken)
    workers = children()
    assert len(workers) == 2
    taken.close()  # type: ignore[attr-defined]
    assert not any(worker.is_alive() for worker in workers)


@FORKED
def test_workers_take_no_stop_signal_which_their_parent_answers() -> None:
    taken = read_batches(Numbers(), order(100), 1)
    next(taken)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(children()[0].pid or 0, number)
    assert len(list(taken)) == 33


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(process: BaseProcess) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.get_context().Process, "start", refused)
    with pytest.raises(WorkerLostError, match="cannot be started: Resource temporarily unavailable; set fewer"):
        list(read_batches(Numbers(), order(9), 2))


def test_as_many_workers_are_started_as_the_cores_can_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def noted(reader: object, sampler: EpochBatches, workers: int, context: None) -> Iterator[None]:
        asked.append(workers)
        yield from ()

    monkeypatch.setattr("eml.images.loading.read_batches", noted)
    for size in (1, 500):
        list(batches(Numbers(), InOrder(1000, size), 100_000))  # type: ignore[arg-type]
    assert asked == [min(1000, most_workers()), 2]
    assert most_workers() == 4 * cores()


@FORKED
@pytest.mark.skipif(sys.platform != "linux", reason="has no /dev/shm")
def test_no_batch_lies_in_dev_shm(capsys: pytest.CaptureFixture[str]) -> None:
    """In a mount namespace of its own with 1 MB of it where that is allowed, else by the mapped files alone."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            code = _read_with_little_shm()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with capsys.disabled():
        if code == 1:
            print("(no mount namespace: only the mapped files are looked at)", end=" ")
    assert code in (0, 1)


def _read_with_little_shm() -> int:
    """0: read with 1 MB of /dev/shm; 1: the namespace was refused, and no file of it is in use; 2: not as it should."""
    libc, new_namespace, private = ctypes.CDLL(None, use_errno=True), 0x20000, 0x44000
    small = libc.unshare(new_namespace) == 0 and libc.mount(b"none", b"/", None, private, None) == 0
    small = small and libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=1m") == 0
    signal.alarm(30)
    taken = read_batches(Numbers(side=512), order(60), 2)
    rows = [row for _, keys, _ in (next(taken), next(taken)) for _, _, row in keys]
    mapped = "".join(Path(f"/proc/{child.pid}/maps").read_text() for child in children())
    rows += [
        row for pixels, keys, _ in taken for image, (_, _, row) in zip(pixels, keys, strict=True) if image.min() == row
    ]
    if rows != list(range(60)) or "memfd:eml-batches" not in mapped:
        return 2
    return 0 if small else 1


def test_the_tensors_own_their_pixels() -> None:
    order_ = EpochBatches(np.arange(60).reshape(20, 3), epoch=1)
    kept = [pixels[:, 0, 0, 0].clone() for pixels, _ in batches(Numbers(), order_, 2)]  # type: ignore[arg-type]
    assert torch.cat(kept).tolist() == list(range(60))


def rows_of(taken: Iterable[LoadedBatch]) -> list[int]:
    return [int(image.min()) for pixels, *_ in taken for image in pixels]


def test_kept_workers_read_for_one_reader_after_another_and_end_with_the_block() -> None:
    with kept_workers(), kept_workers(2, size=3 * 8 * 8 * 3):
        assert rows_of(read_batches(Numbers(), order(9), 1)) == list(range(9))
        first = children()
        assert len(first) == 1
        for side in (8, 4):  # of another validation set, as large as the block says
            assert rows_of(read_batches(Numbers(side), order(20), 2)) == list(range(20))
        workers = children()
        assert len(workers) == 2
        assert set(first) < set(workers)
        assert rows_of(read_batches(Numbers(), order(60, size=50), 2)) == list(range(60))
        assert len(children()) == 2
        assert set(children()).isdisjoint(workers)
    assert not children()


def test_kept_workers_go_on_after_a_reading_that_is_left_or_fails() -> None:
    with kept_workers():
        taken = read_batches(Numbers(), order(100), 2)
        kept = next(taken).pixels
        taken.close()  # type: ignore[attr-defined]
        workers = children()
        with pytest.raises(DataError, match="no image"):
            list(read_batches(Numbers(row=7, act=unreadable), order(20), 2))
        for _ in range(20):
            assert rows_of(read_batches(Numbers(), order(9), 2)) == list(range(9))
        assert set(children()) == set(workers)
        assert kept.max() == 2  # its place is not used as long as it is held


def test_a_second_reading_at_a_time_has_workers_of_its_own() -> None:
    with kept_workers():
        one, other = (read_batches(Numbers(), order(9), 1) for _ in range(2))
        assert [int(next(taken).pixels.max()) for taken in (one, other)] == [2, 2]
        assert len(children()) == 2
        assert rows_of(other) + rows_of(one) == [*range(3, 9)] * 2
        assert len(children()) == 1


@FORKED
def test_a_reader_that_cannot_be_pickled_is_inherited() -> None:
    with kept_workers():
        for _ in range(2):
            assert rows_of(read_batches(Numbers(act=lambda: None), order(9), 2)) == list(range(9))


def test_kept_workers_that_were_killed_between_readings_are_replaced() -> None:
    with kept_workers():
        rows_of(read_batches(Numbers(), order(9), 2))
        killed_one = children()[0]
        killed_one.kill()
        killed_one.join()
        assert rows_of(read_batches(Numbers(), order(9), 2)) == list(range(9))
        with pytest.raises(WorkerLostError):
            rows_of(read_batches(Numbers(row=4, act=killed), order(9), 2))
        assert not children()
        assert rows_of(read_batches(Numbers(), order(9), 2)) == list(range(9))
