"""The unknown label that a checkpoint was trained with, for tables that say none themselves."""

from collections.abc import Iterable
from pathlib import Path

from eml.dataset.table import Table
from eml.dataset.unknown_label import with_label_if_present
from eml.errors import CheckpointError, DataError
from eml.inference.any_model import fetched_model
from eml.inference.exported.facts import read_facts
from eml.inference.exported.names import is_exported
from eml.inference.exported.runtimes import find_runtime
from eml.models.checkpoint import recorded_unknown_label
from eml.progress import Report
from eml.storage import is_url


def with_checkpoint_label(table: Table, models: Iterable[str], report: Report) -> Table:
    """Return the table with the unknown label of the first of the models that knows one that the table has.

    Args:
        table: The images; a table that has an unknown label keeps it.
        models: Runs, checkpoints, files of eml export, timm:NAME or embeddings files, as the user names them.
        report: Receives a line where the label is taken over.
    """
    for model in models:
        try:
            label = _unknown_label(model)
        except (CheckpointError, DataError):
            continue  # it is no checkpoint, or loading it will say what is wrong
        labelled = with_label_if_present(table, label)
        if labelled is not table:
            images = int(labelled.is_unknown.sum())
            report(f"{table.name}: {images:,} images with the label {label!r} are of unknown identity, as {model} says")
            return labelled
    return table


def _unknown_label(model: str) -> str | None:
    """Return the unknown label that a checkpoint or a file of eml export records. Raises CheckpointError for others."""
    path = fetched_model(model) if is_url(model) else Path(model)
    if not is_exported(path):
        return recorded_unknown_label(path)
    return read_facts(find_runtime(path).facts_text(path), model).unknown_label
