"""The command that follows another: with the options that make it succeed on the data at hand."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eml.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from eml.dataset.duplicates.components import Indices
    from eml.dataset.table import Table

CONFIG_NAME = "config.yaml"


def split_command(place: Path, table: Table) -> str | None:
    """Return the `eml split` that leaves classes on both sides, two of them to train on; None if there is none."""
    from eml.dataset.splits.split import split_by_alternate, split_by_counts, split_by_ratio

    strategies: dict[str, Callable[[Table], Any]] = {
        "counts": split_by_counts,
        "ratio": split_by_ratio,
        "alternate": split_by_alternate,
    }
    for name, split in strategies.items():
        try:
            sides = split(table)
        except DataError:
            continue
        if sides.train["label"].nunique() > 1:
            return shlex.join(["eml", "split", str(place), *(["--by", name] if name != "counts" else [])])
    return None


def kfold_command(place: Path, table: Table, groups: Indices) -> str | None:
    """Return the `eml kfold` that the rows and their groups (N,) allow; None if there is none."""
    from eml.dataset.splits.folds import K, add_folds

    largest = int(table.frame["label"].value_counts().max())
    choices: list[dict[str, Any]] = [{"k": K}, {"k": K, "by": "class"}]
    choices += [{"k": k} for k in range(min(largest, K - 1), 1, -1)]
    for choice in choices:
        try:
            add_folds(table, **choice, groups=groups)
        except DataError:
            continue
        options = [word for name, value in choice.items() if value != K for word in (f"--{name}", str(value))]
        return shlex.join(["eml", "kfold", str(place), *options])
    return None


def init_command(folder: Path) -> str | None:
    """Return `eml init`; with a config in the folder `eml train`; None where a run is there too."""
    from eml.models.pointers import RUN_FILE

    if not (folder / CONFIG_NAME).exists():
        return shlex.join(["eml", "init", str(folder)])
    if any(folder.glob(f"*/{RUN_FILE}")):
        return None
    return shlex.join(["eml", "train", str(folder / CONFIG_NAME)])


def rows_of(table: Table, frame: pd.DataFrame, groups: Indices) -> tuple[Table, Indices]:
    """Return a part of a table's rows as a table, and their groups."""
    from dataclasses import replace

    present = table.frame["file_name"].isin(frame["file_name"]).to_numpy()
    return replace(table, frame=table.frame[present].reset_index(drop=True)), groups[present]
