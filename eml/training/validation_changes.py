"""Find the validation sets whose images have changed since a run's state was saved, so that figures are not mixed."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from eml.evaluation.retrieval_set import RetrievalSet
from eml.files import bytes_digest
from eml.retrieval.metrics import metric_key
from eml.training.state import TrainingState
from eml.training.validation import Validation

COLUMNS = ("label", "file_name", "content", "x_1", "y_1", "x_2", "y_2")
"""The columns of a table that together say what an image shows."""


def set_digest(images: RetrievalSet) -> str:
    """Return a digest of a set's queries and gallery: which images of which classes they are, in which order."""
    columns = [images.frame[name].astype(str) for name in COLUMNS if name in images.frame]
    rows = pd.util.hash_pandas_object(pd.concat(columns, axis=1), index=False).to_numpy()
    codes = [part for part in (images.groups, images.within) if part is not None]
    return bytes_digest(
        b"".join(part.astype("<u8").tobytes() for part in (rows, images.queries, images.gallery, *codes))
    )


def set_digests(validation: Validation) -> dict[str, str]:
    """Return name → digest of each validation set, and of the part of it that is measured after each epoch."""
    parts = {name: set_digest(part.images) for name, part in validation.parts.items()}
    return {
        name: set_digest(images) + (f" {parts[name]}" if name in parts else "")
        for name, (_, images) in validation.sets.items()
    }


def drop_incomparable_figures(
    saved: dict[str, Any], state: TrainingState, validation: Validation, fold: int | None
) -> Iterator[str]:
    """Take figures that cannot be compared with those to come out of a state, and yield lines that say so.

    Args:
        saved: What was saved with the state.
        state: Where the run stands.
        validation: The sets of now.
        fold: That is held out now.
    """
    names = sorted(_changed_sets(saved, validation, fold))
    measured = state.closed_epochs >= 0
    state.replace_sets({*names, *(state.before.keys() - validation.sets), *(state.best.keys() - validation.sets)})
    state.since = {name: epoch for name, epoch in state.since.items() if name in validation.sets}
    for name in names if measured else ():
        yield (
            f"validation on {name or 'the held-out fold'}: the set changed at epoch {state.closed_epochs + 1}; figures "
            "before it are of other images and are not compared"
        )
    metric = metric_key(str(saved["config"].get("validation.metric", validation.metric)))
    if metric != validation.metric:
        state.replace_metric(of_verdicts=metric.rpartition("/")[2] != validation.main_metric)
        if measured:
            epoch = state.closed_epochs + 1
            yield f"validation.metric: from epoch {epoch} on, {validation.metric} chooses the best epoch"


def _changed_sets(saved: dict[str, Any], validation: Validation, fold: int | None) -> set[str]:
    """Return the names of the sets that are new, or have other images than when the state was saved."""
    digests = saved.get("validation_sets")
    if isinstance(digests, dict):
        return {name for name, own in set_digests(validation).items() if digests.get(name) != own}
    changed = {"": saved["config"].get("data.fold", fold) != fold}  # an earlier eml saved no digests of sets
    if "validation_tables" in saved:
        tables = saved["validation_tables"]
        changed |= {name: tables.get(name) != own for name, own in validation.digests.items()}
    sizes = {
        name: any(name in values and len(values[name]) != len(images.queries) for values in _per_query(saved))
        for name, (_, images) in validation.sets.items()
    }
    return {name for name, has_other_size in sizes.items() if has_other_size or changed.get(name, False)}


def _per_query(saved: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the values per query before training and in the best epoch, by the names of sets."""
    for key in ("before", "best"):
        if isinstance(values := saved["training"].get(key), dict):
            yield values
