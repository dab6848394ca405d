"""The calibration of a refitted model: fitted on held-out classes before these are trained on, and carried over."""

from pathlib import Path

import numpy as np
from torch import Tensor

from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.calibration import CalibrationOptions, write_calibration
from eml.evaluation.retrieval_set import RetrievalSet
from eml.inference.load import load
from eml.models.calibration import Calibration
from eml.retrieval.answer_calibration import FAR, UNKNOWN_SHARE, AnswerCalibration
from eml.retrieval.answers.fitting import fit_answers
from eml.retrieval.answers.samples import SCORINGS, sample_open_set
from eml.retrieval.verification import Goal, OpenSet, calibrate

NOTE = (
    "the threshold is that of the network before the refit, carried over as it is: {} held-out classes chose it, and "
    "the checkpoint is trained on them too by now; eml calibrate on a test table replaces it"
)


def carry_calibration(
    checkpoint: Path, embeddings: Tensor, table: Table, images: RetrievalSet, device: str
) -> Calibration:
    """Calibrate by held-out images as they were embedded before the refit; write it into the refitted checkpoint.

    Args:
        checkpoint: The refitted one.
        embeddings: (M, D) of the held-out images, by the network before the refit.
        table: Their table.
        images: Of which the images that are queries are taken, each a query to all others.
        device: To load the checkpoint on.

    Raises:
        DataError: There are too few images or classes to calibrate by.
    """
    rows = np.unique(images.queries)
    names = images.frame["label"].to_numpy(object)[rows]
    labels = np.unique(names, return_inverse=True)[1].astype(np.int64)
    data = OpenSet.leave_one_out(embeddings[rows], labels)
    calibrated = calibrate(data, Goal("far", FAR), few_classes=True)
    classes = sorted({str(name) for name in names})
    notes = [*calibrated.notes, NOTE.format(f"{len(classes):,}")]
    try:
        samples = [sample_open_set(data, scoring, 0) for scoring in SCORINGS]
        answers: AnswerCalibration | None = fit_answers(
            samples, far=FAR, unknown_share=UNKNOWN_SHARE, gallery="folds", seed=0
        )
    except DataError as error:
        answers, notes = None, [*notes, f"answers get no probability: {error}"]
    model = load(checkpoint, device=device)
    options = CalibrationOptions(str(checkpoint), None, far=FAR)
    update = {"notes": notes, "carried_from": classes}
    return write_calibration(calibrated, options, model, table, "leave-one-out, before the refit", answers, update)
