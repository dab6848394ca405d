"""The tables that completion reads: the commands with their options, the keys of a training config, and names."""

import json
from functools import cache
from pathlib import Path
from typing import Any

TABLES = Path(__file__).with_name("tables.json")


@cache
def read_tables() -> dict[str, Any]:
    """Return the tables, which docs/tools/completion_tables.py makes."""
    tables: dict[str, Any] = json.loads(TABLES.read_text(encoding="utf-8"))
    return tables


def names_of(kind: str) -> dict[str, str]:
    """Return the names of a kind, such as `margin`, each with its description."""
    names = read_tables()["names"][kind]
    return dict(names) if isinstance(names, dict) else dict.fromkeys(names, "")
