"""Calibration of answers by an index: with its own images, and those of the checkpoint's calibration set."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from eml.models.calibration import Calibration
from eml.models.calibration_images import read_calibration_images
from eml.retrieval.answer_calibration import AnswerCalibration
from eml.retrieval.answers.fitting import fit_answers
from eml.retrieval.answers.gallery_samples import LabelledImages, sample_gallery
from eml.retrieval.answers.samples import SCORINGS
from eml.retrieval.class_answers import Tiles

CHANGE = 0.1
"""The change of a gallery, in classes or images, from which it is calibrated again."""


def calibrate_gallery(
    folder: Path | None,
    calibration: Calibration,
    tiles: Tiles,
    gallery_labels: Sequence[str],
    trained: Iterable[str],
) -> AnswerCalibration | None:
    """Fit the calibration of answers to a gallery, by the goals of the checkpoint's calibration.

    It takes a second or two: of a large gallery a part of the images is asked.

    Args:
        folder: The checkpoint folder, or one with a copy of its calibration files; None: an exported file has none.
        calibration: The checkpoint's.
        tiles: The gallery: a function that begins to yield embeddings and classes anew, −1 for an image without one.
        gallery_labels: The name of each class of the gallery.
        trained: The names of the classes that the network was trained on.

    Returns:
        None if the checkpoint's calibration says nothing of answers, as one of eml 0.1.0.

    Raises:
        CheckpointError: The embeddings of the calibration set are missing or damaged.
        DataError: There are too few classes that the network was not trained on.
    """
    answers = calibration.answers
    if answers is None:
        return None
    if answers.gallery == "folds":  # the folds' networks are other ones: their embeddings are of other spaces
        return answers
    images = None if folder is None else read_calibration_images(folder, calibration)
    known = None if images is None else LabelledImages(images.embeddings, images.labels)
    samples = sample_gallery(known, tiles, gallery_labels, trained, SCORINGS, seed=calibration.seed)
    return fit_answers(
        samples, far=answers.far, unknown_share=answers.unknown_share, gallery="index", seed=calibration.seed
    )


def is_recalibration_due(answers: AnswerCalibration, classes: int, images: int) -> bool:
    """Return whether a gallery has changed so much since it was calibrated that it should be calibrated again.

    Args:
        answers: The gallery's calibration.
        classes: The classes that it has now.
        images: The images that it has now.
    """
    now = {"gallery_classes": classes, "gallery_images": images}
    return answers.gallery == "set" or any(
        abs(count - answers.counts[name]) > CHANGE * max(1, answers.counts[name]) for name, count in now.items()
    )
