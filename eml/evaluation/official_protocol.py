"""Options that a table of an official protocol brings along, where the user says nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eml.dataset.protocol_notes import ProtocolNote, protocol_note
from eml.dataset.table import Table
from eml.evaluation.options import EvaluationOptions
from eml.progress import Report

USUAL_KS = (1, 5, 10)
"""The Ks of R@K where no table says others."""


def options_by_table(
    options: EvaluationOptions, tables: Sequence[Table], report: Report = lambda line: None
) -> list[EvaluationOptions]:
    """Return the options of each table, with the Ks, the camera column and the pairs of its official protocol.

    All tables are measured at the Ks of all, so that they stand in one table. What the user gives goes first.

    Args:
        options: As the user gives them.
        tables: The tables to measure on.
        report: Receives a line for each table that brings options along, and for each with other counts.
    """
    notes = [protocol_note(table.path) for table in tables]
    ks = options.recall_at or sorted({k for note in notes for k in (note.recall_at if note else USUAL_KS)})
    ks = [] if list(ks) == list(USUAL_KS) else ks
    own = []
    for table, note in zip(tables, notes, strict=True):
        own.append(_of_table(options, table, note, report) if note else options)
    return [replace(of_table, recall_at=tuple(ks)) for of_table in own]


def _of_table(options: EvaluationOptions, table: Table, note: ProtocolNote, report: Report) -> EvaluationOptions:
    """Return the options with those of a table's note, and report them."""
    said = ["R@" + ",".join(map(str, note.recall_at))] if note.recall_at and not options.recall_at else []
    if note.leave_out_same is not None and options.leave_out_same is None:
        options = replace(options, leave_out_same=note.leave_out_same)
        said.append(f"`leave_out_same={note.leave_out_same}`")
    if (pairs := _pairs_beside(table, note)) is not None and options.pairs is None and not options.verification:
        options = replace(options, pairs=pairs)
        said.append(f"`pairs={pairs}`")
    if said:
        report(f"protocol {note.type}, as {table.name} says: {' '.join(said)}")
    if differences := [line for line in note.differences if not line.startswith("train ")]:
        report(f"warning: {table.name} is not the official {note.type}: {'; '.join(differences)}")
    return options


def _pairs_beside(table: Table, note: ProtocolNote) -> Path | None:
    """Return the list of pairs beside the table; None where there is none."""
    name = note.pairs.get(table.path.name) if table.path is not None else None
    path = table.path.with_name(name) if table.path is not None and name is not None else None
    return path if path is not None and path.is_file() else None
