"""The command that follows another: with the options that make it succeed on the data at hand."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eml.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from eml.dataset.duplicates.components import Indices
    from eml.dataset.table import Table
    from eml.evaluation.retrieval_set import RetrievalSet

CONFIG_NAME = "config.yaml"


def split_command(place: Path, table: Table) -> str | None:
    """Return the `eml split` that leaves classes on both sides, two of them to train on; None if there is none."""
    from eml.dataset.splits.split import split_by_alternate, split_by_counts, split_by_ratio

    strategies: dict[str, Callable[[Table], Any]] = {
        "counts": split_by_counts,
        "ratio": split_by_ratio,
        "alternate": split_by_alternate,
    }
    for name, split in strategies.items():
        try:
            sides = split(table)
        except DataError:
            continue
        if sides.train["label"].nunique() > 1:
            return shlex.join(["eml", "split", str(place), *(["--by", name] if name != "counts" else [])])
    return None


def kfold_command(place: Path, table: Table, groups: Indices) -> str | None:
    """Return the `eml kfold` that the rows and their groups (N,) allow; None if there is none."""
    from eml.dataset.splits.folds import K, add_folds

    largest = int(table.frame["label"].value_counts().max())
    choices: list[dict[str, Any]] = [{"k": K}, {"k": K, "by": "class"}]
    choices += [{"k": k} for k in range(min(largest, K - 1), 1, -1)]
    for choice in choices:
        try:
            add_folds(table, **choice, groups=groups)
        except DataError:
            continue
        options = [word for name, value in choice.items() if value != K for word in (f"--{name}", str(value))]
        return shlex.join(["eml", "kfold", str(place), *options])
    return None


def init_command(folder: Path) -> str | None:
    """Return `eml init`; with a config in the folder `eml train`; None where a run is there too."""
    from eml.models.pointers import RUN_FILE

    if not (folder / CONFIG_NAME).exists():
        return shlex.join(["eml", "init", str(folder)])
    if any(folder.glob(f"*/{RUN_FILE}")):
        return None
    return shlex.join(["eml", "train", str(folder / CONFIG_NAME)])


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
    words: list[str] = []
    unseen = 0
    for test, images, options in _test_tables(table):
        question = question_of(images, test, trained)
        if question.queries:
            words += ["--data", str(test.source), *options]
            unseen += question.classes - question.classes_trained_on
    return NextEvaluation(shlex.join(["eml", "evaluate", str(run), *words]), unseen) if words else None


def _test_tables(table: Table) -> Iterator[tuple[Table, RetrievalSet, list[str]]]:
    """Yield each test table beside the table or its parts that can be read, its queries, and the options it needs."""
    from eml.dataset.pipeline import table_to_evaluate, test_table
    from eml.evaluation.retrieval_set import build_retrieval_set

    folders = dict.fromkeys(path.parent for path in table.parts or ([table.path] if table.path else []))
    roots = [None] if table.parts else [None, table.root]  # one `--root` is that of all tables
    for folder in folders:
        for root in roots:
            try:
                path = test_table(folder)
                if path is None:
                    break
                test = table_to_evaluate(path, root)
                images = build_retrieval_set(test.frame, test.name)
            except DataError:  # out of date, or its images are elsewhere: no fault of the run's
                continue
            yield test, images, ["--root", str(root)] if root else []
            break


def rows_of(table: Table, frame: pd.DataFrame, groups: Indices) -> tuple[Table, Indices]:
    """Return a part of a table's rows as a table, and their groups."""
    from dataclasses import replace

    present = table.frame["file_name"].isin(frame["file_name"]).to_numpy()
    return replace(table, frame=table.frame[present].reset_index(drop=True)), groups[present]
