"""The doors to bash, zsh and fish: their questions, and answers in the form that the scripts beside this module read.

The script of a shell sets `_EML_COMPLETE` to its name and runs `eml` without arguments, so that a version of eml that
knows nothing of it prints its help and does nothing. The answer is a line `eml-completion KIND LEAD GLOBS`, separated
by tabs, and a line for each word. Nothing is written but the answer; with `_EML_COMPLETE_DEBUG` errors are shown.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from eml.cli.completing.complete import complete
from eml.cli.completing.completions import Completion, Completions, paths
from eml.cli.completing.lines import escaped, split_line
from eml.cli.completing.situation import read_words

SHELL, DEBUG = "_EML_COMPLETE", "_EML_COMPLETE_DEBUG"
MARK = "eml-completion"
SCRIPTS = {"bash": "eml.bash", "zsh": "eml.zsh", "fish": "eml.fish"}


def script(shell: str) -> str:
    """Return the script that a shell reads, with which it completes the command line of eml."""
    return Path(__file__).with_name("scripts").joinpath(SCRIPTS[shell]).read_text(encoding="utf-8")


def answer_shell(environment: Mapping[str, str] = os.environ) -> None:
    """Print the answer to the shell that the environment names; nothing where anything goes wrong."""
    try:
        text = answer(environment)
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")  # type: ignore[union-attr]
        sys.stdout.write(text)
        sys.stdout.flush()
    except BaseException:
        if environment.get(DEBUG):
            raise


def answer(environment: Mapping[str, str]) -> str:
    """Return the answer to a shell.

    Args:
        environment: `_EML_COMPLETE`, the shell. Of bash `_EML_LINE`, the line up to the cursor as it is typed, and
            `_EML_BREAKS`, its COMP_WORDBREAKS; of the others `_EML_WORDS`, the words behind `eml` without quotes, one a
            line, of which the last is being typed.
    """
    if environment[SHELL] == "bash":
        return _answer_bash(environment["_EML_LINE"], environment["_EML_BREAKS"])
    *words, current = environment["_EML_WORDS"].split("\n")
    completions = completions_of(words, current)
    return _answer_zsh(completions) if environment[SHELL] == "zsh" else _answer_fish(completions, current)


def completions_of(words: list[str], current: str) -> Completions:
    """Return what may stand in the place of the word at the cursor. words: those between `eml` and it."""
    situation = read_words(words, current)
    return complete(situation) if situation is not None else Completions()


def _files(completions: Completions, current: str) -> list[Completion]:
    if completions.files is None or not current.startswith(completions.lead):
        return []
    lead = completions.lead
    files = paths(current.removeprefix(lead), completions.files)
    return [Completion(lead + file.text, file.help, file.is_open) for file in files]


def _answer_bash(text: str, breaks: str) -> str:
    """Return the part of each word that bash puts in the place of the last one.

    Of files alone bash quotes the names itself (kind `files`); words are quoted here, with the space behind them.
    """
    line = split_line(text, breaks)
    completions = completions_of(list(line.words[1:]), line.current)
    files = _files(completions, line.current)
    if files and not completions.words:
        return "\n".join([f"{MARK} files", *(file.text.removesuffix("/").removeprefix(line.kept) for file in files)])
    lines = []
    for word in (*completions.words, *files):
        end = line.quote if line.quote and not word.is_open else ""
        space = "" if word.is_open else " "
        lines.append(escaped(word.text.removeprefix(line.kept), line.quote) + end + space)
    return "\n".join([f"{MARK} words", *lines])


def _answer_zsh(completions: Completions) -> str:
    """Return whether a space follows, the word and its description, for each; zsh lists the files itself."""
    kind, globs = "none", ""
    if completions.files is not None:
        kind = "folders" if completions.files.suffixes is None else "files"
        globs = "|".join(suffix.removeprefix(".") for suffix in completions.files.suffixes or ())
    lines = [f"{'open' if word.is_open else 'closed'}\t{word.text}\t{word.help}" for word in completions.words]
    return "\n".join([f"{MARK}\t{kind}\t{completions.lead}\t{globs}", *lines])


def _answer_fish(completions: Completions, current: str) -> str:
    """Return words with their descriptions, and files; fish puts no space behind `=`, `.`, `:` and `/`."""
    lines = [f"{word.text}\t{word.help}" for word in completions.words]
    return "\n".join([MARK, *lines, *(file.text for file in _files(completions, current))])
