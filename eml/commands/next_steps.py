"""The command that follows another: with the options that make it succeed on the data at hand."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eml.errors import CheckpointError, DataError
from eml.files import from_here
from eml.storage.remote_path import as_place, is_remote

if TYPE_CHECKING:
    import pandas as pd

    from eml.dataset.duplicates.components import Indices
    from eml.dataset.splits.task import Task
    from eml.dataset.table import Table
    from eml.evaluation.retrieval_set import RetrievalSet
    from eml.models.trained_on import TrainedOn

CONFIG_NAME = "config.yaml"
REPORT_PAGE = "data_report.html"
"""The page of `eml report`, which lies beside the table."""


def split_command(place: Path, table: Table) -> str | None:
    """Return the `eml split` with sides to train on and to measure with; None if there is none."""
    from eml.dataset.splits.usable import choose_split, option_words, small_groups

    choice = choose_split(table, small_groups(table))
    return None if choice is None else shlex.join(["eml", "split", str(place), *option_words(choice.options)])


def kfold_command(
    place: Path, table: Table, groups: Indices, grouping: Sequence[str] = (), task: Task = "open"
) -> str | None:
    """Return the `eml kfold` that the rows and their groups (N,) allow; None if there is none.

    Args:
        place: The folder or table.
        table: The rows.
        groups: Their groups.
        grouping: The options that made the groups.
        task: What the model is for.
    """
    from eml.dataset.splits.usable import choose_folds, option_words

    choice = choose_folds(table, groups, task)
    if choice is None:
        return None
    return shlex.join(["eml", "kfold", str(place), *option_words(choice.options), *grouping])


def init_command(folder: Path, folds: Path) -> str | None:
    """Return `eml init`; with a config in the folder `eml train` on these folds; None where it has trained on them."""
    from eml.models.pointers import RUN_FILE

    config = folder / CONFIG_NAME
    if not config.exists():
        return shlex.join(["eml", "init", str(folder)])
    has_run = any(folder.glob(f"*/{RUN_FILE}"))
    names_folds = is_table_of(config, folds)
    if has_run and names_folds:
        return None
    table = [] if names_folds else ["--set", f"data.table={folds}"]
    output = ["--set", f"output={folder / free_name(folder)}"] if has_run else []
    return shlex.join(["eml", "train", str(config), *table, *output])


def text_training_commands(dataset: Path, vectors: Path) -> tuple[str, ...]:
    """Return the training that uses text vectors, after the command that makes its config where there is none."""
    from eml.models.pointers import RUN_FILE

    folder = dataset if dataset.is_dir() else dataset.parent
    config = folder / CONFIG_NAME
    settings = [f"class_texts.vectors={vectors}", "head.init=text", "text=anchor"]
    if any(folder.glob(f"*/{RUN_FILE}")):
        settings.append(f"output={folder / free_name(folder)}")
    words = [word for setting in settings for word in ("--set", setting)]
    first = () if config.is_file() else (shlex.join(["eml", "init", str(dataset)]),)
    return (*first, shlex.join(["eml", "train", str(config), *words]))


def is_table_of(config: Path, table: Path) -> bool:
    """Return whether a config names the table, among others perhaps, or cannot be read, which `eml train` reports."""
    from eml.config.loading import read_document
    from eml.errors import ConfigError

    try:
        document = read_document(config)
        named = document.value["data"]["table"]
        entries = named if isinstance(named, list) else [named]
        names = [entry["table"] if isinstance(entry, dict) else entry for entry in entries]
        paths = [os.path.realpath(config.parent / name) for name in names if isinstance(name, str)]
    except (ConfigError, OSError, ValueError, LookupError, TypeError):
        return True
    return bool(document.problems) or os.path.realpath(table) in paths


def free_name(folder: Path) -> str:
    """Return `run`, or the first of run-2, run-3, … that is not there, since a class may be called run."""
    names = ("run", *(f"run-{number}" for number in range(2, 10_000)))
    return next(name for name in names if not (folder / name).exists())


@dataclass(frozen=True)
class NextEvaluation:
    """The command that evaluates a run on the test beside its table.

    Attributes:
        command: Ready to be pasted.
        unseen_classes: Classes of the test that the run was not trained on.
    """

    command: str
    unseen_classes: int


def evaluate_command(run: Path, table: Table, fold: int | None) -> NextEvaluation | None:
    """Return the `eml evaluate` of a run on the test tables beside its own; None if there are none to measure with.

    Args:
        run: The run folder.
        table: That was trained on.
        fold: That was held out.
    """
    from dataclasses import replace

    from eml.training.data import training_data
    from eml.training.question import question_of

    trained = replace(table, frame=training_data(table, fold).frame)
    earlier = _record(run)
    words: list[str] = []
    unseen = 0
    for test, images, options in _test_tables(table):
        try:
            question = question_of(images, test, trained, earlier)
        except DataError:  # an image that has no content hash in the table cannot be read: by the labels alone
            question = question_of(images, test, trained, replace(earlier, images=None) if earlier else None)
        if question.queries:
            words += ["--data", str(from_here(test.source)), *options]
            unseen += question.classes - question.classes_trained_on
    return NextEvaluation(shlex.join(["eml", "evaluate", str(from_here(run)), *words]), unseen) if words else None


def _record(run: Path) -> TrainedOn | None:
    """Return what a run, and those that it started from, were trained on; None without a checkpoint."""
    from eml.models.checkpoint import read_trained_on

    try:
        return read_trained_on(run)
    except CheckpointError:
        return None


def _test_tables(table: Table) -> Iterator[tuple[Table, RetrievalSet, list[str]]]:
    """Yield each test table beside the table or its parts that can be read, its queries, and the options it needs."""
    from eml.dataset.pipeline import table_to_evaluate, test_table
    from eml.dataset.unknown_label import with_label_if_present
    from eml.evaluation.retrieval_set import build_retrieval_set

    folders = dict.fromkeys(path.parent for path in table.parts or ([table.path] if table.path else []))
    roots = [None] if table.parts else [None, table.root]  # one `--root` is that of all tables
    for folder in folders:
        for root in roots:
            try:
                path = test_table(folder, lambda line: None)
                if path is None:
                    break
                test = with_label_if_present(table_to_evaluate(path, root), table.unknown_label)
                images = build_retrieval_set(test.frame, test.name, unknown_label=test.unknown_label)
            except DataError:  # out of date, or its images are elsewhere: no fault of the run's
                continue
            yield test, images, ["--root", str(root)] if root else []
            break


def rows_of(table: Table, frame: pd.DataFrame, groups: Indices) -> tuple[Table, Indices]:
    """Return a part of a table's rows as a table, and their groups."""
    from dataclasses import replace

    present = table.frame["file_name"].isin(frame["file_name"]).to_numpy()
    return replace(table, frame=table.frame[present].reset_index(drop=True)), groups[present]


def index_command(checkpoint: str, table: Path, options: Sequence[str] = ()) -> str:
    """Return the `eml index build` of a checkpoint on a table's images, beside its run or file.

    Args:
        checkpoint: A run, a checkpoint or an exported file.
        table: The table or folder.
        options: Those that the table and the model need.
    """
    place = as_place(checkpoint)
    if is_remote(place):  # where no index is made
        place = Path(place.name)
    stem = place.stem if place.is_file() else place.name
    names = (f"{stem}{number}.index" for number in ("", *(f"-{count}" for count in range(2, 10_000))))
    index = next(place.with_name(name) for name in names if not place.with_name(name).exists())
    return shlex.join(["eml", "index", "build", str(index), checkpoint, str(table), *options])
