"""Lines of shell in the pages: `eml` commands are checked without running them, or run small."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from eml.cli import adapter, launching
from eml.cli.adapter import terminal_of
from eml.cli.app import app, main
from eml.cli.groups import TerminalGroup

SMALL = {
    "init": "--backbone test_resnet --weights none",
    "train": "--set epochs=1 --set image.size=32 --set model.backbone=test_resnet --set model.weights=none",
    "calibrate": "--far 0.4",
}
"""Command → options that it gets after its own, to be small enough for a test."""

PROBED = "test_resnet=none,test_vit=none"
"""The networks that `eml probe` gets in place of its own, whose weights would be fetched."""

STAND_INS = {
    "pca-128-int8": "pca-16-int8",
    "margin=arcface,cosface,adaface": "margin=arcface,cosface",
    "seed=0,1,2": "seed=0",
    "backbone=1e-4,3e-5 --vary epochs=5,10": "backbone=1e-4,3e-5 --vary epochs=1",
    '"mobilenetv2_100", "resnet50"': '"test_resnet=none", "test_vit=none"',
    "timm:mobilenetv2_100": "timm:test_resnet",
    "timm:vit_small_patch14_dinov2": "timm:test_resnet",
    "open_clip:ViT-B-32/openai": "open_clip:local-dir:tiny_clip",
    "open_clip:ViT-B-16/openai": "open_clip:local-dir:tiny_clip",
    "st:all-MiniLM-L6-v2": "open_clip:local-dir:tiny_clip",
}
"""What a page says → what stands for it: above all networks with pretrained weights. A page that names one of
open_clip gets the folder tiny_clip."""

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""The parser's error of a wrong command line; Typer has click's, or its own."""

ONLY_CHECKED = ("pip install", "make ", "git clone ", "python tests/benchmarks/")
"""Beginnings of lines that are not run: what they name is checked."""


class CommandError(Exception):
    """A command of a page ends with another exit code than 0."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(f"{text} ends with exit code {code}; its message stands below")
        self.code = code


@dataclass(frozen=True)
class Line:
    """A command of a block, its continuation lines joined. place: page and line."""

    place: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    @property
    def is_plain(self) -> bool:
        """Return whether it is a call of eml without pipes, redirections, variables and patterns."""
        return self.text.startswith("eml ") and not re.search(
            r"[|<>;&$`*\\]", re.sub(r"'[^']*'|\"[^\"$`]*\"", "", self.bare)
        )

    @property
    def bare(self) -> str:
        """Return the line without its comment."""
        return re.sub(r"\s+#.*$", "", self.text)


def commands(place: str, text: str) -> Iterator[Line]:
    """Yield the lines of a block that are neither empty nor comments; a line that ends in a backslash goes on."""
    page, _, first = place.rpartition(":")
    joined, start = "", 0
    for number, line in enumerate(text.splitlines(), int(first) + 1):
        joined, start = joined + line.strip(), start if joined else number
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        if joined and not joined.startswith("#"):
            yield Line(f"{page}:{start}", joined)
        joined = ""


class CommandChecked(Exception):  # noqa: N818 - no error
    """A command line is right; carries its config."""

    def __init__(self, config: Any) -> None:
        self.config = config


def check_command(words: list[str]) -> Any:
    """Return the config of a command line, which is not run; of a command without one, None.

    Raises:
        typer's usage errors: There is no such command or option.
        EmlError: A value is wrong.
    """

    def stop(*arguments: Any, **ways: Any) -> None:
        raise CommandChecked(arguments[2] if len(arguments) > 2 else None)

    group = typer.main.get_command(app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "_run", stop)
        patch.setattr(launching, "launch", stop)
        try:
            context = group.make_context("eml", words[1:])
            while hasattr(context.command, "resolve_command"):
                rest = [*context._protected_args, *context.args]
                name, command, rest = context.command.resolve_command(context, rest)
                context = command.make_context(name, rest, parent=context)
            terminal = terminal_of(words[1])
            if isinstance(terminal, adapter.Terminal | TerminalGroup):
                context.command.invoke(context)
        except CommandChecked as checked:
            return checked.config
        except typer.Exit:  # of --help
            pass
    return None


def small(text: str) -> str:
    """Return a command line with what makes it small; other text as it is."""
    for name, stand_in in STAND_INS.items():
        text = text.replace(name, stand_in)
    return text


def small_words(words: list[str]) -> list[str]:
    """Return the words of a call of eml with what makes it small."""
    if any(word.startswith("timm:") for word in words) and "--weights" not in words:
        words = [*words, "--weights", "none"]
    if words[1:2] == ["probe"]:
        own = [place for place, word in enumerate(words) if word == "--backbones"]
        return [word for place, word in enumerate(words) if not {place, place - 1} & {*own}] + ["--backbones", PROBED]
    if words[1:2] == ["train"] and any(Path(word).is_dir() for word in words[2:3]):
        return words  # a run of its own settings
    if len(words) < 2 or any("tiny_clip" in word for word in words):
        return words
    return [*words, *shlex.split(SMALL.get(words[1], ""))]


def run_lines(place: str, text: str, folder: Path) -> None:
    """Run the lines of a block in the current folder: calls of eml in this process, all others by bash.

    Raises:
        CommandError: A command ends with another exit code than 0.
    """
    lines = [line for line in commands(place, small(text)) if not line.text.startswith(ONLY_CHECKED)]
    if all(line.is_plain for line in lines):
        for line in lines:
            code = main(small_words(line.words)[1:])
            if code != 0:
                raise CommandError(f"{line.place}: `{line.bare}`", code)
        return
    environment = os.environ | {
        "PATH": os.pathsep.join([str(_programs(folder)), str(Path(sys.executable).parent), os.environ["PATH"]])
    }
    done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", small(text)], env=environment, check=False)
    if done.returncode != 0:
        raise CommandError(f"{place}: this block", done.returncode)


def _programs(folder: Path) -> Path:
    """Return a folder with `eml`, made small, and with `pip`, `make` and `git`, which do nothing."""
    programs = folder / "programs"
    if not programs.exists():
        programs.mkdir(parents=True)
        root = Path(__file__).parents[2]
        call = "import sys\nfrom tests.docs.shell import main, small_words\nsys.exit(main(small_words(sys.argv)[1:]))\n"
        (programs / "eml.py").write_text(f"import sys\nsys.path[:0] = [{str(root)!r}]\n{call}", encoding="utf-8")
        python = shlex.join([sys.executable, str(programs / "eml.py")])
        for name, line in {"eml": f'exec {python} "$@"', "pip": "", "make": "", "git": ""}.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
    return programs
