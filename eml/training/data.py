"""Select training and validation images from a table with folds."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.boxes import check_boxes
from eml.dataset.columns import ALWAYS_TEST, FLAGS, has_query_gallery
from eml.dataset.merge import MergeSource, merge_sources
from eml.dataset.pipeline import resolve
from eml.dataset.problems import column_names
from eml.dataset.sidecar import sidecar_path
from eml.dataset.similar_labels import similar_labels_line
from eml.dataset.splits.task import USUAL, Task
from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set, label_codes, with_unknown
from eml.images.samplers import Classes
from eml.progress import Progress, Report
from eml.training.config import DataConfig
from eml.training.folds import add_usual_folds, has_folds, other_task_note


@dataclass(frozen=True)
class TrainingData:
    """Training images and held-out images.

    Attributes:
        frame: Rows of the training images.
        labels: (N,) of the training images, 0…C−1 in the order of `classes`.
        classes: Sorted class names.
        validation: Held-out images; None without validation.
    """

    frame: pd.DataFrame
    labels: NDArray[np.int64]
    classes: list[str]
    validation: RetrievalSet | None

    def sampler_classes(self, category_column: str | None, table_name: str) -> Classes:
        """Return the labels, and categories if there is a column for them, from which a sampler draws.

        Raises:
            DataError: The table has no such column.
        """
        if category_column is None:
            return Classes(self.labels)
        if category_column not in self.frame:
            raise DataError(
                f"{table_name}: has no column {category_column!r} by which the sampler groups classes; set "
                f"sampler.column to one of its columns: {column_names(self.frame)}",
                code="missing-column",
                parameter="sampler.column",
            )
        column = self.frame[category_column]
        codes, _ = pd.factorize(column.mask(column == ""), sort=True)
        return Classes(self.labels, codes.astype(np.int64))


def table_to_train_on(
    config: DataConfig,
    report: Report = lambda line: None,
    progress: Progress | None = None,
    *,
    task: Task = USUAL,
    accept_stale: bool = False,
) -> Table:
    """Return the table of a config; for a folder its newest one, for a list of tables their merge.

    Folds are added when the table has none.

    Args:
        config: Names the table and the fold.
        report: Receives lines that say which table of a folder is used, and what is added.
        progress: Shows the progress of a scan, where one is needed.
        task: What the model is for, which decides what folds are made of.
        accept_stale: Report a table that is out of date, and read it.

    Raises:
        DataError: The table is out of date or cannot be read, or has boxes that are not within their images.
    """
    if isinstance(config.table, Path):
        if not config.table.exists():
            text = f"{config.table}: no such file or folder. Where it was moved, set data.table to its new place"
            raise DataError(text, code="missing-file", parameter="data.table")
        if config.root is not None and not config.root.is_dir():
            text = f"{config.root}: no such folder. Where the images were moved, set data.root to their new place"
            raise DataError(text, code="missing-folder", parameter="data.root")
        table = resolve(
            config.table,
            "train",
            config.root,
            unknown_label=config.unknown_label,
            columns=config.columns,
            accept_stale=accept_stale,
            report=report,
            progress=progress,
        )
    else:
        sources = [
            MergeSource(source)
            if isinstance(source, Path)
            else MergeSource(source.table, source.root, source.name, source.columns)
            for source in config.table
        ]
        merged = merge_sources(
            sources,
            config.labels,
            step="train",
            unknown_label=config.unknown_label,
            accept_stale=accept_stale,
            report=report,
            progress=progress,
        )
        table = merged.table
        for note in merged.notes:
            report(f"warning: {note}")
    check_boxes(table, progress)
    is_reported = table.path is None or not sidecar_path(table.path).exists()  # as it was read or merged
    if not is_reported and (similar := similar_labels_line(table.frame["label"].unique())):
        report(f"warning: {similar}")
    if config.fold is None:
        return table
    if has_folds(table):
        if not accept_stale and (line := other_task_note(table, config.fold, task)):
            report(line)
        return table
    return add_usual_folds(table, task, report)


def training_data(table: Table, fold: int | None) -> TrainingData:
    """Split a table by its fold column; fold −1 is always trained on, fold −2 is never used.

    When the held-out fold was made by images, so that its classes are trained on, its images are the queries, and the
    training images of the same classes are the gallery. When it was made by class, its images are evaluated
    leave-one-out. Of a fold with both kinds of classes, all images are queries, and the gallery also has the held-out
    images of each class that is not trained on, so that it is measured too. Images of unknown identity are never
    trained on; those of the held-out fold are in the gallery.

    Args:
        table: With a column `fold`, unless `fold` is None.
        fold: The fold held out for validation; None: no validation.

    Raises:
        DataError: There is nothing to train on or to validate with.
    """
    frame, name = table.frame, table.name
    if fold is None:
        held_out = np.zeros(len(frame), bool)
    elif "fold" in frame:
        held_out = (frame["fold"] == fold).to_numpy()
        if not held_out.any():
            known = ", ".join(map(str, sorted(frame["fold"].unique())))
            raise DataError(
                f"{name}: no image is in fold {fold}; the folds are {known}",
                code="unknown-choice",
                parameter="data.fold",
            )
    else:
        raise DataError(
            f"{name}: has no fold column; run: eml kfold, or set data.fold: null to train without validation",
            code="missing-column",
            parameter="data.fold",
        )
    excluded = (frame["fold"] == ALWAYS_TEST).to_numpy() if "fold" in frame else np.zeros(len(frame), bool)
    train = frame[~held_out & ~excluded & ~table.is_unknown].reset_index(drop=True)
    classes, labels = np.unique(train["label"].to_numpy(object), return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"{name}: {len(classes)} class to train on; metric learning needs at least 2",
            code="too-few-classes",
            parameter="data.table",
        )
    if len(labels) == len(classes):
        raise DataError(
            f"{name}: every class has one image; nothing can be learnt about what the images of a class share",
            code="too-few-images",
            parameter="data.table",
        )
    validation = None
    if fold is not None:
        rows = replace(table, frame=frame[held_out].reset_index(drop=True))
        if problem := _not_measurable(train, rows.known.frame):
            raise DataError(
                f"{name}: fold {fold} {problem}. Hold out another fold, make others with eml kfold, which checks them, "
                "or set data.fold: null to train without validation",
                code="unusable-folds",
                parameter="data.fold",
            )
        validation = _validation(train, rows)
    return TrainingData(train, labels.astype(np.int64), [str(label) for label in classes], validation)


def _not_measurable(train: pd.DataFrame, held_out: pd.DataFrame) -> str | None:
    """Return why nothing can be measured on the held-out rows of known identity; None if something can."""
    known = held_out["label"][held_out["label"].isin(train["label"])]
    classes = (held_out["label"] if known.empty else known).nunique()
    if classes == 0:
        return "holds only images of unknown identity, so there is nothing to find"
    if classes == 1:
        return "holds one class to find images of, so every answer is right and nothing is measured"
    if known.empty and held_out["label"].is_unique:
        return "holds one image of each class, so there is nothing to find"
    return None


def _validation(train: pd.DataFrame, held_out: Table) -> RetrievalSet:
    known = held_out.known.frame
    if not known["label"].isin(train["label"]).any():
        return build_retrieval_set(held_out.frame, held_out.name, unknown_label=held_out.unknown_label)
    others = [train[train["label"].isin(known["label"])], held_out.frame[held_out.is_unknown]]
    both = pd.concat([known, *others], ignore_index=True)
    unseen = ~known["label"].isin(train["label"]) & known["label"].duplicated(keep=False)  # of one there is no other
    gallery = np.concatenate([np.flatnonzero(unseen), np.arange(len(known), len(both))])
    images = RetrievalSet(both, label_codes(both), np.arange(len(known)), gallery, "held-out images")
    if has_query_gallery(both):
        images = _flagged(images, held_out.name)
    return with_unknown(images, held_out.unknown_label, held_out.name)


def _flagged(images: RetrievalSet, table: str) -> RetrievalSet:
    """Return the set with those of its queries and of its gallery that the columns is_query and is_gallery say."""
    is_query, is_gallery = (images.frame[name].fillna(False).to_numpy(bool) for name in FLAGS)
    queries, gallery = images.queries[is_query[images.queries]], images.gallery[is_gallery[images.gallery]]
    if not len(queries) or not len(gallery):
        raise DataError(
            f"{table}: {len(queries)} held-out images are queries (is_query), and {len(gallery)} images are their "
            "gallery (is_gallery); both are needed",
            code="no-queries",
            parameter="data.fold",
        )
    return replace(images, queries=queries, gallery=gallery, protocol="held-out images, query/gallery")
