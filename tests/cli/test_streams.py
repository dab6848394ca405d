"""Closed and full streams, and errors of the system, end with 2 and a line, never with a traceback."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from eml.cli import app
from eml.cli.streams import system_problem

ROOT = Path(__file__).parents[2]


def eml(command: str, redirection: str) -> subprocess.CompletedProcess[str]:
    line = f"{sys.executable} -m eml {command} {redirection}"
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full", ">&- <&-"])
@pytest.mark.parametrize("command", ["version", "margins --json"])
def test_a_stdout_that_cannot_be_written_is_told(command: str, redirection: str) -> None:
    done = eml(command, redirection)
    assert done.returncode == 2
    assert "cannot be written: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_stderr_hides_only_the_error() -> None:
    done = eml("scan nowhere", "2>&-")
    assert (done.returncode, done.stdout) == (2, "")
    assert eml("version", "2>&-").stdout.startswith("eml ")


def test_an_error_of_the_system_is_no_bug_and_a_missing_file_of_ours_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> None:
        raise OSError(errno.ENAMETOOLONG, "File name too long", "/tmp/xxx")

    monkeypatch.setattr(app, "run", fail)
    assert app.main([]) == 2
    assert capsys.readouterr().err == "/tmp/xxx: cannot be used: File name too long\n"
    assert system_problem(OSError(errno.ENOSPC, "No space left on device")) == (
        "output cannot be written: No space left on device"
    )
    assert system_problem(FileNotFoundError(errno.ENOENT, "No such file", "style.css")) is None
