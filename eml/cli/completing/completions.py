"""Completions of the word at the cursor: words, and files of some kinds."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Completion:
    """A word that may stand at the cursor.

    Args:
        text: The whole word.
        help: What it means.
        is_open: Whether the word goes on, so that no space follows it.
    """

    text: str
    help: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class FileKind:
    """Files that may stand at the cursor, beside folders.

    Args:
        suffixes: Of the files, such as `.csv`; empty: of all; None: folders alone.
    """

    suffixes: tuple[str, ...] | None = ()


@dataclass(frozen=True)
class Completions:
    """Everything that may stand at the cursor.

    Args:
        words: The words.
        files: The files; None: no file.
        lead: The beginning of the word that is not part of the file's path, such as `data.table=`.
    """

    words: tuple[Completion, ...] = ()
    files: FileKind | None = None
    lead: str = field(default="")

    def after(self, lead: str) -> "Completions":
        """Return the same behind a beginning of the word."""
        words = tuple(replace(word, text=lead + word.text) for word in self.words)
        return replace(self, words=words, lead=lead + self.lead)


def of_words(words: Iterable[str] | Mapping[str, str], typed: str) -> Completions:
    """Return the words, with their descriptions, that begin with what is typed."""
    pairs = words.items() if isinstance(words, Mapping) else ((word, "") for word in words)
    return Completions(tuple(Completion(word, text) for word, text in pairs if word.startswith(typed)))


def paths(typed: str, kind: FileKind) -> Iterator[Completion]:
    """Yield the folders and files whose paths begin with what is typed; all files where none is of the kind."""
    folder, name = os.path.split(typed)
    shown = typed[: len(typed) - len(name)]
    entries = sorted(_entries(os.path.expandvars(os.path.expanduser(folder)) or os.curdir, name))  # noqa: PTH111
    folders = [entry for entry, is_folder in entries if is_folder]
    files = [entry for entry, is_folder in entries if not is_folder]
    if kind.suffixes is None:
        files = []
    elif kind.suffixes and (of_kind := [file for file in files if file.lower().endswith(kind.suffixes)]):
        files = of_kind
    elif kind.suffixes and folders:
        files = []
    yield from (Completion(f"{shown}{entry}/", is_open=True) for entry in folders)
    yield from (Completion(shown + entry) for entry in files)


def _entries(folder: str, name: str) -> Iterator[tuple[str, bool]]:
    """Yield the names in a folder that begin with `name`, hidden ones only if it does, and whether it is a folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(name) and (name or not entry.name.startswith(".")) and "\n" not in entry.name:
                    yield entry.name, entry.is_dir()
    except OSError:
        return
