"""Folds of the table that a run trains on: its own, or those that its task asks for."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from eml.dataset.ancestry import PIPELINE
from eml.dataset.columns import ALWAYS_TEST
from eml.dataset.sidecar import sources
from eml.dataset.splits.folds import RANDOM_SEED, add_folds
from eml.dataset.splits.groups import group_rows
from eml.dataset.splits.task import FEW_CLASSES, USUAL, Task
from eml.dataset.splits.usable import choose_folds, fold_problem
from eml.dataset.table import Table
from eml.errors import DataError
from eml.files import from_here, real_path
from eml.progress import Report

MIN_CLASSES = 4  # of several images: two to train on and two to hold out


def has_folds(table: Table) -> bool:
    """Return whether one of the table's own folds can be held out, or its column `fold` says that none is."""
    frame = table.frame
    if "fold" not in frame:
        return False
    test = frame["fold"] == ALWAYS_TEST
    return bool((frame["fold"] >= 0).any() or not test.any() or test.all())


def add_usual_folds(table: Table, task: Task, report: Report) -> Table:
    """Return the table with folds for a task, but for its images of the test (fold -2).

    Args:
        table: Without folds.
        task: What the model is for.
        report: Receives lines that say which folds are added, and why these.

    Raises:
        DataError: No folds of its images can be validated on.
    """
    test = table.frame["fold"] == ALWAYS_TEST if "fold" in table.frame else pd.Series(False, index=table.frame.index)
    reason = "has no fold but the test's (-2)" if test.any() else "has no fold column"
    groups = group_rows(table, whole_classes=task == "open")
    choice = choose_folds(table, groups.ids, task)
    if choice is None:
        raise DataError(
            f"{table.name}: {reason}, and no folds of its images can be validated on; set data.fold: null to train "
            "without validation",
            code="unusable-folds",
            parameter="data.fold",
        )
    with_folds = add_folds(table, choice.k, by=choice.by, groups=groups.ids)
    for line in groups.warnings:
        report(f"warning: {line}")
    if excluded := int((with_folds["fold"] == ALWAYS_TEST).sum() - test.sum()):
        report(
            f"warning: {excluded:,} images look like images of the test (fold -2), so they are not used for training"
        )
    rule = f": {choice.reason}" if choice.reason else ""
    name = from_here(table.path) if table.path else table.name
    report(f"{name} {reason}: adding {choice.text}, seed {RANDOM_SEED}, as eml kfold does{rule}")
    if (folds := _unused_folds(table)) is not None:
        report(f"warning: {folds} has folds and is not used; to use them set data.table to it")
    return replace(table, frame=with_folds)


def _unused_folds(table: Table) -> Path | None:
    """Return the table that `eml kfold` made of this one, beside it; None without one."""
    if table.path is None:
        return None
    folds = table.path.with_name(f"{PIPELINE['kfold']}{table.path.suffix}")
    if not folds.is_file() or folds == table.path:
        return None
    current = {real_path(source) for output, source, changed in sources(folds) if output == folds and not changed}
    return folds if real_path(table.path) in current else None


def other_task_note(table: Table, fold: int, task: Task) -> str | None:
    """Return what a table's own fold measures where the task asks for something else; None where it does not.

    Args:
        table: With folds of its own, which are kept.
        fold: The fold to hold out.
        task: What the model is for.
    """
    frame = table.known.frame
    frame = frame[frame["fold"] != ALWAYS_TEST]
    held_out = frame["fold"] == fold
    labels = frame["label"][held_out].unique()
    trained_on = pd.Series(labels).isin(frame["label"][~held_out]).mean() if len(labels) else 0.0
    if task == "closed" or trained_on <= 0.5 or int((frame["label"].value_counts() > 1).sum()) < MIN_CLASSES:
        return None
    command = _kfold_command(table)
    advice = f"to hold out whole classes run: {command}; " if command else ""
    return (
        f"{table.name}: fold {fold} holds images of classes that are trained on, so validation measures new images of "
        f"known classes, while task is open (classes may be new): {advice}if all classes are known, set task: closed"
    )


def _kfold_command(table: Table) -> str | None:
    """Return the `eml kfold` that makes other folds of a table; None of several tables."""
    if table.path is None:
        return None
    place = table.path.parent if table.path.stem == PIPELINE["kfold"] else table.path
    return shlex.join(["eml", "kfold", str(place)])


def rotation(table: Table) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield (rows to train on, rows held out) for each fold of whole classes that can be held out.

    Rows of the test (fold -2) are in neither. Images of unknown identity are held out with their fold, as distractors,
    and never trained on.

    Args:
        table: With a column `fold`.
    """
    frame, unknown = table.frame, table.is_unknown
    rest = frame["fold"] != ALWAYS_TEST
    for fold in whole_class_folds(table):
        held_out = frame["fold"] == fold
        yield (
            frame[rest & ~held_out & ~unknown].reset_index(drop=True),
            frame[held_out].reset_index(drop=True),
        )


def whole_class_folds(table: Table) -> list[int]:
    """Return the folds that can be held out and share no class with the rest."""
    frame = table.known.frame
    frame = frame[frame["fold"] != ALWAYS_TEST]
    numbers = sorted(int(fold) for fold in frame["fold"].unique() if fold >= 0)
    folds_of_class = frame.groupby("label")["fold"].nunique()
    torn = set(frame["fold"][frame["label"].map(folds_of_class) > 1])
    return [fold for fold in numbers if fold not in torn and fold_problem(frame, [fold]) is None]


def is_rotated(table: Table, task: Task = USUAL) -> bool:
    """Return whether one held-out fold is of too few classes, so that each fold of whole classes is held out in turn.

    Args:
        table: With a column `fold`.
        task: What the model is for.
    """
    frame = table.known.frame
    sizes = frame["label"][frame["fold"] != ALWAYS_TEST].value_counts()
    return task == "open" and int((sizes > 1).sum()) < FEW_CLASSES and len(whole_class_folds(table)) > 1
