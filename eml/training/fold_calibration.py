"""Calibration of a checkpoint by the folds of a cross-validation, where all classes are trained on.

The classes of a fold were not seen by the network that was trained without it. So each image of the fold is answered by
that network alone: its own classes by the out-of-fold embeddings, and all other classes, with which a gallery in use
has as many, by images of them that the same network embeds. Embeddings of two networks are never compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.calibration import CalibrationOptions, CalibrationResult, checkpoint_to_calibrate, write_calibration
from eml.evaluation.trained_overlap import UNKNOWN_OVERLAP
from eml.inference.embed import Batching, embed_table
from eml.inference.load import load
from eml.models.calibration import calibration_path
from eml.progress import Progress, no_progress
from eml.retrieval.answer_calibration import FAR, AnswerCalibration
from eml.retrieval.answers.fitting import fit_answers
from eml.retrieval.answers.gallery_samples import LabelledImages, few_of_each, join_samples, sample_gallery
from eml.retrieval.answers.samples import SCORINGS, AnswerSample
from eml.retrieval.arrays import Integers
from eml.retrieval.device import computing_on
from eml.retrieval.label_errors import LabelledEmbeddings
from eml.retrieval.verification import OpenSet
from eml.retrieval.verification.pooled import calibrate_pooled
from eml.training.out_of_fold import read_embedded

GALLERY_IMAGES = 20
"""Images of each class of the other folds that a fold's network embeds."""
FOLDS_NOTE = (
    "the threshold is that of the folds' networks, carried over as it is: they have not seen the classes that they "
    "answer by, the checkpoint has, so it will rather accept more queries of known classes"
)


@dataclass(frozen=True)
class Fold:
    """The images of a fold, embedded by the network that was trained without it.

    Attributes:
        number: The fold's.
        embeddings: (N, D).
        names: (N,) file names.
        labels: (N,) classes.
    """

    number: int
    embeddings: Tensor
    names: list[str]
    labels: list[str]

    def open_set(self) -> OpenSet:
        """Return the images as an open set, each a query to all others."""
        codes = np.unique(self.labels, return_inverse=True)[1].astype(np.int64)
        return OpenSet.leave_one_out(self.embeddings, codes)


def calibrate_by_folds(
    run: Path, options: CalibrationOptions, *, progress: Progress = no_progress
) -> CalibrationResult:
    """Choose threshold and maps by the folds of a cross-validation and write them into the checkpoint folder.

    Args:
        run: The folder of the cross-validation, which `eml train --fold all` wrote, with folds by class.
        options: The checkpoint and the goal, far or precision.
        progress: Reports the images that are embedded.

    Raises:
        ConfigError: There is not one goal, or the model has no checkpoint folder.
        DataError: The run has no out-of-fold embeddings, its folds have classes in common, or it cannot support the
            goal. Nothing is written then.
    """
    goal = options.goal
    folder = checkpoint_to_calibrate(options.checkpoint, overwrite=options.overwrite)
    replaced = calibration_path(folder).exists()
    path, root, images = read_embedded(run, options.root, unknown_label=options.unknown_label)
    folds = split_folds(path, images)
    model = load(folder, device=options.device, precision=options.embed_precision, tta=options.tta)
    with computing_on(model.device):
        calibrated = calibrate_pooled(
            [fold.open_set() for fold in folds], goal, strict=options.strict, seed=options.random_seed
        )
    far = goal.value if goal.kind == "far" else FAR
    answers = _fit(run, root, folds, options, far, progress)
    calibration = write_calibration(
        calibrated, options, model, Table(pd.DataFrame(), root, path), "out of fold, within each fold", answers
    )
    return CalibrationResult(options.checkpoint, calibration_path(folder), replaced, calibration, UNKNOWN_OVERLAP)


def split_folds(path: Path, images: LabelledEmbeddings) -> list[Fold]:
    """Return the folds of out-of-fold embeddings.

    Raises:
        DataError: There are no folds, or classes have images in several folds.
    """
    if images.spaces is None:
        text = f"{path}: has no column fold, so it does not say which network computed each embedding"
        raise DataError(text, code="missing-column", parameter="from_folds")
    labels = np.asarray(images.labels, str)
    folds = pd.Series(images.spaces).groupby(labels).nunique()
    if (torn := int((folds > 1).sum())) > 0:
        raise DataError(
            f"{path}: {torn:,} of {len(folds):,} classes have images in several folds, so every network has seen them. "
            'Calibrating by folds needs whole classes in each: run eml kfold with `by="class"`, then eml train with '
            '`fold="all"`',
            code="folds-share-classes",
            parameter="from_folds",
        )
    parts = []
    for number in np.unique(images.spaces).tolist():
        rows = np.flatnonzero(images.spaces == number)
        names = np.asarray(images.file_names, str)[rows].tolist()
        parts.append(Fold(number, images.embeddings[torch.from_numpy(rows)], names, labels[rows].tolist()))
    return parts


def _fit(
    run: Path, root: Path, folds: Sequence[Fold], options: CalibrationOptions, far: float, progress: Progress
) -> AnswerCalibration:
    """Return the calibration of answers, with the facts of all folds pooled and each fold held out as a whole."""
    samples = [
        _sample(run, root, fold, [rest for rest in folds if rest is not fold], options, progress) for fold in folds
    ]
    joined = [join_samples([of_fold[place] for of_fold in samples]) for place in range(len(SCORINGS))]
    answers = fit_answers(
        joined,
        far=far,
        unknown_share=options.unknown_share,
        gallery="folds",
        groups=_fold_of_classes([of_fold[0] for of_fold in samples], folds),
        seed=options.random_seed,
    )
    return answers.model_copy(update={"notes": [*answers.notes, FOLDS_NOTE]})


def _sample(
    run: Path, root: Path, fold: Fold, others: Sequence[Fold], options: CalibrationOptions, progress: Progress
) -> list[AnswerSample]:
    """Answer the images of a fold by a gallery of all other classes, all embedded by the fold's network."""
    names = np.array([name for part in others for name in part.names], str)
    labels = np.array([label for part in others for label in part.labels], str)
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    rows = few_of_each(codes, np.random.default_rng(options.random_seed), GALLERY_IMAGES)
    frame = pd.DataFrame({"file_name": names[rows], "label": labels[rows]})
    network = load(run / f"fold-{fold.number}", device=options.device)
    batching = Batching(options.batch_size, options.workers)
    with progress(f"embedding, fold {fold.number}", len(frame)) as advance:
        gallery = embed_table(network, Table(frame, root), frame, batching=batching, progress=advance)
    tiles = [(gallery, codes[rows])]
    return sample_gallery(
        LabelledImages(fold.embeddings, fold.labels),
        tiles,
        np.unique(labels).tolist(),
        (),
        SCORINGS,
        seed=options.random_seed,
        by_gallery=False,
    )


def _fold_of_classes(samples: Sequence[AnswerSample], folds: Sequence[Fold]) -> Integers:
    """Return the fold of each class of the joined samples."""
    sizes = [int(max([-1, *sample.known_classes.tolist(), *sample.unknown_classes.tolist()])) + 1 for sample in samples]
    return np.repeat([fold.number for fold in folds], sizes).astype(np.int64)
