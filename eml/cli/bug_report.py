"""The block that a bug report needs: traceback, versions and command, without secrets and names of home folders."""

import platform
import re
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from eml.cli.secrets import hidden_line, hidden_text
from eml.versions import version_of

PACKAGES = ("torch", "timm", "numpy", "pydantic", "typer")
"""Those whose versions explain most bugs; `eml doctor` has all."""
CLOSING = (
    "This is a bug in eml, not a mistake of yours. Please report it: paste the block above, with its lines ```, "
    "and if you can what `eml doctor` prints."
)


def bug_report(arguments: Sequence[str]) -> str:
    """Return the block to paste for the exception that is being handled, as Markdown.

    Args:
        arguments: Of the command line, without the program.
    """
    lines = [traceback.format_exc().rstrip(), ""]
    lines += [f"eml {_version('easy-metric-learning')}, Python {platform.python_version()}, {platform.platform()}"]
    lines += [", ".join(f"{name} {_version(name)}" for name in PACKAGES)]
    text = hidden_text("\n".join(lines), arguments)
    return "\n".join(["```text", without_home(f"{text}\ncommand: {hidden_line(['eml', *arguments])}"), "```"])


def without_home(text: str) -> str:
    """Return the text with `~` in place of the user's home folder, where a path begins with it."""
    for home in _homes():
        start = r"(?:(?<![\w/\\.~)\]-])|(?<=://))"
        text = re.sub(rf"{start}{re.escape(home)}(?=[/\\\s\"':,;)\]}}]|$)", "~", text, flags=re.MULTILINE)
    return text


def _homes() -> list[str]:
    """Return the user's home as it is named and as it is, the longer one first; none where it is the root."""
    homes = set()
    with suppress(RuntimeError, OSError):
        homes = {str(Path.home()), str(Path.home().resolve())}
        homes |= {home.replace("\\", "\\\\") for home in homes}
    return sorted((home for home in homes if len(Path(home).parts) > 1), key=len, reverse=True)


def _version(package: str) -> str:
    try:
        return version_of(package) or "not installed"
    except Exception:  # of any type: this is said of a process in which something is wrong
        return "not installed"
