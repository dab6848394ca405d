"""The calibration of an exported model: made again for it where its images are there, else carried over, or none."""

from pathlib import Path

import torch
from torch import Tensor

from eml.errors import EmlError
from eml.evaluation.recalibration import CalibrationTable, calibrate_again, read_calibration_table
from eml.exporting.proof.record import Proof
from eml.images.loading import InOrder, batches
from eml.inference.exported.model import ExportedModel
from eml.inference.images import table_images
from eml.inference.model import Model
from eml.models.calibration import Calibration
from eml.progress import Progress, Report, no_progress

BATCH = 64


def calibrate_export(
    model: Model,
    exported: ExportedModel,
    proof: Proof,
    *,
    report: Report = lambda line: None,
    progress: Progress = no_progress,
) -> tuple[Calibration | None, str]:
    """Return the calibration that an exported model carries, and what became of that of its checkpoint in a sentence.

    It is made again on the table that the checkpoint was calibrated with. Where that cannot be, a float32 export keeps
    the checkpoint's, since its cosines are the same up to rounding; one of fewer bits goes without.

    Args:
        model: The model of the checkpoint.
        exported: The exported model, whose proof passed.
        proof: The proof.
        report: Receives the lines about the table.
        progress: Reports the images that are embedded.

    Raises:
        CheckpointError: The calibration of the checkpoint cannot be read.
    """
    stored = model.calibration
    if stored is None:
        mismatch = model.calibration_mismatch
        why = f": the checkpoint's calibration is of {mismatch}" if mismatch else ", as the checkpoint is not"
        return None, f"it is not calibrated{why}"
    try:
        images = read_calibration_table(stored, [model.source], report, folder=model.folder)
        embeddings = _embed(exported, images, progress)
        calibration = calibrate_again(stored, images.retrieval, embeddings, exported.fingerprint)
    except EmlError as error:
        return _carried(stored, proof, exported, error.problems[0])
    before, after = stored.threshold.value, calibration.threshold.value
    goal = f"{calibration.goal} {calibration.goal_value:g}"
    line = (
        f"calibrated again on {images.table.name}: threshold {after:.4f} for {goal}, {before:.4f} with the checkpoint"
    )
    return _without_folders(calibration), line


def _carried(stored: Calibration, proof: Proof, exported: ExportedModel, reason: str) -> tuple[Calibration | None, str]:
    why = f"the checkpoint's calibration cannot be made again: {reason}"
    if proof.limits.least_cosine is None or proof.least_cosine is None or exported.facts.precision != "float32":
        return None, f"{why}. {exported.facts.precision} moves cosines, so the exported model goes without one"
    note = f"carried over from the checkpoint; least cosine of the proof {proof.least_cosine:.8f}"
    carried = stored.model_copy(
        update={
            "weights_digest": exported.fingerprint.weights,
            "fingerprint": exported.fingerprint,
            "images_digest": None,
            "notes": [*stored.notes, note],
        }
    )
    return (
        _without_folders(carried),
        f"{why}. Cosines are the same up to rounding, so its threshold {stored.threshold.value:.4f} is kept",
    )


def _without_folders(calibration: Calibration) -> Calibration:
    """Return a calibration that names its table without folders, which are nobody's business where the model goes."""
    table = calibration.table
    return calibration.model_copy(update={"table": None if table is None else Path(table).name})


def _embed(exported: ExportedModel, images: CalibrationTable, progress: Progress) -> Tensor:
    """Return embeddings (N, D) of the images of a calibration."""
    frame = images.retrieval.frame
    dataset = table_images(images.table, frame, exported.preprocess)
    parts = []
    with progress("calibrating", len(frame)) as advance:
        for pixels, _ in batches(dataset, InOrder(len(frame), BATCH, rank=0, world=1), 0):
            parts.append(exported.embed_pixels(pixels))
            advance(len(pixels))
    return torch.cat(parts)
