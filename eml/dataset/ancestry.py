"""Whether a table is up to date: by its own sidecar, by the tables written with it, and by those it was made from.

Every command that reads a table asks here, through `eml.dataset.pipeline`.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

from eml.dataset.sidecar import (
    Sidecar,
    read_sidecar,
    recorded_root,
    sidecar_path,
    sources,
    written_after,
    written_by_eml,
)
from eml.dataset.table import SUFFIXES
from eml.errors import DataError
from eml.files import digest, real_path

PIPELINE = {
    "scan": "dataset_info",
    "merge": "dataset_merged",
    "filter": "dataset_info_filtered",
    "split": "dataset_train",
    "kfold": "folds",
}
"""Each command in order, and the table that it leaves for those after it."""

OVERWRITE = "--overwrite"
"""The option by which every command of the pipeline replaces tables that were edited by hand."""

COMMAND_OF = {stem: command for command, stem in PIPELINE.items()} | {"dataset_test": "split"}
"""The stem of each table that a later command reads, and the command that writes it."""


def refuse_stale(table: Path) -> None:
    """Raise a DataError where the table is out of date."""
    if (problem := staleness(table)) is not None:
        raise problem


def staleness(table: Path) -> DataError | None:
    """Return what makes the table out of date, and the command that mends it; None for one that is up to date.

    A table is out of date where a command was stopped between the tables that it writes, where a table beside it is
    of another run of the command that wrote both, where a table that it was made from has changed since, and where
    an earlier step wrote a newer table that was not used. The same of all tables that it was made from. A table that
    was edited by hand is as its user wants it, and one without a sidecar is the user's own.
    """
    for torn, reason in _torn_tables(table):
        return stale(table, f"{reason}. {_capital(run_again(torn))}")
    for output, reason in _older_tables(table):
        advice = f"To use {table.name} as it is, give a copy of it with another name; else {run_again(output)}"
        return stale(table, f"{reason}. {advice}")
    return None


def stale(table: Path, reason: str) -> DataError:
    """Return the error that a table is out of date."""
    return DataError(f"{table}: is out of date: {reason}", code="out-of-date")


def refuse_unwritten(table: Path) -> None:
    """Raise a DataError where the table is missing but its sidecar is there, which a kill can leave.

    Its folder would otherwise look as if the command that writes it had not run yet.
    """
    if not table.exists() and (sidecar := read_sidecar(table)) is not None:
        reason = f"{_was_stopped(sidecar)} before it wrote this table, or the table was deleted"
        advice = f"To go on without it, delete {sidecar_path(table)}; else {run_again(table)}"
        raise DataError(f"{table}: is missing: {reason}. {advice}", code="out-of-date")


def run_again(table: Path) -> str:
    """Return the advice to make a table again: the very command, where it can be run from the current folder.

    Where it would be refused because a table that it writes was edited by hand, it is given with `overwrite`.
    """
    sidecar = read_sidecar(table)
    words = _words(sidecar) if sidecar else []
    if sidecar is None or not words:
        return f"run eml {COMMAND_OF.get(table.stem, 'scan')} again"
    kept = [path.name for path in (table, *map(table.with_name, sidecar.siblings)) if _would_be_kept(path)]
    replacing = f"to replace what is not as eml wrote it ({', '.join(kept)}), " if kept else ""
    if kept and OVERWRITE not in words:
        words.append(OVERWRITE)
    places = {real_path(table.parent), *(real_path(path) for output, path, _ in sources(table) if output == table)}
    if (root := recorded_root(table)) is not None:
        places.add(real_path(root))
    line = shlex.join(words)
    if any(real_path(Path(word)) in places for word in words[2:]):
        return f"{replacing}run: {line}"
    return f"{replacing}run eml {words[1]} again (it was run as: {line})"


def _would_be_kept(table: Path) -> bool:
    """Return whether eml would not replace the file: it was edited by hand, or eml did not write it."""
    return table.is_file() and not written_by_eml(table)


def tables_of(folder: Path, stem: str) -> list[Path]:
    """Return the tables of a folder with this stem."""
    return [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]


def later_tables(folder: Path, step: str) -> list[Path]:
    """Return the tables of a folder that the command `step` writes, or commands after it."""
    commands = list(PIPELINE)
    later = commands[commands.index(step) :]
    stems = [stem for stem, command in COMMAND_OF.items() if command in later]
    return [path for stem in stems for path in tables_of(folder, stem)]


def _torn_tables(table: Path) -> Iterator[tuple[Path, str]]:
    """Yield (table to make again, reason) of the table and all that it was made from, by those written with them."""
    for path in dict.fromkeys((table, *(source for _, source, _ in sources(table)))):
        if reason := _torn(path):
            yield path, reason


def _older_tables(table: Path) -> Iterator[tuple[Path, str]]:
    """Yield (table to make again, reason) of the table and all that it was made from, by what has changed since."""
    used = {real_path(table)}
    for output, source, changed in sources(table):
        if changed:
            yield output, f"{source} was changed after {output.name} was made from it"
        used.add(real_path(source))
    if table.stem in COMMAND_OF:
        commands = list(PIPELINE)
        for command in commands[: commands.index(COMMAND_OF[table.stem])]:
            for path in tables_of(table.parent, PIPELINE[command]):
                if real_path(path) not in used and written_after(path, table):
                    yield table, f"{path.name} is newer and was not used for it"


def _torn(table: Path) -> str | None:
    """Return how the table and those written with it do not belong together; None where they do."""
    sidecar = read_sidecar(table)
    if sidecar is None or not table.is_file():
        return None
    if _is_older(table, sidecar):
        return f"{_was_stopped(sidecar)} before it wrote {table.name}, or an older copy was put back"
    for name, recorded in sidecar.siblings.items():
        sibling = table.with_name(name)
        beside = read_sidecar(sibling)
        if beside is None:
            continue  # it is the user's own, or the table was moved alone
        if not sibling.exists():
            if beside.write == sidecar.write and sibling.stem in COMMAND_OF:
                return f"{_was_stopped(sidecar)} before it wrote {name}, or {name} was deleted but for {name}.eml.json"
        elif beside.write == sidecar.write:
            if _is_older(sibling, beside):
                return f"{_was_stopped(sidecar)} before it wrote {name}, or an older copy was put back"
        elif digest(sibling) != recorded:
            return f"{name} beside it is of another run of eml {_name(beside)}"
    return None


def _is_older(table: Path, sidecar: Sidecar) -> bool:
    """Return whether the file is one that the sidecar's table was to replace, or that eml wrote there before."""
    before = sidecar.written_before | ({sidecar.overwrites} - {None, sidecar.digest})
    return bool(before) and digest(table) in before


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _was_stopped(sidecar: Sidecar) -> str:
    return f"eml {_name(sidecar)} was stopped"


def _words(sidecar: Sidecar) -> list[str]:
    """Return the words of the command that wrote a table; none where it is no command of eml."""
    try:
        words = shlex.split(sidecar.command)
    except ValueError:
        return []
    return words if len(words) > 2 and words[0] == "eml" and words[1].isalpha() else []


def _name(sidecar: Sidecar) -> str:
    """Return the name of the command that wrote a table."""
    words = _words(sidecar)
    return words[1] if words else "scan"
