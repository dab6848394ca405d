"""The calibration of an index: that of its checkpoint, fitted again to the index's own classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.errors import DataError
from eml.evaluation.gallery_calibration import calibrate_gallery, is_recalibration_due
from eml.indexing.class_counts import class_sizes
from eml.indexing.classify import LabelledTiles
from eml.indexing.stored_calibration import calibration_of
from eml.progress import Report

if TYPE_CHECKING:
    from eml.indexing.store import IndexStore
    from eml.inference.any_model import AnyModel
    from eml.retrieval.answer_calibration import AnswerCalibration


def calibrate_store(store: IndexStore, model: AnyModel, report: Report = lambda line: None) -> AnswerCalibration | None:
    """Fit the calibration of a checkpoint to an index, keep it there and return it; None without one.

    Args:
        store: The index.
        model: Its model.
        report: Receives a line where the index has too few classes of its own, so that it gets the checkpoint's as is.
    """
    calibration = model.calibration
    if calibration is None or calibration.answers is None:
        return None
    tiles = LabelledTiles(store)
    trained = model.trained_on.classes if model.trained_on is not None else frozenset[str]()
    try:
        with store.snapshot():
            answers = calibrate_gallery(model.folder, calibration, tiles, tiles.classes, trained)
    except DataError as error:
        report(f"calibrated by the calibration set alone: {error}")
        answers = calibration.answers
    store.calibration = None if answers is None else answers.model_dump(mode="json")
    return answers


def calibrate_if_due(store: IndexStore, model: AnyModel, report: Report = lambda line: None) -> bool:
    """Calibrate an index again where it has changed much since; return whether it was."""
    if not is_due(store):
        return False
    return calibrate_store(store, model, report) is not None


def is_due(store: IndexStore) -> bool:
    """Return whether an index that is calibrated has changed so much that it should be again."""
    answers = calibration_of(store)
    sizes = class_sizes(store)
    labelled = {label: count for label, count in sizes.items() if label}
    return answers is not None and is_recalibration_due(answers, len(labelled), sum(labelled.values()))
