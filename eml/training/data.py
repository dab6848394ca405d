"""From a table with folds to what is trained on and what is validated on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.boxes import check_boxes
from eml.dataset.columns import ALWAYS_TEST
from eml.dataset.merge import MergeSource, merge_sources
from eml.dataset.pipeline import resolve
from eml.dataset.splits.folds import RANDOM_SEED, K, add_folds
from eml.dataset.splits.groups import group_rows
from eml.dataset.table import Table, read_table
from eml.errors import DataError
from eml.evaluation.retrieval_set import RetrievalSet, _codes, retrieval_set
from eml.images.samplers import Classes
from eml.progress import Progress, Report
from eml.training.config import DataConfig, ValidationConfig


@dataclass(frozen=True)
class TrainingSets:
    """Training images with labels 0…C−1 over the sorted class names, and the held-out ones (None: no validation)."""

    frame: pd.DataFrame
    labels: NDArray[np.int64]
    classes: list[str]
    validation: RetrievalSet | None

    def sampled(self, category_column: str | None, where: str) -> Classes:
        """What a sampler goes by. Raises DataError, naming the table `where`, without the column of categories."""
        if category_column is None:
            return Classes(self.labels)
        if category_column not in self.frame:
            raise DataError(
                f"{where}: has no column {category_column!r}, by which the sampler puts classes together; set "
                f"sampler.column to one that it has: {', '.join(map(str, self.frame))}"
            )
        column = self.frame[category_column]
        codes, _ = pd.factorize(column.mask(column == ""), sort=True)
        return Classes(self.labels, codes.astype(np.int64))


def table_to_train_on(
    config: DataConfig, report: Report = lambda line: None, progress: Progress | None = None
) -> Table:
    """The table of a config: itself, or of a folder the one furthest along the way; several are merged.

    Folds are made if it has none. report: told which table of a folder was taken, and what was made. progress: of a
    scan, where one is needed. Raises DataError also for boxes that are not within their images.
    """
    if isinstance(config.table, Path):
        table = resolve(config.table, "train", config.root, report=report, progress=progress)
    else:
        sources = [
            MergeSource(one) if isinstance(one, Path) else MergeSource(one.table, one.root, one.name)
            for one in config.table
        ]
        merged = merge_sources(sources, config.labels, step="train", report=report, progress=progress)
        table = merged.table
        for note in merged.notes:
            report(f"warning: {note}")
    check_boxes(table, progress)
    return table if config.fold is None else _with_folds(table, report)


def _with_folds(table: Table, report: Report) -> Table:
    """The table, with folds made of the images that are not set aside for the test, where it has none."""
    frame = table.frame
    test = frame["fold"] == ALWAYS_TEST if "fold" in frame else pd.Series(False, index=frame.index)
    if "fold" in frame and ((frame["fold"] >= 0).any() or not test.any() or test.all()):
        return table
    why = "tells only the test (fold -2) apart" if test.any() else "has no fold column"
    groups = group_rows(table)
    made = add_folds(table, groups=groups.ids)
    for line in groups.warnings:
        report(f"warning: {line}")
    if taken := int((made["fold"] == ALWAYS_TEST).sum() - test.sum()):
        report(f"warning: {taken:,} images look like some of the test (fold -2) and are not trained on either")
    report(f"{table.name} {why}: making {K} folds by images, seed {RANDOM_SEED}, as eml kfold does")
    return replace(table, frame=made)


def training_sets(table: Table, fold: int | None) -> TrainingSets:
    """Split a table by its fold column; −1 is always trained on, −2 never looked at.

    Fold by images (its classes are trained on): its images are the queries, the training images of the same
    classes the gallery. Fold by class: leave-one-out among its images.
    Raises DataError when there is nothing to train on or to validate with.
    """
    frame, where = table.frame, table.name
    if fold is None:
        held_out = np.zeros(len(frame), bool)
    elif "fold" in frame:
        held_out = (frame["fold"] == fold).to_numpy()
        if not held_out.any():
            known = ", ".join(map(str, sorted(frame["fold"].unique())))
            raise DataError(f"{where}: no image is in fold {fold}; the folds are {known}")
    else:
        raise DataError(
            f"{where}: has no fold column; run: eml kfold, or set data.fold: null to train without validation"
        )
    never = (frame["fold"] == ALWAYS_TEST).to_numpy() if "fold" in frame else np.zeros(len(frame), bool)
    train = frame[~held_out & ~never].reset_index(drop=True)
    classes, labels = np.unique(train["label"].to_numpy(str), return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"{where}: {len(classes)} class to train on; metric learning needs at least 2")
    if len(labels) == len(classes):
        raise DataError(f"{where}: every class has one image; nothing can be learnt about what images of one share")
    validation = _validation(train, frame[held_out].reset_index(drop=True), where) if fold is not None else None
    return TrainingSets(train, labels.astype(np.int64), [str(name) for name in classes], validation)


def _validation(train: pd.DataFrame, held_out: pd.DataFrame, where: str) -> RetrievalSet:
    known = held_out["label"].isin(train["label"])
    if not known.any():
        return retrieval_set(held_out, where)
    gallery = train[train["label"].isin(held_out["label"])]
    both = pd.concat([held_out, gallery], ignore_index=True)
    queries = np.arange(len(held_out))
    return RetrievalSet(both, _codes(both), queries, np.arange(len(held_out), len(both)), "held-out images")


def validation_sets(
    config: ValidationConfig, table: Table, sets: TrainingSets
) -> Iterator[tuple[str, tuple[Table, RetrievalSet]]]:
    """The held-out images under the name "", if there are, and those of the other tables under theirs."""
    if sets.validation is not None:
        yield "", (table, sets.validation)
    for name, path in config.tables.items():
        other = read_table(path, check_files=True)
        yield name, (other, retrieval_set(other.frame, other.name))
