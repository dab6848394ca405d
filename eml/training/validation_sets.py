"""The sets that a run is validated on: the held-out images and other tables, by the protocol of the config."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.pipeline import read_current_table
from eml.dataset.table import Table
from eml.dataset.unknown_label import with_label_if_present
from eml.errors import DataError, Problem
from eml.evaluation.positives import refuse_without_positives
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set, label_codes, with_columns
from eml.training.config import ValidationConfig
from eml.training.data import TrainingData


def validation_sets(
    config: ValidationConfig,
    table: Table,
    data: TrainingData,
    *,
    columns: ColumnMap = AS_NAMED,
    seed: int = 0,
    accept_stale: bool = False,
) -> Iterator[tuple[str, tuple[Table, RetrievalSet]]]:
    """Yield name → table and retrieval set: the held-out images under the name "", other tables under their own.

    Args:
        config: Of the validation.
        table: Of the run.
        data: What is trained on, and what is held out.
        columns: How tables of the user's own are read, such as the training table.
        seed: Draws the distractors, which come after the held-out images.
        accept_stale: Report a table that is out of date, and read it.

    Raises:
        DataError: A table cannot be read, lacks a column that the protocol names, has no query with a positive or,
            unless `accept_stale`, is out of date.
    """
    protocol = {"leave_out_same": config.leave_out_same, "within": config.within}
    with keys_named(protocol):
        if data.validation is not None:
            images = data.validation
            if config.distractors:
                images = with_distractors(images, data.frame, config.distractors, seed, table.name)
            images = with_columns(images, table.name, **protocol)
            refuse_without_positives(images, table.name, **protocol)
            yield "", (table, images)
        for name, path in config.tables.items():
            own = read_current_table(path, columns=columns.of_several(path), accept_stale=accept_stale)
            own = with_label_if_present(own, table.unknown_label)
            images = build_retrieval_set(own.frame, own.name, unknown_label=own.unknown_label, **protocol)
            refuse_without_positives(images, own.name, **protocol)
            yield name, (own, images)


@contextmanager
def keys_named(parameters: Collection[str], section: str = "validation") -> Iterator[None]:
    """Name a config's keys in the errors of functions that have parameters of the same names."""
    try:
        yield
    except DataError as error:
        problems = []
        for problem in error.problems:
            text = str(problem)
            for name in parameters:
                text = text.replace(f"`{name}`", f"{section}.{name}")
            is_own = problem.parameter is not None and problem.parameter in parameters
            key = f"{section}.{problem.parameter}" if is_own else problem.parameter
            problems.append(Problem(text, problem.code, key))
        raise DataError(problems) from error


def with_distractors(images: RetrievalSet, train: pd.DataFrame, count: int, seed: int, table: str) -> RetrievalSet:
    """Return a set with so many training images in its gallery, after its own, of as many classes as possible.

    Args:
        images: Whole classes that are held out, without groups and categories.
        train: The rows to draw from.
        count: How many are drawn; all of them where there are no more.
        seed: Draws them.
        table: Its name, for messages.

    Raises:
        DataError: The set's classes are trained on, so that its gallery consists of training images already.
    """
    if images.frame["label"].isin(train["label"]).any():
        raise DataError(
            f"{table}: validation.distractors is for whole classes that are held out; here the gallery holds the "
            "training images of the same classes. Set it to 0, or hold out whole classes (task: open, eml kfold)",
            code="conflicting-settings",
            parameter="validation.distractors",
        )
    drawn = train.iloc[np.random.default_rng(seed).permutation(len(train))]
    turn = drawn.groupby("label").cumcount().to_numpy()
    drawn = drawn.iloc[np.argsort(turn, kind="stable")[:count]]
    both = pd.concat([images.frame, drawn], ignore_index=True)
    own = len(images.frame)
    unknown = None if images.unknown is None else np.append(images.unknown, np.zeros(len(drawn), bool))
    return replace(
        images,
        frame=both,
        labels=label_codes(both),
        gallery=np.append(images.gallery, np.arange(own, len(both))),
        protocol=f"{images.protocol}, with {len(drawn):,} training images in the gallery",
        unknown=unknown,
        rows=None,
    )
