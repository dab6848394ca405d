"""tables.json is what the commands, the config and the families say today."""

import json

from completion_tables import text

from eml.cli.app import COMMANDS
from eml.cli.completing.tables import TABLES, read_tables


def test_the_tables_are_up_to_date() -> None:
    assert TABLES.read_text(encoding="utf-8") == text(), "run: PYTHONPATH=. python docs/tools/completion_tables.py"


def test_every_command_and_family_is_in_the_tables() -> None:
    commands = read_tables()["commands"]
    assert set(COMMANDS) <= set(commands)
    assert "index build" in commands
    margin = json.loads(TABLES.read_text(encoding="utf-8"))["config"]["keys"]["margin"]
    assert {"arcface", "cosface"} <= set(margin["members"])
