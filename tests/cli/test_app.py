"""What is printed where, and the exit codes, whatever a command ends with."""

import errno
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from eml.cli import app as application
from eml.cli.app import COMMANDS, main, run
from eml.config import load_plugins
from eml.errors import DataError, Interrupted


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Makes a function the command `try`."""

    def install(function: Callable[[], None]) -> None:
        module = types.ModuleType("eml.cli.display.try")
        module.terminal = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "eml.cli.display.try", module)
        monkeypatch.setattr(application, "COMMANDS", (*COMMANDS, "try"))

    return install


def test_problems_are_lines_on_stderr_without_a_traceback_and_the_code_is_2(
    command: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise DataError(["t.csv:3: label is empty", "[bold]t.csv:4[/bold]: 🍎"])

    command(fail)
    assert main(["try"]) == 2
    assert capsys.readouterr() == ("", "t.csv:3: label is empty\n[bold]t.csv:4[/bold]: 🍎\n")


def test_a_bug_shows_its_traceback_and_the_code_is_70(
    command: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("who divides by zero")

    command(fail)
    assert main(["try"]) == 70
    shown = capsys.readouterr().err
    assert "in fail" in shown
    assert "ZeroDivisionError: who divides by zero\n\neml " in shown
    assert "command: eml try\n```\nThis is a bug in eml" in shown


USED = """
from typing import Literal
from eml.images.augment import Augment

class Used(Augment):
    type: Literal["used"] = "used"

    def build(self, preprocess):
        return None

def use(error):
    raise error
"""


@pytest.mark.usefixtures("plugins_forgotten")
@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "Permission denied", "zz"), ModuleNotFoundError("none", name="nonexistent")]
)
def test_what_a_plugin_cannot_open_or_import_is_told_with_its_line(
    error: Exception,
    command: Callable[[Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (file := tmp_path / "used.py").write_text(USED)
    (plugin,) = load_plugins(file)
    command(lambda: sys.modules[plugin.module].use(error))
    assert main(["try"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"{file}:12: plugin used.py raises {type(error).__name__}: {error}")


@pytest.mark.usefixtures("plugins_forgotten")
def test_a_plugin_that_ends_the_process_does_not_end_a_command_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (file := tmp_path / "used.py").write_text(USED)
    (plugin,) = load_plugins(file)
    use = sys.modules[plugin.module].use
    monkeypatch.setattr("eml.margins.Margin.members", lambda: use(SystemExit()))
    assert main(["margins"]) == 2
    assert capsys.readouterr().err == f"{file}:12: plugin used.py raises SystemExit\n"


class OutOfMemoryError(RuntimeError):
    """Stands for torch's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_too_little_memory_is_no_bug_and_says_what_to_do(
    error: Exception, command: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    command(fail)
    assert main(["try"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("the memory does not suffice. Close other programs, give smaller settings")
    assert "Traceback" not in shown


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Interrupted("stopped; go on with: eml train x --resume")])
def test_ctrl_c_ends_with_130_and_what_was_saved(
    stop: BaseException, command: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise stop

    command(fail)
    assert main(["try"]) == 130
    assert capsys.readouterr().err == (f"{stop}\n" if str(stop) else "interrupted\n")


def test_sigterm_is_treated_like_ctrl_c(command: Callable[[Callable[[], None]], None]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    command(lambda: signal.raise_signal(signal.SIGTERM))
    assert main(["try"]) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_while_python_drops_what_is_raised_comes_again(command: Callable[[Callable[[], None]], None]) -> None:
    """Python drops exceptions from destructors and garbage collection; the command would run on to its end."""

    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        Dying()
        for _ in range(1000):
            time.sleep(0.01)

    command(work)
    hook = sys.unraisablehook
    assert main(["try"]) == 130
    assert sys.unraisablehook is hook


def test_a_command_inside_another_lets_its_errors_out(
    command: Callable[[Callable[[], None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise DataError("wrong")

    command(fail)
    with pytest.raises(DataError, match="wrong"):
        run(["try"])
    with pytest.raises(SystemExit):
        run(["try", "--nonsense"])
    command(lambda: None)
    run(["try"])


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["scam"], "unknown command 'scam' (did you mean 'scan'?); known: scan, protocol, merge, filter, "),
        (["xyz"], "unknown command 'xyz'; known: scan, protocol, merge, filter, "),
        (["--verison"], "No such option: --verison"),
        (["kfold"], "Missing argument 'DATASET'"),
        (["kfold", "x", "--k", "many"], "Invalid value for '--k': a whole number is wanted"),
        (["filter", "x", "--scope", "world"], "Invalid value for '--scope'"),
        (["scan", "x", "--executor", "slrm"], "'--executor': 'slrm' is not one of 'local', 'ray', 'slurm' (did you"),
    ],
)
def test_usage_errors_end_with_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert out == ""


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v"]) == main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("eml ")


def test_python_m_eml_is_eml(tmp_path: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "eml", "kfold", str(tmp_path / "none")], capture_output=True, text=True, check=False
    )
    assert (asked.returncode, asked.stdout, asked.stderr) == (2, "", f"{tmp_path}/none: no such file or folder\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes")
def test_a_reader_that_is_gone_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "eml", "margins"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_output_that_takes_nothing_is_told() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "eml", "margins"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "stdout: cannot be written: No space left on device\n")
