"""`--help` is quick: it imports the commands and nothing that they need to work."""

import json
import re
import subprocess
import sys

import pytest

from eml.cli.app import COMMANDS, main

HEAVY = {
    *("torch", "timm", "pandas", "sklearn", "albumentations"),
    *("numpy", "scipy", "PIL", "matplotlib", "rich", "eml.dataset", "eml.config", "eml.training"),
}

# One process for all commands; what one of them imports would still be seen.
ASK_EVERY_COMMAND = """
import json, sys
from eml.cli.app import COMMANDS, main
codes = [main([name, "--help"]) for name in COMMANDS] + [main(["--help"]), main(["--version"])]
print(json.dumps({"codes": codes, "modules": sorted(sys.modules)}), file=sys.stderr)
"""


def test_no_help_imports_what_only_the_work_needs() -> None:
    asked = subprocess.run([sys.executable, "-c", ASK_EVERY_COMMAND], capture_output=True, text=True, check=True)
    seen = json.loads(asked.stderr)
    assert set(seen["codes"]) == {0}
    assert not HEAVY & set(seen["modules"])
    for name in COMMANDS:
        assert f"Usage: eml {name} " in asked.stdout


def test_the_list_of_commands_has_a_line_on_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    listed = [line.split(None, 1) for line in shown.partition("Commands:\n")[2].splitlines()]
    assert [line[0] for line in listed if len(line) == 2 and line[0] in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "-h"]) == 0
    shown = capsys.readouterr().out.partition("Options:\n")[2]
    for line in shown.splitlines():
        if line.startswith("  -"):
            option, _, told = line.strip().partition("  ")
            follows = shown.partition(line)[2].splitlines()[1:2]
            assert told.strip() or (follows and follows[0].startswith("     ")), f"{option} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_and_values_are_named_in_capitals(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert not re.search(r"<[a-z]|[{}]|default: \(", shown.replace("{COLUMN}", "").replace("{label}", ""))
    usage = shown.splitlines()[0].removeprefix(f"Usage: eml {name} [OPTIONS]").split()
    assert usage == [each.upper() for each in usage]
    options = shown.partition("Options:\n")[2]
    for value in re.findall(r"^  (?:-\w, )?--[\w-]+ (\S+)", options, flags=re.MULTILINE):
        assert value == value.upper() or "|" in value or value == "/"


def test_an_argument_of_several_values_and_one_that_may_be_left_out_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    usages = []
    for name in ("evaluate", "split"):
        assert main([name, "--help"]) == 0
        usages.append(capsys.readouterr().out.splitlines()[0])
    assert usages == [
        "Usage: eml evaluate [OPTIONS] CHECKPOINT...",
        "Usage: eml split [OPTIONS] DATASET [COLUMN]",
    ]
