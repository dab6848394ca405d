"""The fold that a config of `eml init` holds out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eml.commands.next_steps import kfold_command
from eml.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from eml.dataset.splits.task import Task
    from eml.dataset.table import Table


@dataclass(frozen=True)
class InitFolds:
    """The rows to train and validate on, and the fold to hold out, None without validation."""

    rows: pd.DataFrame
    fold: int | None
    held_out: int
    reasons: tuple[str, ...]


def task_of_folds(table: Table) -> Task:
    """Return the task that `eml kfold` made the table's folds for; the usual one of other tables."""
    from eml.dataset.sidecar import recorded_notes

    return "closed" if table.path is not None and recorded_notes(table.path).get("task") == "closed" else "open"


def folds_of(table: Table, task: Task, options: Sequence[str] = ()) -> InitFolds:
    """Return the fold to hold out, of the table's own folds or of those that `eml train` adds.

    Args:
        table: The table.
        task: What the model is for.
        options: Of the commands that read it.

    Raises:
        DataError: The table's own folds cannot be validated on.
    """
    from eml.dataset.columns import ALWAYS_TEST
    from eml.dataset.splits.folds import add_folds
    from eml.dataset.splits.usable import choose_folds, fold_problem, small_groups
    from eml.training.folds import other_task_note

    frame = table.known.frame
    rows = frame[frame["fold"] != ALWAYS_TEST] if "fold" in frame else frame
    if "fold" in rows and len(rows) and (len(rows) == len(frame) or (rows["fold"] >= 0).any()):
        numbers = sorted(int(fold) for fold in rows["fold"].unique() if fold >= 0)
        if not numbers:
            return InitFolds(
                rows, None, 0, ("no validation: no image of the table is in a fold that could be held out",)
            )
        if problem := fold_problem(rows, numbers[:1]):
            raise DataError(f"{table.name}: {problem}. {_kfold_advice(table, task, options)}", code="unusable-folds")
        held_out = int((rows["fold"] == numbers[0]).sum())
        known = bool(set(rows["label"][rows["fold"] == numbers[0]]) & set(rows["label"][rows["fold"] != numbers[0]]))
        question = _question(f"fold {numbers[0]} of {len(numbers)}", known=known)
        note = other_task_note(table, numbers[0], task)
        return InitFolds(rows, numbers[0], held_out, (question, *([note] if note else [])))
    groups = small_groups(table, whole_classes=task == "open")
    if (choice := choose_folds(table, groups, task)) is None:
        return InitFolds(rows, None, 0, ("no validation: no folds of these images could be validated on",))
    held_out = int((add_folds(table, choice.k, by=choice.by, groups=groups)["fold"] == 0).sum())
    question = _question(f"fold 0 of {choice.text}", known=choice.by == "images")
    return InitFolds(rows, 0, held_out, (question, *([choice.reason] if choice.reason else [])))


def _question(fold: str, *, known: bool) -> str:
    from eml.training.question import KNOWN, UNSEEN

    return f"validation on {fold}: {KNOWN if known else UNSEEN}"


def _kfold_advice(table: Table, task: Task, options: Sequence[str]) -> str:
    """Return the command that makes folds to validate on, of the table that `eml kfold` reads; options: of this one."""
    from eml.dataset.ancestry import PIPELINE
    from eml.dataset.pipeline import resolve
    from eml.dataset.splits.usable import small_groups

    made_here = table.source.stem == PIPELINE["kfold"]
    source = resolve(table.source.parent, "kfold") if made_here else table
    groups = small_groups(source)
    if groups is None:
        from eml.dataset.splits.groups import group_rows

        groups = group_rows(source).ids
    command = kfold_command(source.source, source, groups, task=task)
    command = command and shlex.join([*shlex.split(command), *([] if made_here else options)])
    return f"Run: {command}" if command else "No folds of these images could be validated on; set data.fold: null"
