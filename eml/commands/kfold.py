"""`eml kfold`: the column fold of a training table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, SummaryTable, command, span_text
from eml.commands.grouping import check_near, group_images, sidecar_notes
from eml.commands.next_steps import CONFIG_NAME, init_command, is_table_of
from eml.commands.options import (
    ClassLevelField,
    Dataset,
    FileColumn,
    GroupBy,
    LabelColumn,
    MatchNames,
    Near,
    NearThreshold,
    Out,
    Overwrite,
    PathPrefix,
    PathSuffix,
    Root,
    StripPrefix,
    TaskField,
    UnknownLabel,
    out_folder,
    read_source,
)

if TYPE_CHECKING:
    import pandas as pd

    from eml.dataset.splits.folds import FoldBalance
    from eml.dataset.splits.groups import RowGroups
    from eml.dataset.splits.usable import FoldChoice
    from eml.dataset.table import Table

FOLD_NAMES = {-1: "-1 (always train)", -2: "-2 (always test)"}


class KFoldConfig(CommandConfig):
    """Number the folds, one of which is held out for validation. Images that look alike are in one fold.

    Reads the table that split, filter or scan left in the folder (the training side of a split; scans first when there
    is none) or the given one. Writes folds.csv: the same rows with the column fold. Rows of fold -2 (always test, never
    looked at while training) keep it. eml audit shows what the folds still have in common.
    """

    dataset: Dataset
    k: int | None = Field(
        None,
        ge=2,
        description="Number of folds. Default: 5; of whole classes 3 when these are few, so that enough are held out.",
    )
    random_seed: int = Field(28, ge=0, description="Draws the folds.")
    task: TaskField = "open"
    by: Literal["images", "class"] | None = Field(
        None,
        description="images: each class is spread over all folds, and classes of fewer than `k` images are always "
        "trained on (fold -1). class: each class is in one fold. Default: as `task` says.",
    )
    group_by: GroupBy = ()
    threshold: NearThreshold = None
    near: Near = True
    class_level: ClassLevelField = None
    unknown_label: UnknownLabel = None
    root: Root = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    out: Out = None
    overwrite: Overwrite = False

    @model_validator(mode="after")
    def _threshold_is_used(self) -> Self:
        check_near(self.near, self.threshold)
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class KFoldResult(CommandResult):
    """A table with the column fold.

    Attributes:
        table: The table that was read.
        frame: Its rows with the column fold.
        task: What the model is for, open or closed.
        reason: Why the folds are these, "" where they were asked for.
        balance: How even the folds are, and what their groups hold.
        threshold: Bits within which images look alike; None where they were not compared.
    """

    table: Table
    frame: pd.DataFrame
    k: int
    by: str
    task: str
    reason: str
    balance: FoldBalance
    threshold: int | None

    def summary(self) -> str:
        """Return the number of folds, and of images in each."""
        sizes = ", ".join(f"{fold.images:,}" for fold in self.balance.folds if fold.fold >= 0)
        return f"{self.k} folds of {sizes} images"

    def summary_table(self) -> SummaryTable:
        """Return a row for each fold."""
        rows: list[list[Cell]] = []
        for fold in self.balance.folds:
            off = f"{fold.images - self.balance.even:+.1f}" if fold.fold >= 0 else None
            name, per_class = FOLD_NAMES.get(fold.fold, str(fold.fold)), span_text(fold.fewest, fold.most)
            rows.append([name, fold.images, off, fold.classes, fold.groups, per_class])
        return ["fold", "images", "from even share", "classes", "groups", "per class"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the folds, what their groups hold, and the files."""
        threshold = {} if self.threshold is None else {"threshold": self.threshold}
        return {
            "table": str(self.table.source),
            "by": self.by,
            "task": self.task,
            "reason": self.reason,
            "folds": [asdict(fold) for fold in self.balance.folds],
            "groups": threshold | asdict(self.balance.groups),
            "written": [str(path) for path in self.written],
        }


@command(KFoldConfig, arguments=("dataset",))
def kfold(config: KFoldConfig, caller: Caller) -> KFoldResult:
    """Assign folds to the rows of a table and write them."""
    from eml.dataset.splits.folds import balance
    from eml.dataset.splits.usable import usable_folds
    from eml.dataset.table import check_outputs, write_tables

    folder = out_folder(config.dataset, config.out, caller)
    table = read_source(config, "kfold", folder, caller)
    path = folder / f"folds{table.suffix}"
    check_outputs([path], inputs=[table.source], overwrite=config.overwrite)  # before the work, not after it
    by = config.by or ("class" if config.task == "open" else "images")
    groups = group_images(
        table,
        caller,
        group_by=config.group_by,
        near=config.near,
        threshold=config.threshold,
        whole_classes=by == "class",
    )
    choice = _choice(config, table, groups)
    frame = usable_folds(table, choice.k, config.random_seed, choice.by, groups.ids, config.task)
    replaced = write_tables(
        {path: frame},
        command=caller.command or "eml kfold",
        root=table.root,
        inputs=table.inputs,
        overwrite=config.overwrite,
        notes={"task": config.task} | sidecar_notes(groups, table),
        warn=caller.warn,
    )
    if "fold" in table.frame.columns:
        kept = " but for its rows of -2" if (table.frame["fold"] == -2).any() else ""
        caller.note(f"the column fold of {table.source} was replaced{kept}")
    if not is_table_of(folder / CONFIG_NAME, path):
        caller.note(
            f"{folder / CONFIG_NAME} names another table; to train on these folds set its data.table: {path.name}"
        )
    return KFoldResult(
        table=table,
        frame=frame,
        k=choice.k,
        by=choice.by,
        task=config.task,
        reason=choice.reason,
        balance=balance(table, frame, choice.k, choice.by, groups.ids),
        threshold=groups.threshold,
        written=(path,),
        replaced=tuple(replaced),
        next_command=init_command(folder, path),
    )


def _choice(config: KFoldConfig, table: Table, groups: RowGroups) -> FoldChoice:
    """Return the folds that were asked for, or that follow from the task where the options leave them open."""
    from eml.dataset.splits.folds import K
    from eml.dataset.splits.task import FEWER_PARTS
    from eml.dataset.splits.usable import FoldChoice, choose_folds

    if config.by == "images" or config.task == "closed":
        return FoldChoice(config.k or K, config.by or "images", config.task)
    choice = choose_folds(table, groups.ids, "open", k=config.k)
    if choice is not None and config.by in (None, choice.by):
        return choice
    several = (table.known.frame["label"].value_counts() > 1).any()
    return FoldChoice(config.k or FEWER_PARTS, config.by or ("class" if several else "images"), config.task)
