"""From a table with folds to what is trained on and what is validated on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.folds import RANDOM_SEED, K, add_folds
from eml.dataset.scan import Progress
from eml.dataset.table import BOX, Table, resolve
from eml.engine.config import DataConfig
from eml.errors import DataError
from eml.images.augment import Augmenter
from eml.images.loading import Pictures
from eml.images.preprocess import Preprocess

ALWAYS_TEST = -2  # in a fold column: never looked at while training

Report = Callable[[str], None]


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and gallery as rows of one frame.

    frame: the pictures that must be embedded, each once. queries, gallery: positions in it; where the two overlap, a
    query is left out of its own gallery. labels: (len(frame),) integers.
    """

    frame: pd.DataFrame
    labels: NDArray[np.int64]
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    protocol: str


@dataclass(frozen=True)
class TrainingSets:
    """Training pictures with labels 0…C−1 over the sorted class names, and the held-out ones (None: no validation)."""

    frame: pd.DataFrame
    labels: NDArray[np.int64]
    classes: list[str]
    validation: RetrievalSet | None


def table_to_train_on(
    config: DataConfig, report: Report = lambda line: None, progress: Progress | None = None
) -> Table:
    """The table of a config: itself, or of a folder the one furthest along the way; with folds made if it has none.

    report: told which table of a folder was taken, and what was made. progress: of a scan, where one is needed.
    """
    table = resolve(config.table, "train", config.root, report=report, progress=progress)
    if config.fold is None or "fold" in table.frame:
        return table
    report(f"{table.name} has no fold column: making {K} folds by images, seed {RANDOM_SEED}, as eml kfold does")
    return replace(table, frame=add_folds(table))


def training_sets(table: Table, fold: int | None) -> TrainingSets:
    """Split a table by its fold column; −1 is always trained on, −2 never looked at.

    Fold by images (its classes are trained on): its pictures are the queries, the training pictures of the same
    classes the gallery. Fold by class: leave-one-out among its pictures.
    Raises DataError when there is nothing to train on or to validate with.
    """
    frame, where = table.frame, str(table.path or table.root)
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


def retrieval_set(frame: pd.DataFrame, where: str) -> RetrievalSet:
    """Query and gallery by the columns is_query and is_gallery if the table has them, leave-one-out otherwise."""
    frame = frame.reset_index(drop=True)
    if ("is_query" in frame) != ("is_gallery" in frame):
        raise DataError(f"{where}: has one of the columns is_query and is_gallery without the other; both are needed")
    if "is_query" in frame:
        queries, gallery = (np.flatnonzero(frame[name].fillna(False)) for name in ("is_query", "is_gallery"))
        if not len(queries) or not len(gallery):
            raise DataError(f"{where}: {len(queries)} rows are queries and {len(gallery)} gallery; both are needed")
        return RetrievalSet(frame, _codes(frame), queries, gallery, "query/gallery")
    everything = np.arange(len(frame))
    return RetrievalSet(frame, _codes(frame), everything, everything, "leave-one-out")


def pictures(
    table: Table, frame: pd.DataFrame, preprocess: Preprocess, *, augmenter: Augmenter | None = None, seed: int = 0
) -> Pictures:
    """The pictures of some of the table's rows, in the frame's order."""
    boxes = frame[list(BOX)].fillna(-1).to_numpy(np.int64) if set(BOX) <= set(frame.columns) else None
    names = frame["file_name"].tolist()
    return Pictures(table.root, names, preprocess, boxes=boxes, augmenter=augmenter, seed=seed)


def _codes(frame: pd.DataFrame) -> NDArray[np.int64]:
    return np.unique(frame["label"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
