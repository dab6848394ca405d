"""Every command that can be cut into shards, by every executor: the bytes are those of one shard, or of none."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml import threads
from eml.sharding import kept_model
from eml.sharding.executors.base import MadeShards, ShardBatch, ShardOutcomes, ShardsBar
from eml.sharding.executors.local import Local
from eml.sharding.folder import ENDING
from eml.sharding.jobs import ShardCaller
from eml.sharding.shard import WorkShard
from eml.sharding.shard_run import make_shard
from tests.sharding.executors.test_ray import descendants

NETWORK = {"weights": "none", "image_size": 32, "device": "cpu"}
LIMIT = 500  # seconds, on a busy machine

Case = tuple[str, Callable[[Path, Path], tuple[tuple[Any, ...], dict[str, Any]]], tuple[str, ...], bool]
CASES: dict[str, Case] = {
    "scan": ("scan", lambda table, out: ((table.parent,), {"out": out}), ("dataset_info.csv",), True),
    "embed": (
        "embed",
        lambda table, out: (("timm:test_resnet", table), {"out": out / "x.npz", **NETWORK}),
        ("x.npz",),
        False,
    ),
    "cache": (
        "fill_cache",
        lambda table, out: ((table,), {"folder": out, "side": 16}),
        ("images-*/header.json", "images-*/data.bin"),
        True,
    ),
    "evaluate": (
        "evaluate",
        lambda table, out: (("timm:test_resnet",), {"data": table, "out": out, "report": False, **NETWORK}),
        ("dataset_info/metrics.json",),
        False,
    ),
    "pack": (
        "pack",
        lambda table, out: ((table, out / "packed"), {"format": "tar", "shard_size": "1MB"}),
        ("packed/dataset_info.csv", "packed/eml-pack.json", "packed/data/*"),
        True,
    ),
}
"""Command → its function, its arguments for a table and an output, what it writes, and whether that has the same bytes
without shards; else those of one shard are the reference.
"""


def bytes_of(folder: Path, patterns: tuple[str, ...]) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path.read_bytes() for name in patterns for path in folder.glob(name)}
    assert files
    return files


def reference(command: str, table: Path, out: Path) -> dict[str, bytes]:
    """Return the bytes that any executor has to leave."""
    name, of, files, without = CASES[command]
    arguments, options = of(table, out)
    getattr(eml, name)(*arguments, **options, **({} if without else {"shards": 1, "shard": 0}))
    if not without:
        eml.merge_shards(out, remove=True)
    return bytes_of(out, files)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the local executor make its shards here, sent as a process would get them."""

    def run(self: Local, batch: ShardBatch, caller: ShardCaller) -> MadeShards:
        outcomes = ShardOutcomes(batch.count or 1, ShardsBar(batch.count or 1, lambda change: None), caller)
        for shard in WorkShard.all(outcomes.count):
            sent = pickle.loads(pickle.dumps(batch.run_of(shard, threads.cores())))
            outcomes.add(make_shard(sent, lambda percent: None))
        outcomes.check()
        return MadeShards(outcomes.count)

    monkeypatch.setattr(Local, "run", run)
    monkeypatch.setattr(threads, "_limit", threads.cores())
    monkeypatch.setattr(kept_model, "_is_kept", False)
    monkeypatch.setattr(kept_model, "_kept", {})
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    monkeypatch.setattr("eml.sharding.blocks.cut_blocks.__defaults__", (8,))


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("command", CASES)
def test_an_executor_leaves_the_bytes_of_the_command(
    command: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "class 0" / "broken.png").unlink()
    table = Path(eml.scan(photos, workers=1).written[0])
    monkeypatch.chdir(tmp_path)
    expected = reference(command, table, tmp_path / "one")
    name, of, files, _ = CASES[command]
    arguments, options = of(table, Path("all"))
    getattr(eml, name)(*arguments, **options, executor="local", shards=3)
    assert bytes_of(tmp_path / "all", files) == expected
    assert not list(tmp_path.rglob(f".*{ENDING}"))


@pytest.mark.wide
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
@pytest.mark.parametrize("command", [name for name in CASES if name != "scan"])  # which test_local and test_ray have
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_worker_that_is_killed_changes_no_byte(executor: str, command: str, many: Path, tmp_path: Path) -> None:
    if executor == "ray":
        pytest.importorskip("ray")
    table = Path(eml.scan(many, out=tmp_path / "dataset_info.csv").written[0])
    out = tmp_path / "all"
    expected = reference(command, table, tmp_path / "one")
    name, of, files, _ = CASES[command]
    arguments, options = of(table, out)
    options |= {"executor": executor, "executor_options": ("jobs=2",), "shards": 5}
    code = f"import eml\nif __name__ == '__main__': eml.{name}(*{arguments!r}, **{options!r})"
    script = tmp_path / "script.py"
    script.write_text(f"from pathlib import PosixPath\n{code}\n")
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True)
    struck = list[int]()

    def strike() -> None:
        while process.poll() is None and not struck:
            for folder in tmp_path.rglob(f".*{ENDING}"):
                locks, markers = ({path.stem for path in folder.glob(f"*.{end}")} for end in ("lock", "json"))
                if locks - markers:
                    struck.extend(kill_worker(process.pid, executor))
            time.sleep(0.005)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    _, told = process.communicate(timeout=LIMIT)
    thread.join()
    assert process.returncode == 0, told
    assert struck
    assert bytes_of(out, files) == expected
    assert not list(tmp_path.rglob(f".*{ENDING}"))


def kill_worker(process: int, executor: str) -> list[int]:
    """Kill a process that makes shards, and return it; nothing where there is none yet."""
    begins = b"ray::make" if executor == "ray" else sys.executable.encode()
    for child in descendants(process):
        try:
            line = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if line.startswith(begins) and (executor == "ray" or b"spawn_main" in line):
            os.kill(child, signal.SIGKILL)
            return [child]
    return []
