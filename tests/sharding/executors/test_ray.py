"""Shards as tasks of Ray: the same bytes, also where a worker is killed or Ctrl-C comes, and nothing is left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import eml
from eml.errors import ConfigError, DataError
from eml.sharding.executors import ray as ray_executor
from eml.sharding.folder import ShardFolder
from tests.sharding.executors.conftest import assert_same
from tests.sharding.executors.test_local import children, when_a_shard_is_begun

LIMIT = 400  # seconds: Ray starts eight processes, which takes long on a busy machine


def test_without_ray_the_extra_is_named(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"needs the ray package: pip install 'easy-metric-learning\[ray\]'") as error:
        eml.scan(photos, out=tmp_path / "t.csv", executor="ray")
    assert error.value.code == "missing-package"


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}", "127.0.0.1:99999999"])
def test_an_address_where_nothing_listens_is_told_before_ray_waits_for_it(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ray_executor._refuse_unreachable(f"127.0.0.1:{port}")
    with pytest.raises(DataError, match="no Ray cluster can be joined there \\(nothing answers at") as error:
        ray_executor._refuse_unreachable(address.format(port))
    assert (error.value.code, error.value.parameter) == ("no-cluster", "address")


def test_a_cluster_that_wants_a_token_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "_TRIAL", "import sys; sys.exit('RPC error: InvalidAuthToken: missing')")
    with pytest.raises(DataError, match=r"set RAY_AUTH_MODE=token, and give the token in RAY_AUTH_TOKEN or ~/\.ray"):
        ray_executor._refuse_unanswered("127.0.0.1:1")


@pytest.mark.wide
def test_a_server_that_is_no_ray_ends_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_executor, "JOIN_WITHIN", 15.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        ray_executor._refuse_unreachable(address)
        with pytest.raises(DataError, match="no Ray cluster can be joined there"):
            ray_executor._refuse_unanswered(address)


def ray_command(images: Path, table: Path, *more: str) -> list[str]:
    words = ["scan", str(images), "--out", str(table), "--shards", "4", "--executor", "ray", *more]
    return [sys.executable, "-P", "-m", "eml", *words, "--executor-option", "jobs=2"]


def descendants(process: int) -> Iterator[int]:
    for child in children(process):
        yield child
        yield from descendants(child)


def tasks_of(process: int) -> list[int]:
    """Return the processes that run a task of a shard."""
    return [
        child for child in descendants(process) if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"ray::make")
    ]


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )


def assert_ended(processes: list[int]) -> None:
    """Assert that the processes of Ray end soon."""
    end = time.monotonic() + 60
    while left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end, left
        time.sleep(0.2)


@pytest.mark.wide
def test_a_worker_that_is_killed_is_replaced_and_nothing_but_the_bytes_of_a_scan_is_left(
    many: Path, whole: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    here, table = tmp_path / "here", tmp_path / "t.csv"
    here.mkdir()
    (here / "yaml.py").write_text("raise RuntimeError('imported from the current folder')\n")
    before = set(Path("/tmp").glob("eml-ray-*"))
    process, struck, started = run(ray_command(many, table, "--json"), here), list[int](), list[int]()

    def strike() -> None:
        started.extend(descendants(process.pid))
        struck.extend(tasks_of(process.pid)[:1])
        os.kill(struck[0], signal.SIGKILL)

    when_a_shard_is_begun(table, strike, lambda: process.poll() is not None).join()
    shown, told = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, told
    assert len(struck) == 1
    assert json.loads(shown)["images"] == 240, "stdout has the result alone"
    assert {line.partition(" ")[0] for line in told.splitlines()} == {"wrote", "next:"}, "Ray itself says nothing"
    assert_same(whole, table)
    assert list(here.iterdir()) == [here / "yaml.py"]
    assert set(Path("/tmp").glob("eml-ray-*")) == before
    assert_ended(started)


@pytest.mark.wide
def test_ctrl_c_ends_the_tasks_and_the_same_command_goes_on(many: Path, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    table = tmp_path / "t.csv"
    process = run(ray_command(many, table), tmp_path)
    started = list[int]()

    def strike() -> None:
        started.extend(descendants(process.pid))
        os.kill(process.pid, signal.SIGINT)

    when_a_shard_is_begun(table, strike, lambda: process.poll() is not None).join()
    _, told = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, told
    assert " of 4 shards are done and kept, and parts of others. Run the same command to continue" in told
    assert "Traceback" not in told
    assert_ended(started)
    assert ShardFolder.of(table).path.is_dir()
    again = run(ray_command(many, table), tmp_path)
    again.communicate(timeout=LIMIT)
    assert again.returncode == 0
    assert_same(whole, table)


@pytest.mark.wide
def test_what_no_machine_has_is_told_and_so_is_a_cluster_that_is_not_there(many: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    too_large = run(ray_command(many, tmp_path / "t.csv", "--executor-option", "gpus=8"), tmp_path)
    _, told = too_large.communicate(timeout=LIMIT)
    assert too_large.returncode == 2
    assert "--executor-option threads=1 gpus=8: no machine of the Ray cluster has so many; the most are 2 cores" in told
    nowhere = run(ray_command(many, tmp_path / "t.csv", "--address", "127.0.0.1:1"), tmp_path)
    _, told = nowhere.communicate(timeout=LIMIT)
    assert nowhere.returncode == 2, told
    assert "--address 127.0.0.1:1: no Ray cluster can be joined there" in told
    assert "Traceback" not in told
