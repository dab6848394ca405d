"""What the data call for: commands to run, each with its reasons and their numbers."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.dataset.filter import THRESHOLD
from eml.dataset.scanning.scan import SPLITS
from eml.dataset.splits.folds import K
from eml.dataset.splits.split import TEST_RATIO
from eml.dataset.table import SUFFIXES, Table, read_file_names
from eml.reports.data.facts import SMALL
from eml.reports.data.near import Near

FIRST_STEP = {"dataset_info_filtered": 1, "dataset_train": 2, "dataset_test": 3, "folds": 3}
"""Tables for which filter (0), split (1) or kfold (2) is the next step; any other is to be filtered."""

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Suggestion:
    """A command, and why to run it, a sentence for each reason."""

    command: str
    reasons: list[str]


@dataclass(frozen=True)
class _Reason:
    """Rows that eml filter with these options removes. told: after one, after several, and the rest of the sentence.

    twin: (N,) another row for each, which must be there too for the row to be a reason.
    """

    options: dict[str, str]
    rows: Rows
    told: tuple[str, str, str]
    twin: Indices | None = None

    def count(self, stays: Rows) -> int:
        there = np.flatnonzero(self.rows & stays)
        return len(there) if self.twin is None else int(stays[self.twin[there]].sum())

    def sentence(self, number: int) -> str:
        one, several, rest = self.told
        return f"{number:,} {one if number == 1 else several} {rest}"


def suggest(
    table: Table, near: Near | None, facts: dict[str, Any], *, dataset: Path, root: Path | None = None
) -> list[Suggestion]:
    """The commands from here to folds that are still to be run, in their order. dataset, root: as the user gives them.

    Reads the filtered table, if there is a current one, to see which reasons it leaves.
    """
    labels = sorted(set(table.frame["label"]))
    if SPLITS.issuperset(label.lower() for label in labels):
        told = f"the classes are {', '.join(labels)}: these look like splits, each with the classes inside"
        return [Suggestion(_command("eml", "scan", table.root / label), [told]) for label in labels]
    first = FIRST_STEP.get(dataset.stem, 0) if dataset.suffix in SUFFIXES else 0
    state = {each["table"].rpartition(".")[0]: each["state"] for each in facts["tables"]}
    folder = dataset if dataset.is_dir() else dataset.parent
    given: list[Any] = [dataset, *(["--root", root] if root else [])]
    steps = []
    if first == 0:
        filtered = _filtered(folder) if state.get("dataset_info_filtered") == "current" else None
        steps += _filter(table, near, facts, given, filtered)
        given = [folder] if steps or filtered is not None or dataset.is_dir() else given
    if first <= 1:
        if state.get("dataset_train") != "current":
            steps += _split(facts, given, state.get("dataset_train") == "stale")
        given = [folder] if "dataset_train" in state or steps else given
    if first <= 2 and state.get("folds") != "current":
        steps += _kfold(facts, given, state.get("folds") == "stale")
    return steps


def _filter(
    table: Table, near: Near | None, facts: dict[str, Any], given: list[Any], filtered: set[str] | None
) -> list[Suggestion]:
    """One command for all removals, since each run of it replaces what the one before left."""
    reasons = [*_look_alikes(near), *_small(table, facts)] if near else _small(table, facts)
    reasons += _alone(table, reasons)
    stays = np.ones(len(table.frame), bool)
    if filtered is not None:
        stays = table.frame["file_name"].isin(filtered).to_numpy()
    told = [each.sentence(count) for each in reasons if (count := each.count(stays))]
    if not told:
        return []
    options = {name: value for each in reasons for name, value in each.options.items()}
    words = [word for name, value in options.items() for word in (name, value) if word]
    return [Suggestion(_command("eml", "filter", *given, *words), told)]


def _look_alikes(near: Near) -> list[_Reason]:
    rest = "the same as one of another class: a label conflict, and both leave"
    clashing = near.conflicting >= 0
    conflict = _Reason({"--dedup": "", "--scope": "dataset"}, clashing, ("image is", "images are", rest))
    rest = f"like another of the class (within {near.threshold} bits)"
    twin = _Reason({"--dedup": ""}, near.twin >= 0, ("image looks", "images look", rest), near.twin)
    found = [each for each in (conflict, twin) if each.rows.any()]
    if found and near.threshold != THRESHOLD:
        found[0].options["--threshold"] = str(near.threshold)
    return found


def _small(table: Table, facts: dict[str, Any]) -> list[_Reason]:
    """Images that are small where most are not."""
    sizes = facts["sizes"]
    if not sizes or not sizes["below_32"] or sizes["short_side"]["median"] < 2 * SMALL:
        return []
    rows = (table.frame[["width", "height"]].min(axis=1) < SMALL).to_numpy()
    rest = f"under {SMALL} px on the shorter side, where the median is {sizes['short_side']['median']:,g} px"
    return [_Reason({"--min-size": str(SMALL)}, rows, ("image is", "images are", rest))]


def _alone(table: Table, reasons: list[_Reason]) -> list[_Reason]:
    """Images whose class has no other, or none that the other reasons leave."""
    left = np.ones(len(table.frame), bool)
    for each in reasons:
        left &= ~each.rows
    labels = table.frame["label"]
    sizes = labels[left].value_counts()
    alone = left & (labels.map(sizes) == 1).to_numpy()
    if not alone.any() or (sizes < 2).all():
        return []
    rest = "the only one of its class that is left: nothing else of it can be found or held out"
    return [_Reason({"--min-per-class": "2"}, alone, ("image is", "images are each", rest))]


def _split(facts: dict[str, Any], given: list[Any], stale: bool) -> list[Suggestion]:
    classes = facts["classes"]
    test = round(TEST_RATIO * classes)
    if test < 1 or classes - test < 2:
        return []
    why = "the split is older than what it was made from" if stale else "no classes are set aside for the test"
    told = f"{why}: {test:,} of {classes:,} never seen in training would measure retrieval honestly"
    return [Suggestion(_command("eml", "split", *given, "--by", "ratio"), [told])]


def _kfold(facts: dict[str, Any], given: list[Any], stale: bool) -> list[Suggestion]:
    """By images where most classes have an image for each fold, else by class."""
    sizes, classes = facts["class_sizes"], facts["classes"]
    why = "the folds are older than what they were made from" if stale else "nothing yet to validate on while training"
    if sizes["median"] >= K:
        told = f"{why}; the median class has {sizes['median']:,g} images, enough for {K} folds by images"
        return [Suggestion(_command("eml", "kfold", *given), [told])]
    if classes - round(TEST_RATIO * classes) < K:
        return []
    rest = f"{sizes['below_five']:,} of {classes:,} classes have fewer than {K} images, so whole classes are held out"
    return [Suggestion(_command("eml", "kfold", *given, "--by", "class"), [f"{why}; {rest}"])]


def _filtered(folder: Path) -> set[str]:
    there = [path for suffix in SUFFIXES if (path := folder / f"dataset_info_filtered{suffix}").is_file()]
    return set(read_file_names(max(there, key=lambda path: path.stat().st_mtime)))


def _command(*words: str | Path) -> str:
    return shlex.join(map(str, words))
