"""Nothing in eml breaks macOS or Windows on purpose: what only some systems have is asked for, never presumed."""

import ast
import mmap
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eml.errors import DataError
from eml.files import moved_along, sync
from eml.images.loading_team import LoadingTeam
from eml.images.loading_workers import SharedMemory, Worker
from eml.inference.embedding_store import _read_at
from eml.inference.image_list import _common
from eml.stopping import guarded
from tests.cli.test_way import draw
from tests.sources import PACKAGE, files, nodes_of, tree_of

SOME_SYSTEMS = {
    *("_winapi", "crypt", "fcntl", "grp", "msvcrt", "posix", "pty", "pwd", "readline", "resource", "syslog"),
    *("termios", "tty", "winreg", "winsound"),
}
"""Modules of Python that some systems lack."""

OF_OS = {
    *("chown", "confstr", "copy_file_range", "eventfd", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid"),
    *("getgid", "getgroups", "getloadavg", "getpgid", "getuid", "initgroups", "killpg", "lchown", "memfd_create"),
    *("mkfifo", "mknod", "nice", "openpty", "pidfd_open", "pipe2", "posix_fadvise", "posix_fallocate", "pread"),
    *("preadv", "pwrite", "pwritev", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "sendfile"),
    *("set_blocking", "setpgid", "setsid", "setuid", "splice", "statvfs", "sync", "sysconf", "uname", "wait3"),
    *("waitid", "O_CLOEXEC", "O_DIRECT", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "O_TMPFILE"),
}
OF_SIGNAL = {
    *("SIGALRM", "SIGBUS", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP"),
    *("SIGUSR1", "SIGUSR2", "SIGWINCH", "SIG_BLOCK", "SIG_SETMASK", "alarm", "pause", "pidfd_send_signal"),
    *("pthread_kill", "pthread_sigmask", "setitimer", "sigpending", "sigwait"),
}
"""Names of both modules that macOS or Windows lack."""

ONLY_AFTER = {
    "eml/cli/launching.py": "_continue_frozen finds no /proc elsewhere",
    "eml/distributed/heartbeat.py": "handles of processes are there where _local_process has a number",
}
"""Files whose guard is another function, and which."""


def functions_of(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Each function of a file, outermost ones, and what stands outside of them, with its text."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in tree_of(path).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        for part in inner:
            yield part, "\n".join(lines[part.lineno - 1 : part.end_lineno])


@cache
def unguarded() -> list[str]:
    """Uses of what some systems lack, where nothing nearby asks whether it is there."""
    problems = []
    for path in files():
        name = path.relative_to(PACKAGE.parent).as_posix()
        text = path.read_text(encoding="utf-8")
        if name in ONLY_AFTER or not ("os." in text or "signal." in text):
            continue
        for part, source in functions_of(path):
            for node in ast.walk(part):
                if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                    continue
                if node.attr not in {"os": OF_OS, "signal": OF_SIGNAL}.get(node.value.id, ()):
                    continue
                asked = "hasattr(" in source or "sys.platform" in source or "AttributeError" in source
                if not asked:
                    problems.append(f"{name}:{node.lineno}: {node.value.id}.{node.attr}")
    return problems


@pytest.mark.xdist_group("sources")
def test_no_module_imports_at_once_what_some_systems_lack() -> None:
    problems = []
    for path in files():
        for node in tree_of(path).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            problems += [f"{path}: {name}" for name in names if name.partition(".")[0] in SOME_SYSTEMS]
    assert not problems


@pytest.mark.xdist_group("sources")
def test_functions_that_some_systems_lack_are_asked_for_before_they_are_used() -> None:
    assert not unguarded()


@pytest.mark.xdist_group("sources")
def test_text_that_processes_print_is_decoded_by_a_named_encoding() -> None:
    """Files are seen to by ruff (PLW1514)."""
    problems = [
        f"{path.name}:{node.lineno}"
        for path in files()
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and {"text", "universal_newlines"} & {keyword.arg for keyword in node.keywords}
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("run", "Popen", "check_output")
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not problems


def test_on_windows_a_command_has_no_guard_of_its_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(os, "set_blocking")
    with guarded(130, for_good=False):
        assert not any(thread.name.endswith("(_watch)") for thread in threading.enumerate())


def test_on_windows_files_are_synced_as_they_can_be_and_folders_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    opened: list[int] = []
    monkeypatch.setattr(os, "open", lambda path, flags, real=os.open: opened.append(flags) or real(path, flags))
    (tmp_path / "a").write_bytes(b"a")
    sync(tmp_path / "a")
    sync(tmp_path)
    assert opened == [os.O_RDWR]


def test_on_windows_the_memory_of_batches_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    memories: dict[str, mmap.mmap] = {}

    def named(file: int, size: int, tagname: str) -> mmap.mmap:
        assert file == -1
        return memories.setdefault(tagname, real(-1, size))

    real = mmap.mmap
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(mmap, "mmap", named)
    ours = SharedMemory(2, 12)
    theirs = pickle.loads(pickle.dumps(ours))
    theirs.batch(1, (1, 2, 2, 3))[:] = 7
    assert ours.batch(1, (1, 2, 2, 3)).tolist() == np.full((1, 2, 2, 3), 7).tolist()
    ours.close_file()
    assert len(memories) == 1


@pytest.mark.parametrize("code", [3221225477, 1])
def test_a_lost_process_is_named_where_signals_are_unknown(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGKILL")
    monkeypatch.delattr(signal, "SIGBUS")
    worker = Worker.__new__(Worker)
    worker.process = SimpleNamespace(exitcode=code, join=lambda seconds: None)  # type: ignore[assignment]
    assert str(worker._lost()) == f"a process that loads images was ended with exit code {code}"


def test_stored_embeddings_are_read_without_pread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    monkeypatch.delattr(os, "pread")
    with (tmp_path / "a").open("rb", buffering=0) as file:
        assert _read_at(file, 3, 4) == b"456"


def test_paths_on_two_drives_stay_as_they_are_or_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*paths: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    monkeypatch.setattr(os.path, "commonpath", refuse)
    assert moved_along(tmp_path / "a", tmp_path / "b", tmp_path / "c") == tmp_path / "a"
    with pytest.raises(DataError) as caught:
        _common([tmp_path / "a", tmp_path / "b"])
    assert caught.value.code == "no-common-folder"


def test_a_reader_that_cannot_be_sent_to_a_started_process_is_one_line() -> None:
    reader = SimpleNamespace(shape=(4, 4), read=lambda keys, pixels: None)
    team = LoadingTeam(multiprocessing.get_context("spawn"))
    with pytest.raises(
        DataError, match="what reads the images cannot be sent to the processes that load them"
    ) as caught:
        list(team.read(reader, [[(0, 0, 0)]], 1))
    assert (caught.value.code, caught.value.parameter) == ("worker-died", "workers")


LACKING = """
import os, signal, sys, warnings
for name in ("memfd_create", "pidfd_open", "pread", "sched_getaffinity"):
    delattr(os, name)
for name in ("SIGBUS", "pidfd_send_signal", "pthread_sigmask"):
    delattr(signal, name)
warnings.filterwarnings("error", category=EncodingWarning, module=r"eml\\.")
if __name__ == "__main__":
    import multiprocessing
    multiprocessing.set_start_method("spawn")
    from eml.cli.app import main
    for line in sys.stdin.read().splitlines():
        print("$", line, flush=True)
        assert main(line.split()) == 0, line
"""

WAY = """\
scan photos --workers 2
filter photos --dedup --min-size 32
split photos --by ratio --test-ratio 0.3
kfold photos --k 3
init photos --backbone test_resnet --weights none
train photos/config.yaml --set epochs=1 --set image.size=32 --set data.workers=2
evaluate photos/run --data photos/dataset_test.csv
embed photos/run photos --out photos.npz
index build shop.index photos/run photos
search shop.index photos/000/0.jpg
"""


@pytest.mark.wide
def test_the_way_from_images_to_answers_without_what_some_systems_lack(tmp_path: Path) -> None:
    """With processes that are started afresh, no function of Linux alone, and a named encoding for each text file."""
    draw(tmp_path / "photos")
    script = tmp_path / "lacking.py"
    script.write_text(LACKING, encoding="utf-8")
    command = [sys.executable, "-X", "warn_default_encoding", str(script)]
    shown = subprocess.run(command, cwd=tmp_path, input=WAY, capture_output=True, encoding="utf-8")
    assert shown.returncode == 0, shown.stdout[-2000:] + shown.stderr[-4000:]
