"""A package that is missing is one line that names it, whether `eml` needs it to begin or in a command."""

import subprocess
import sys
import types

import pytest

from eml.cli import app as application
from eml.cli import entry
from eml.cli.app import COMMANDS, main
from eml.imported import missing_package

WITHOUT = "import sys; sys.modules[{name!r}] = None; sys.argv = ['eml', '--help']; from eml.cli.entry import main; "


@pytest.mark.parametrize("name", ["typer", "pydantic"])
def test_without_what_the_command_line_itself_needs_eml_names_the_package_and_the_code_is_2(name: str) -> None:
    code = WITHOUT.format(name=name) + "sys.exit(main())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.count("\n") == 1
    assert shown.stderr.startswith(f"eml needs {name} for this, which is not installed: pip install {name}, or pip ")


def test_a_command_without_its_package_is_one_line_and_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = types.ModuleType("eml.cli.display.try")

    def fail() -> None:
        import sklearn.cluster  # noqa: F401

    module.terminal = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "eml.cli.display.try", module)
    monkeypatch.setattr(application, "COMMANDS", (*COMMANDS, "try"))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.cluster", raising=False)
    assert main(["try"]) == 2
    shown = capsys.readouterr()
    assert "eml needs scikit-learn for this" in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("name", ["eml.no_such_file", "json.no_such_file", None])
def test_a_module_of_eml_and_one_of_a_package_that_is_there_are_bugs(name: str | None) -> None:
    assert missing_package(ModuleNotFoundError(name=name)) is None


def test_at_the_end_of_the_process_python_does_not_look_through_all_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(application, "main", lambda: calls.append("run") or 3)
    monkeypatch.setattr(entry.gc, "freeze", lambda: calls.append("freeze"))
    assert entry.main() == 3
    assert calls == ["run", "freeze"]
