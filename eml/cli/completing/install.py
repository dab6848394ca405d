"""Putting the script of a shell where the shell looks for it, without root."""

import os
from collections.abc import Mapping
from pathlib import Path

from eml.cli.completing.shells import SCRIPTS, script
from eml.errors import ConfigError, OutputError

MARK = "# Completion of eml in "
"""A script of this command says so in its first lines, by which an older one is recognised."""


def shell_of(environment: Mapping[str, str]) -> str:
    """Return the user's shell.

    Raises:
        ConfigError: It is not known, or none that can complete.
    """
    name = Path(environment.get("SHELL", "")).name
    if name not in SCRIPTS:
        seen = f"$SHELL is {name}" if name else "$SHELL is not set"
        raise ConfigError(f"{seen}; name the shell: eml completion {'|'.join(SCRIPTS)}", code="unknown-choice")
    return name


def place_of(shell: str, environment: Mapping[str, str]) -> Path:
    """Return the file in the user's home from which a shell reads how to complete eml."""
    home = Path(environment.get("HOME") or Path.home())
    if shell == "bash":
        data = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
        own = environment.get("BASH_COMPLETION_USER_DIR")
        return (Path(own) if own else data / "bash-completion") / "completions" / "eml"
    if shell == "zsh":
        return home / ".zfunc" / "_eml"
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "fish" / "completions" / "eml.fish"


def install(shell: str, environment: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """Write the script of a shell; return where, and what is left to do.

    Raises:
        OutputError: Another file is in its place.
    """
    from eml.files import write_text

    place = place_of(shell, environment)
    if place.exists() and MARK not in place.read_text(encoding="utf-8", errors="replace")[:200]:
        raise OutputError(
            f"{place}: exists, and eml did not write it. Move it away, or print the script and put it elsewhere",
            code="file-exists",
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    write_text(place, script(shell))
    return place, _what_follows(shell, place, environment)


def _what_follows(shell: str, place: Path, environment: Mapping[str, str]) -> str:
    home = Path(environment.get("HOME") or Path.home())
    if shell == "zsh":
        settings = home / ".zshrc"
        lines = settings.read_text(encoding="utf-8", errors="replace") if settings.is_file() else ""
        if ".zfunc" not in lines:
            return (
                f"add this line to {settings}, then open a new shell:\nfpath+=~/.zfunc; autoload -Uz compinit; compinit"
            )
    if shell == "bash":
        line = f"source {place}"
        return (
            "open a new shell. If it does not complete, the package bash-completion is missing; add this line to "
            f"{home / '.bashrc'} instead:\n{line}"
        )
    return "open a new shell"
