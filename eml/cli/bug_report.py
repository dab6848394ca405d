"""The block that a bug report needs: traceback, versions and command, without secrets and names of home folders."""

import platform
import re
import shlex
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from eml.versions import version_of

HIDDEN = "***"
PACKAGES = ("torch", "timm", "numpy", "pydantic", "typer")
"""Those whose versions explain most bugs; `eml doctor` has all."""
CLOSING = (
    "This is a bug in eml, not a mistake of yours. Please report it: paste the block above, with its lines ```, "
    "and if you can what `eml doctor` prints."
)
_SECRET_NAMES = r"[\w.-]*(?:token(?!i[sz])|api[_-]?key|secret|passw(?:or)?d|credential|access[_-]?key)[\w-]*"
_SECRETS = (
    re.compile(rf"(?i)((?<![\w.-]){_SECRET_NAMES}(?:=|[\"']?\s*:\s*)[\"']?)[^\s\"'&,;)]+"),  # token=…, "api_key": "…"
    re.compile(rf"(?i)(--{_SECRET_NAMES}\s+)(?!-)\S+"),  # --token …
    re.compile(r"(?i)(\bauthorization:\s*)\S+(?: \S+)?"),
    re.compile(r"(\w+://[^\s/:@]*:)[^\s/@]+(?=@)"),  # of an address, user:password@
    re.compile(r"(?i)([?&](?:sig|signature|key|x-amz-[\w-]+)=)[^\s&\"']+"),
    re.compile(r"()\b(?:hf_|sk-|ghp_|gho_|github_pat_|xox[a-z]-|glpat-|AKIA|ASIA)[A-Za-z0-9_-]{8,}"),
    re.compile(r"()\b[0-9a-f]{40}\b"),  # a key of W&B
)
"""What is hidden: all that follows the first group."""


def bug_report(arguments: Sequence[str]) -> str:
    """Return the block to paste for the exception that is being handled, as Markdown.

    Args:
        arguments: Of the command line, without the program.
    """
    lines = [traceback.format_exc().rstrip(), ""]
    lines += [f"eml {_version('easy-metric-learning')}, Python {platform.python_version()}, {platform.platform()}"]
    lines += [", ".join(f"{name} {_version(name)}" for name in PACKAGES)]
    lines += [f"command: {shlex.join(['eml', *arguments])}"]
    return "\n".join(["```text", without_private("\n".join(lines)), "```"])


def without_private(text: str) -> str:
    """Return the text with secrets hidden, and `~` in place of the user's home folder."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    for home in _homes():
        text = re.sub(rf"{re.escape(home)}(?=[/\\\s\"':,;)]|$)", "~", text, flags=re.MULTILINE)
    return text


def _homes() -> list[str]:
    """Return the user's home as it is named and as it is, the longer one first; none where it is the root."""
    homes = set()
    with suppress(RuntimeError, OSError):
        homes = {str(Path.home()), str(Path.home().resolve())}
    return sorted((home for home in homes if len(Path(home).parts) > 1), key=len, reverse=True)


def _version(package: str) -> str:
    try:
        return version_of(package) or "not installed"
    except Exception:  # of any type: this is said of a process in which something is wrong
        return "not installed"
