"""From a table with folds to what is trained on and what is validated on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.boxes import check_boxes
from eml.dataset.columns import ALWAYS_TEST, BOX, asked_rows, flags_speak
from eml.dataset.folds import RANDOM_SEED, K, add_folds
from eml.dataset.groups import group_rows
from eml.dataset.merge import Source, merge_sources
from eml.dataset.scan import Progress
from eml.dataset.table import Table, read_table, resolve
from eml.engine.config import DataConfig, ValidationConfig
from eml.errors import DataError
from eml.images import files as images
from eml.images.augment import Augmenter
from eml.images.loading import Pictures
from eml.images.preprocess import Preprocess
from eml.images.samplers import Classes

Report = Callable[[str], None]


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and gallery as rows of one frame.

    frame: the pictures that must be embedded, each once. queries, gallery: positions in it; where the two overlap, a
    query is left out of its own gallery. labels: (len(frame),) integers. groups: (len(frame),) integers, −1 for none: a
    gallery picture of the query's class and group does not count. within: (len(frame),) integers: a query is compared
    with the gallery pictures of its own value alone. rows: which rows of the table it was made from these are, None for
    all of them.
    """

    frame: pd.DataFrame
    labels: NDArray[np.int64]
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    protocol: str
    groups: NDArray[np.int64] | None = None
    within: NDArray[np.int64] | None = None
    rows: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class TrainingSets:
    """Training pictures with labels 0…C−1 over the sorted class names, and the held-out ones (None: no validation)."""

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
    scan, where one is needed. Raises DataError also for boxes that are not within their pictures.
    """
    if isinstance(config.table, Path):
        table = resolve(config.table, "train", config.root, report=report, progress=progress)
    else:
        sources = [
            Source(one) if isinstance(one, Path) else Source(one.table, one.root, one.name) for one in config.table
        ]
        merged = merge_sources(sources, config.labels, step="train", report=report, progress=progress)
        table = merged.table
        for note in merged.notes:
            report(f"warning: {note}")
    check_boxes(table, progress)
    return table if config.fold is None else _with_folds(table, report)


def _with_folds(table: Table, report: Report) -> Table:
    """The table, with folds made of the pictures that are not set aside for the test, where it has none."""
    frame = table.frame
    test = frame["fold"] == ALWAYS_TEST if "fold" in frame else pd.Series(False, index=frame.index)
    if "fold" in frame and ((frame["fold"] >= 0).any() or not test.any() or test.all()):
        return table
    why = "tells only the test (fold -2) apart" if test.any() else "has no fold column"
    groups = group_rows(table)
    made = add_folds(table, groups=groups.of)
    for line in groups.warnings:
        report(f"warning: {line}")
    if taken := int((made["fold"] == ALWAYS_TEST).sum() - test.sum()):
        report(f"warning: {taken:,} pictures look like some of the test (fold -2) and are not trained on either")
    report(f"{table.name} {why}: making {K} folds by images, seed {RANDOM_SEED}, as eml kfold does")
    return replace(table, frame=made)


def training_sets(table: Table, fold: int | None) -> TrainingSets:
    """Split a table by its fold column; −1 is always trained on, −2 never looked at.

    Fold by images (its classes are trained on): its pictures are the queries, the training pictures of the same
    classes the gallery. Fold by class: leave-one-out among its pictures.
    Raises DataError when there is nothing to train on or to validate with.
    """
    frame, where = table.frame, table.name
    if fold is None:
        held_out = np.zeros(len(frame), bool)
    elif "fold" in frame:
        held_out = (frame["fold"] == fold).to_numpy()
        if not held_out.any():
            known = ", ".join(map(str, sorted(frame["fold"].unique())))
            raise DataError(f"{where}: no picture is in fold {fold}; the folds are {known}")
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
        raise DataError(f"{where}: every class has one picture; nothing can be learnt about what pictures of one share")
    validation = _validation(train, frame[held_out].reset_index(drop=True), where) if fold is not None else None
    return TrainingSets(train, labels.astype(np.int64), [str(name) for name in classes], validation)


def _validation(train: pd.DataFrame, held_out: pd.DataFrame, where: str) -> RetrievalSet:
    known = held_out["label"].isin(train["label"])
    if not known.any():
        return retrieval_set(held_out, where)
    gallery = train[train["label"].isin(held_out["label"])]
    both = pd.concat([held_out, gallery], ignore_index=True)
    queries = np.arange(len(held_out))
    return RetrievalSet(both, _codes(both), queries, np.arange(len(held_out), len(both)), "held-out pictures")


def retrieval_set(
    frame: pd.DataFrame, where: str, *, leave_out_same: str | None = None, within: str | None = None
) -> RetrievalSet:
    """Query and gallery by the columns is_query and is_gallery where they say so, leave-one-out otherwise.

    Rows that are neither are left out, as the training pictures of a table that holds both. leave_out_same: a column,
    such as the camera: gallery pictures of the query's class and value do not count. within: a column, such as the
    category: queries are compared with the gallery pictures of their own value alone. Raises DataError without these
    columns, and for pictures of one class alone.
    """
    wanted = _queries_and_gallery(frame, where)
    if len(wanted.frame) and (labels := wanted.frame["label"].unique()).size == 1:
        raise DataError(
            f"{where}: all pictures are of one class, {labels[0]!r}, so that every answer is right and nothing is "
            "measured; give pictures of two classes or more"
        )
    protocol, codes = wanted.protocol, {}
    for column, text in ((leave_out_same, "without the same"), (within, "within each")):
        if column is not None:
            protocol += f", {text} {column}"
            codes[text] = _column_codes(wanted.frame, column, where)
    return replace(wanted, protocol=protocol, groups=codes.get("without the same"), within=codes.get("within each"))


def _column_codes(frame: pd.DataFrame, column: str, where: str) -> NDArray[np.int64]:
    """(N,) integers in the order of the values, −1 for an empty cell."""
    if column not in frame:
        raise DataError(f"{where}: has no column {column!r}; it has {', '.join(map(str, frame))}")
    values = frame[column]
    return pd.factorize(values.mask(values == ""), sort=True)[0].astype(np.int64)


def _queries_and_gallery(frame: pd.DataFrame, where: str) -> RetrievalSet:
    frame = frame.reset_index(drop=True)
    if ("is_query" in frame) != ("is_gallery" in frame):
        raise DataError(f"{where}: has one of the columns is_query and is_gallery without the other; both are needed")
    if flags_speak(frame):
        used = asked_rows(frame)
        frame = frame[used].reset_index(drop=True)
        queries, gallery = (np.flatnonzero(frame[name].fillna(False)) for name in ("is_query", "is_gallery"))
        if not len(queries) or not len(gallery):
            raise DataError(f"{where}: {len(queries)} rows are queries and {len(gallery)} gallery; both are needed")
        return RetrievalSet(frame, _codes(frame), queries, gallery, "query/gallery", rows=np.flatnonzero(used))
    everything = np.arange(len(frame))
    return RetrievalSet(frame, _codes(frame), everything, everything, "leave-one-out")


def pictures(
    table: Table,
    frame: pd.DataFrame,
    preprocess: Preprocess,
    *,
    source: images.Source | None = None,
    augmenter: Augmenter | None = None,
    seed: int = 0,
) -> Pictures:
    """The pictures of some of the table's rows, in the frame's order. source: where from; None: their files."""
    source = files(table, frame) if source is None else source
    return Pictures(source, preprocess, augmenter=augmenter, seed=seed)


def files(table: Table, frame: pd.DataFrame) -> images.Files:
    """The files, and boxes, of some of the table's rows."""
    boxes = frame[list(BOX)].fillna(-1).to_numpy(np.int64) if set(BOX) <= set(frame.columns) else None
    return images.Files(table.root, frame["file_name"].tolist(), boxes)


def validation_sets(
    config: ValidationConfig, table: Table, sets: TrainingSets
) -> Iterator[tuple[str, tuple[Table, RetrievalSet]]]:
    """The held-out pictures under the name "", if there are, and those of the other tables under theirs."""
    if sets.validation is not None:
        yield "", (table, sets.validation)
    for name, path in config.tables.items():
        other = read_table(path, check_files=True)
        yield name, (other, retrieval_set(other.frame, other.name))


def _codes(frame: pd.DataFrame) -> NDArray[np.int64]:
    return np.unique(frame["label"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
