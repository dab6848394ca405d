"""The unknown label: a label such as `new_whale`, whose images are of unknown identity and form no class."""

import shlex
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from eml.config.text import closest, listed
from eml.dataset.ancestry import later_tables
from eml.dataset.sidecar import (
    UNKNOWN_LABEL,
    denies_unknown_label,
    read_sidecar,
    recorded_root,
    sources,
    unknown_label_in,
)
from eml.dataset.similar_labels import canonical
from eml.dataset.table import Table
from eml.errors import DataError
from eml.progress import Report

TELLING = {
    *("unknown", "unknowns", "unk", "unidentified", "unlabeled", "unlabelled", "unsorted", "undefined", "unclassified"),
    *("new_whale", "new_individual", "new", "other", "others", "misc", "none", "na", "nan", "null", "noise"),
    *("background", "distractor", "distractors", "junk", "-1", "?", "no_label", "nolabel"),
}
"""Labels, in lower case with underscores, that seldom name a class."""
NEAREST = 3  # labels named when the one that was given is in no row


def with_unknown_label(table: Table, label: str | None) -> Table:
    """Return the table with another unknown label, "" for none; unchanged for None, which keeps what its sidecar says.

    Raises:
        DataError: No row has the label, or all have it.
    """
    if label is None:
        return with_a_class(table)
    if not label:
        return replace(table, unknown_label=None, denies_unknown_label=True)
    labels = table.frame["label"].unique()
    label = next((str(name) for name in labels if canonical(name) == canonical(label)), label)
    if label not in labels and label != table.unknown_label:
        text = f"{table.name}: `unknown_label` {label!r}: no image has this label"
        raise DataError(f"{text}. {_nearest(label, labels)}", code="unknown-choice", parameter="unknown_label")
    return with_a_class(replace(table, unknown_label=label, denies_unknown_label=False))


def with_a_class(table: Table) -> Table:
    """Return the table; raise a DataError where all of its images have the unknown label."""
    if len(table.frame) and table.is_unknown.all():
        text = f"{table.name}: all {len(table.frame):,} images have the unknown label {table.unknown_label!r}; there "
        text += "is no class. Give the label of some of the images, or `unknown_label=` if it is a class"
        raise DataError(text, code="too-few-classes", parameter="unknown_label")
    return table


def with_label_if_present(table: Table, label: str | None) -> Table:
    """Return the table with an unknown label that another file recorded, where the table has it and no other one."""
    if not label or table.unknown_label is not None or not (table.frame["label"] == label).any():
        return table
    return replace(table, unknown_label=label)


def unknown_label_notes(table: Table) -> dict[str, Any]:
    """Return what the sidecar of a table made from this one keeps of its unknown label."""
    if table.unknown_label is None:
        return {UNKNOWN_LABEL: ""} if table.denies_unknown_label else {}
    return {UNKNOWN_LABEL: table.unknown_label}


def with_label_of_later(table: Table, folder: Path, step: str, report: Report) -> Table:
    """Return the table with the unknown label of those in `folder` that `step` replaces, or that were made after it.

    The newest that says anything counts, also of the tables that this one was made from, which may have been told
    since. A label is told to one command, perhaps not to the first: when an earlier one is run again, its table must
    not make a class of these images.

    Args:
        table: What the command reads.
        folder: Where it writes.
        step: The command.
        report: Receives where the label is from.
    """
    if table.unknown_label is not None or table.denies_unknown_label:
        return table
    said: list[tuple[str, Path, dict[str, Any]]] = []
    earlier = [] if table.path is None else [path for _, path, _ in sources(table.path)]
    for path in dict.fromkeys([*later_tables(folder, step), *earlier]):
        with suppress(DataError):  # a damaged sidecar stops the commands that read its table
            sidecar, root = read_sidecar(path), recorded_root(path)
            if sidecar and UNKNOWN_LABEL in sidecar.notes and root and root.resolve() == table.root.resolve():
                said.append((sidecar.created, path, sidecar.notes))
    if not said:
        return table
    _, path, notes = max(said, key=lambda entry: entry[0])
    labelled = with_label_if_present(table, unknown_label_in(notes))
    if labelled.unknown_label is not None:
        report(f"as in {path}: `unknown_label={labelled.unknown_label}`; to take it back give `unknown_label=`")
    return with_a_class(replace(labelled, denies_unknown_label=denies_unknown_label(notes)))


def unknown_label_hint(table: Table, command: str | None = None) -> str | None:
    """Return a line on the largest class where its label reads like one of unknown images; None for others.

    Args:
        table: The rows.
        command: The command line that reads it; the line then says the whole command with the label.
    """
    if table.unknown_label is not None or table.denies_unknown_label:
        return None
    sizes = table.frame["label"].value_counts()
    largest = str(sizes.index[0])
    if len(sizes) < 2 or sizes.iloc[0] == sizes.iloc[1] or _plain(largest) not in TELLING:
        return None
    return (
        f"the largest class is {largest!r} with {sizes.iloc[0]:,} images. If these are images of unknown identity, not "
        f"of one class, {_advice(largest, command)}: they are then never trained on and no right answers"
    )


def _advice(label: str, command: str | None) -> str:
    if not command:
        return f"set `unknown_label={label}`"
    words, option = shlex.split(command), ["--unknown-label", label]
    place = words.index("--") if "--" in words else len(words)
    return f"run {shlex.join([*words[:place], *option, *words[place:]])}"


def _nearest(label: str, labels: Iterable[str]) -> str:
    known, nearest = [str(name) for name in labels], list[str]()
    while len(nearest) < NEAREST and (match := closest(label, [name for name in known if name not in nearest])):
        nearest.append(match)
    if nearest:
        return f"The nearest labels: {listed(map(repr, nearest))}"
    shown = listed(map(repr, sorted(known)[:5])) + (" …" if len(known) > 5 else "")
    return f"Its labels: {shown}"


def _plain(label: str) -> str:
    return "_".join(label.casefold().replace("-", " ").replace("_", " ").split())
