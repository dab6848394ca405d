"""The labels of tables that are merged: in one Unicode form, shared by several tables, and of unknown identity."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import pandas as pd

from eml.dataset.similar_labels import canonical
from eml.dataset.table import Table

Labels = Literal["apart", "merged"]


def merged_unknown_label(tables: Mapping[str, Table], labels: Labels) -> tuple[str | None, list[str]]:
    """Return the unknown label of the merged table, and notes on images that get it or stay what they are."""
    own = {name: table.unknown_label for name, table in tables.items() if table.unknown_label is not None}
    if not own:
        return None, []
    label = next(iter(own.values()))
    notes = [
        f"images of {name} with its unknown label {own_label!r} get {label!r}"
        for name, own_label in own.items()
        if own_label != label
    ]
    counts = {name: int((table.frame["label"] == label).sum()) for name, table in tables.items() if name not in own}
    effect = "a class there" if labels == "apart" else "now of unknown identity"
    notes += [
        f"{count:,} images of {name} have the label {label!r}: {effect}" for name, count in counts.items() if count
    ]
    return label, notes


def in_one_form(table: Table) -> Table:
    """Return the table with its labels in one Unicode form, in which equal texts are equal."""
    labels = table.frame["label"].map({label: canonical(label) for label in table.frame["label"].unique()})
    label = None if table.unknown_label is None else canonical(table.unknown_label)
    return replace(table, frame=table.frame.assign(label=labels), unknown_label=label)


def find_shared_labels(tables: Mapping[str, Table]) -> list[str]:
    """Return the labels of known identity that several tables have, sorted."""
    owners = pd.Series([label for table in tables.values() for label in table.known.frame["label"].unique()], dtype=str)
    return sorted(set(owners[owners.duplicated()]))


def shared_labels_note(shared: list[str], labels: Labels) -> str:
    """Return a line on labels that several datasets have."""
    names = ", ".join(map(repr, shared[:5])) + (" …" if len(shared) > 5 else "")
    count = f"{len(shared):,} label is" if len(shared) == 1 else f"{len(shared):,} labels are"
    effect = "kept apart, a class for each dataset" if labels == "apart" else "one class each"
    return f"{count} in more than one dataset ({names}): {effect}"
