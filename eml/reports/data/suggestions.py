"""The commands to run next on a dataset, each with its reasons and their numbers."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.dataset.filter import THRESHOLD
from eml.dataset.scanning.scan import SPLITS
from eml.dataset.sidecar import UNKNOWN_LABEL, recorded_notes
from eml.dataset.splits.usable import choose_folds, choose_split, option_words, small_groups
from eml.dataset.table import SUFFIXES, Table, read_file_names
from eml.reports.data.facts import SMALL, DataFacts
from eml.reports.data.look_alikes import LookAlikes

FIRST_STEP = {"dataset_info_filtered": 1, "dataset_train": 2, "dataset_test": 3, "folds": 3}
"""The next step after a table: split (1) or kfold (2); after any other table it is filter (0)."""

RowMask = NDArray[np.bool_]
Arguments = Sequence[str | Path]


@dataclass(frozen=True)
class Suggestion:
    """A command, and a sentence for each reason to run it."""

    command: str
    reasons: list[str]


@dataclass(frozen=True)
class _Removal:
    """Rows that eml filter removes with certain options."""

    options: dict[str, str]
    rows: RowMask
    singular: str
    """What follows a count of one: `image is`."""
    plural: str
    rest: str
    """The rest of the sentence."""
    twin: Indices | None = None
    """(N,) for each row another one that must be in the table too for the row to be removed."""

    def count(self, present: RowMask) -> int:
        """Count the rows to remove among those present."""
        rows = np.flatnonzero(self.rows & present)
        return len(rows) if self.twin is None else int(present[self.twin[rows]].sum())

    def sentence(self, number: int) -> str:
        """Return the reason in words: `2 images are under 32 px …`."""
        return f"{number:,} {self.singular if number == 1 else self.plural} {self.rest}"


def suggest(
    table: Table,
    look_alikes: LookAlikes | None,
    facts: DataFacts,
    root: Path | None = None,
    options: Sequence[str] = (),
) -> list[Suggestion]:
    """Return the commands that are still to run before training, in order.

    If there is a current filtered table, it is read to see which reasons remain.

    Args:
        table: The table, one row per file.
        look_alikes: Its look-alikes; None if the images cannot be compared.
        facts: Its numbers.
        root: The folder of the images, as the commands name it; None if they need none.
        options: Of the commands that read this table, if it is the user's own.
    """
    steps = _steps(table, look_alikes, facts, root, options)
    if steps and (words := _label_words(table)):
        steps[0] = replace(steps[0], command=f"{steps[0].command} {shlex.join(words)}")
    return steps


def _label_words(table: Table) -> list[str]:
    """Return the option for the first command if the table's file says another unknown label; later tables keep it."""
    label = table.unknown_label or ("" if table.denies_unknown_label else None)
    if table.path is None or label is None or label == (recorded_notes(table.path).get(UNKNOWN_LABEL)):
        return []
    return ["--unknown-label", label]


def _steps(
    table: Table, look_alikes: LookAlikes | None, facts: DataFacts, root: Path | None, options: Sequence[str]
) -> list[Suggestion]:
    labels = sorted(set(table.known.frame["label"]))
    if SPLITS.issuperset(label.lower() for label in labels):
        reason = f"the classes are {', '.join(labels)}: these look like splits, each with the classes inside"
        return [Suggestion(_command("eml", "scan", table.root / label), [reason]) for label in labels]
    dataset = facts.dataset
    first = FIRST_STEP.get(dataset.stem, 0) if dataset.suffix in SUFFIXES else 0
    states = {state.table.rpartition(".")[0]: state.state for state in facts.tables}
    folder = dataset if dataset.is_dir() else dataset.parent
    arguments: Arguments = [dataset, *(("--root", root) if root else ()), *options]
    steps = []
    if first == 0:
        filtered = (
            _read_names(folder, "dataset_info_filtered") if states.get("dataset_info_filtered") == "current" else None
        )
        removals = _removals(table, look_alikes, facts)
        steps += _suggest_filter(removals, table, arguments, filtered)
        arguments = [folder] if steps or filtered is not None or dataset.is_dir() else arguments
        table = _part(table, _left(removals, table, filtered))
    if first <= 1:
        if states.get("dataset_train") == "current":
            table = _part(table, table.frame["file_name"].isin(_read_names(folder, "dataset_train")).to_numpy())
        else:
            splitting, table = _suggest_split(table, arguments, stale=states.get("dataset_train") == "stale")
            steps += splitting
        arguments = [folder] if "dataset_train" in states or steps else arguments
    if first <= 2 and states.get("folds") != "current":
        steps += _suggest_kfold(table, arguments, stale=states.get("folds") == "stale")
    return steps


def _part(table: Table, rows: RowMask) -> Table:
    return replace(table, frame=table.frame[rows].reset_index(drop=True))


def _left(removals: list[_Removal], table: Table, filtered: set[str] | None) -> RowMask:
    """Return the rows that are in the filtered table, and stay when it is made with the suggested options."""
    left = np.ones(len(table.frame), bool)
    if filtered is not None:
        left = table.frame["file_name"].isin(filtered).to_numpy()
    removed = np.zeros(len(left), bool)
    for removal in removals:
        removed |= removal.rows
    return left & ~removed


def _removals(table: Table, look_alikes: LookAlikes | None, facts: DataFacts) -> list[_Removal]:
    removals = [*_look_alike_images(look_alikes), *_small_images(table, facts)]
    return [*removals, *_single_images(table, removals)]


def _suggest_filter(
    removals: list[_Removal], table: Table, arguments: Arguments, filtered: set[str] | None
) -> list[Suggestion]:
    """Suggest one command for all removals, since each run of it replaces the table of the one before.

    Args:
        removals: The rows to remove.
        table: The table.
        arguments: The arguments that name the dataset.
        filtered: File names of the current filtered table; None if there is none.
    """
    present = np.ones(len(table.frame), bool)
    if filtered is not None:
        present = table.frame["file_name"].isin(filtered).to_numpy()
    reasons = [removal.sentence(count) for removal in removals if (count := removal.count(present))]
    if not reasons:
        return []
    options = {name: value for removal in removals for name, value in removal.options.items()}
    words = [word for name, value in options.items() for word in (name, value) if word]
    return [Suggestion(_command("eml", "filter", *arguments, *words), reasons)]


def _look_alike_images(look_alikes: LookAlikes | None) -> list[_Removal]:
    if look_alikes is None:
        return []
    conflict = _Removal(
        {"--dedup": "", "--scope": "dataset"},
        look_alikes.conflicting >= 0,
        "image is",
        "images are",
        "the same as one of another class: a label conflict, which removes both",
    )
    rest = f"like another of the class (within {look_alikes.threshold} bits)"
    twins = look_alikes.twin
    duplicate = _Removal({"--dedup": ""}, twins >= 0, "image looks", "images look", rest, twins)
    removals = [removal for removal in (conflict, duplicate) if removal.rows.any()]
    if removals and look_alikes.threshold != THRESHOLD:
        removals[0].options["--threshold"] = str(look_alikes.threshold)
    return removals


def _small_images(table: Table, facts: DataFacts) -> list[_Removal]:
    """Remove small images if most are not small."""
    sizes = facts.sizes
    if not sizes or not sizes.below_32 or sizes.short_side.median < 2 * SMALL:
        return []
    rows = (table.frame[["width", "height"]].min(axis=1) < SMALL).to_numpy()
    rest = f"under {SMALL} px on the shorter side, where the median is {sizes.short_side.median:,g} px"
    return [_Removal({"--min-size": str(SMALL)}, rows, "image is", "images are", rest)]


def _single_images(table: Table, removals: list[_Removal]) -> list[_Removal]:
    """Remove images that are the only one of their class, or will be after the other removals."""
    left = np.ones(len(table.frame), bool)
    for removal in removals:
        left &= ~removal.rows
    left &= ~table.is_unknown
    labels = table.frame["label"]
    sizes = labels[left].value_counts()
    single = left & (labels.map(sizes) == 1).to_numpy()
    if not single.any() or (sizes < 2).all():
        return []
    rest = "the only one left of its class: no other image of the class can be found or held out"
    return [_Removal({"--min-per-class": "2"}, single, "image is", "images are each", rest)]


def _suggest_split(table: Table, arguments: Arguments, *, stale: bool) -> tuple[list[Suggestion], Table]:
    """Suggest the split that `eml filter` proposes too; return it with the rows to train on."""
    choice = choose_split(table, small_groups(table))
    if choice is None:
        return [], table
    test, classes = choice.sides.test_counts.classes, table.known.frame["label"].nunique()
    why = "the split is older than its source" if stale else "no test classes are set aside"
    reason = f"{why}: {test:,} of {classes:,} classes, never seen in training, would give an honest measurement"
    command = _command("eml", "split", *arguments, *option_words(choice.options))
    return [Suggestion(command, [reason])], replace(table, frame=choice.sides.train.reset_index(drop=True))


def _suggest_kfold(table: Table, arguments: Arguments, *, stale: bool) -> list[Suggestion]:
    """Suggest the folds that `eml split` proposes too."""
    choice = choose_folds(table, small_groups(table, whole_classes=True))
    if choice is None:
        return []
    why = "the folds are older than their source" if stale else "there are no folds for validation during training"
    rest = f"{choice.text}: {choice.reason}"
    return [Suggestion(_command("eml", "kfold", *arguments, *option_words(choice.options)), [f"{why}; {rest}"])]


def _read_names(folder: Path, stem: str) -> set[str]:
    paths = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
    return set(read_file_names(max(paths, key=lambda path: path.stat().st_mtime)))


def _command(*words: str | Path) -> str:
    return shlex.join(map(str, words))
