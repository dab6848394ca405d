"""The help of every command imports no package that computes, serves or reads from elsewhere, so that it is quick."""

import subprocess
import sys

import pytest

from eml.cli.app import COMMANDS

HEAVY = {
    *("torch", "timm", "pandas", "sklearn", "scipy", "albumentations", "matplotlib", "onnxruntime"),
    *("fastapi", "starlette", "uvicorn", "prometheus_client", "fsspec", "pyarrow", "ray"),
}
ALL_HELP = """
import contextlib, io, sys
from eml.cli.entry import main
for words in ([], *([name] for name in sys.argv[1:])):
    sys.argv = ["eml", *words, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main()
    assert code == 0 and "--help" in out.getvalue(), (words, code, out.getvalue())
print("\\n".join(sys.modules))
"""


@pytest.mark.slow
def test_the_help_of_every_command_imports_nothing_heavy() -> None:
    command = [sys.executable, "-c", ALL_HELP, *COMMANDS]
    shown = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    loaded = set(shown.stdout.split())
    assert "eml.commands.scan" in loaded
    assert not HEAVY & loaded
