"""Shards in processes of this machine: the same bytes, also where a process is killed or Ctrl-C comes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import eml
from eml.commands.base import Caller
from eml.commands.scan import ScanConfig, scan
from eml.errors import DataError
from eml.sharding.folder import ShardFolder
from tests.sharding.executors.conftest import assert_same

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")]


def children(process: int) -> Iterator[int]:
    """Yield the children of a process."""
    for task in Path(f"/proc/{process}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def when_a_shard_is_begun(table: Path, strike: Callable[[], None], is_done: Callable[[], bool]) -> threading.Thread:
    """Do something as soon as a shard of a table is being made and not done."""

    def watch() -> None:
        folder = ShardFolder.of(table).path
        while not is_done():
            locks, markers = ({path.stem for path in folder.glob(f"*.{end}")} for end in ("lock", "json"))
            if locks - markers:
                strike()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_two_shards_in_a_process_leave_the_bytes_of_a_scan(photos: Path, tmp_path: Path) -> None:
    whole = eml.scan(photos, out=tmp_path / "whole.csv", workers=1).table.path
    steps = list[int]()
    result = eml.scan(
        photos, out=tmp_path / "t.csv", shards=2, executor="local", executor_options="jobs=1", progress=bar_of(steps)
    )
    assert result.table.path == tmp_path / "t.csv"
    assert whole is not None
    assert_same(whole, tmp_path / "t.csv")
    assert sum(steps) == 200, "hundredths of two shards"


def bar_of(steps: list[int]) -> Callable[..., Iterator[Callable[[int], None]]]:
    from contextlib import contextmanager

    @contextmanager
    def bar(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        yield steps.append if description == "2 shards" else lambda count: None

    return bar


def test_what_is_wrong_is_told_before_a_process_is_started(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match="gone"):
        eml.scan(tmp_path / "gone", executor="local")
    with pytest.raises(eml.errors.ConfigError, match="`address` needs `executor`"):
        eml.scan(photos, address="auto")
    with pytest.raises(eml.errors.ConfigError, match="leave one of them out"):
        eml.scan(photos, executor="local", shards=2, shard=1)


@pytest.mark.wide
def test_a_process_that_is_killed_is_replaced_and_the_bytes_are_the_same(
    many: Path, whole: Path, tmp_path: Path
) -> None:
    table, struck, warnings = tmp_path / "t.csv", list[int](), list[str]()
    before = set(children(os.getpid()))

    def strike() -> None:
        victim = max(child for child in set(children(os.getpid())) - before if is_worker(child))
        os.kill(victim, signal.SIGKILL)
        struck.append(victim)

    thread = when_a_shard_is_begun(table, strike, table.exists)
    config = ScanConfig(dataset=many, out=table, shards=4, executor="local", executor_options=("jobs=2",))
    scan.run(config, Caller(warn=warnings.append))
    thread.join()
    assert len(struck) == 1
    assert [line.partition(": ")[2] for line in warnings] == [
        "its process ended without an answer (killed by SIGKILL), and it is made again"
    ]
    assert_same(whole, table)


def is_worker(process: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()


@pytest.mark.wide
def test_a_shard_whose_processes_all_die_is_told_and_the_others_are_kept(photos: Path, tmp_path: Path) -> None:
    table, ended = tmp_path / "t.csv", threading.Event()
    before = set(children(os.getpid()))

    def strike() -> None:
        while not ended.is_set():
            for child in set(children(os.getpid())) - before:
                if is_worker(child):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.05)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    with pytest.raises(DataError, match=r"killed by SIGKILL\), 2 times\. It may want more memory") as error:
        eml.scan(photos, out=table, shards=2, executor="local", executor_options=["jobs=1", "retries=1"])
    ended.set()
    thread.join()
    assert error.value.code == "worker-died"
    assert not table.exists()


@pytest.mark.wide
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(many: Path, whole: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    words = ["scan", many, "--out", table, "--shards", "4", "--executor", "local", "--executor-option", "jobs=2"]
    command = [sys.executable, "-m", "eml", *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    when_a_shard_is_begun(table, lambda: os.kill(process.pid, signal.SIGINT), lambda: process.poll() is not None).join()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "interrupted: " in told
    assert " of 4 shards are done and kept, and parts of others. Run the same command to continue" in told
    assert "Traceback" not in told
    assert not table.exists()
    assert ShardFolder.of(table).path.is_dir()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert_same(whole, table)
