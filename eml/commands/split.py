"""`eml split`: classes for training and classes for the test."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, SummaryTable, command, span_text
from eml.commands.grouping import check_near, group_images, grouping_words, sidecar_notes
from eml.commands.next_steps import kfold_command, rows_of
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
    UnknownLabel,
    out_folder,
    read_source,
)
from eml.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from eml.dataset.splits.groups import RowGroups
    from eml.dataset.splits.query_gallery import QueryGalleryCounts
    from eml.dataset.splits.split import SharedGroups, SideCounts, SplitTables
    from eml.dataset.table import Table

STRATEGY_OF = {
    "min_n_samples": "counts",
    "max_n_samples": "counts",
    "test_ratio": "ratio",
    "random_seed": "ratio",
    "column": "column",
}
"""Parameter → the strategy that reads it."""


class SplitConfig(CommandConfig):
    """Set classes aside for the test, never seen in training.

    Reads the table that filter or scan left in the folder (scans first when there is none) or the given one. Writes
    dataset_train.csv and dataset_test.csv, and classes_train.csv and classes_test.csv with the count of each class.
    With `by="ratio"`, classes that share images that look alike, or a value of `group_by`, go to one side; the other
    strategies have their own rule, and what then stands on both sides is reported. Images of unknown identity are on
    both sides: where images are that look like them, the others in the share of the known images.
    """

    dataset: Dataset
    column: str | None = Field(None, description='With `by="column"`: the column that says train or test.')
    by: Literal["counts", "ratio", "alternate", "column"] = Field(
        "counts",
        description="counts: classes of a medium number of images train. ratio: a share of the classes is the test. "
        "alternate: every second class name is the test. column: as `column` says.",
    )
    min_n_samples: int | None = Field(
        None, ge=1, description='With `by="counts"`: fewest images of a training class. Default: 3.'
    )
    max_n_samples: int | None = Field(
        None, ge=1, description='With `by="counts"`: most images of a training class. Default: 50.'
    )
    test_ratio: float | None = Field(
        None, description='With `by="ratio"`: share of the classes that is the test. Default: 0.2.'
    )
    random_seed: int | None = Field(
        None,
        ge=0,
        description='With `by="ratio"`: draws the test classes. With `query_gallery`: draws the queries. Default: 28.',
    )
    group_by: GroupBy = ()
    threshold: NearThreshold = None
    near: Near = True
    query_gallery: bool = Field(
        False,
        description="Mark each test image as query or gallery, never images of a class that look alike as both: one "
        "query per class, or `query_share`.",
    )
    query_share: float | None = Field(
        None, description="With `query_gallery`: share of a class's images that are queries."
    )
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
    def _options_go_together(self) -> Self:
        check_near(self.near, self.threshold)
        problems = [
            f'`{name}` goes with `by="{STRATEGY_OF[name]}"`, not with `by="{self.by}"`'
            for name in self._strategy_options()
            if STRATEGY_OF[name] != self.by
        ]
        if self.query_share is not None and not self.query_gallery:
            problems.append("`query_share`: only with `query_gallery`")
        if self.by == "column" and self.column is None:
            problems.append('`by="column"` needs the column\'s name: eml split DATASET --by column NAME')
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _strategy_options(self) -> dict[str, Any]:
        """Return what is set of the options that one strategy reads."""
        options = {name: value for name in STRATEGY_OF if (value := getattr(self, name)) is not None}
        if self.query_gallery and self.by != "ratio":
            options.pop("random_seed", None)
        return options


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SplitResult(CommandResult):
    """Two tables with other classes."""

    table: Table
    train: pd.DataFrame
    test: pd.DataFrame
    counts: dict[str, SideCounts]
    on_both_sides: SharedGroups
    protocol: QueryGalleryCounts | None
    grouped_by_column: bool

    def summary(self) -> str:
        """Return the size of both sides."""
        return ", ".join(f"{side}: {of.images:,} images of {of.classes:,} classes" for side, of in self.counts.items())

    def summary_table(self) -> SummaryTable:
        """Return a row for each side."""
        rows: list[list[Cell]] = [
            [side, of.images, of.classes, span_text(of.smallest_class, of.largest_class)]
            for side, of in self.counts.items()
        ]
        return ["side", "images", "classes", "images per class"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and files."""
        facts: dict[str, Any] = {"table": str(self.table.source)}
        facts |= {side: asdict(counts) for side, counts in self.counts.items()}
        facts["on_both_sides"] = asdict(self.on_both_sides)
        if self.protocol is not None:
            facts["protocol"] = asdict(self.protocol)
        return facts | {"written": [str(path) for path in self.written]}


@command(SplitConfig, arguments=("dataset", "column"))
def split(config: SplitConfig, caller: Caller) -> SplitResult:
    """Split a table by classes and write both sides."""
    from eml.dataset.splits.query_gallery import count_query_gallery
    from eml.dataset.splits.split import class_counts, shared_groups
    from eml.dataset.table import check_outputs, write_tables

    folder = out_folder(config.dataset, config.out, caller)
    table = read_source(config, "split", folder, caller)
    paths = [folder / f"dataset_{side}{table.suffix}" for side in ("train", "test")]
    paths += [folder / f"classes_{side}.csv" for side in ("train", "test")]
    check_outputs(paths, inputs=[table.source], overwrite=config.overwrite)  # before the work, not after it
    if config.by == "column":
        _refuse_column(config, table)
    groups = group_images(
        table, caller, group_by=config.group_by, near=config.near, threshold=config.threshold, whole_classes=True
    )
    try:
        sides = _sides(config, table, groups)
    except DataError as error:
        raise _with_choice(error, table, groups) from None
    if sides.test_counts.classes < 2 and (advice := _choice_advice(table, groups)):
        caller.warn(f"one class is in the test, so every answer is right and nothing is measured; {advice}")
    test = _with_protocol(config, table, sides.test, groups) if config.query_gallery else sides.test
    classes = (class_counts(replace(table, frame=frame).known.frame) for frame in (sides.train, test))
    frames = dict(zip(paths, (sides.train, test, *classes), strict=True))
    replaced = write_tables(
        frames,
        command=caller.command or "eml split",
        root=table.root,
        inputs=table.inputs,
        overwrite=config.overwrite,
        notes=sidecar_notes(groups, table),
        warn=caller.warn,
    )
    return SplitResult(
        table=table,
        train=sides.train,
        test=test,
        counts={"train": sides.train_counts, "test": sides.test_counts},
        on_both_sides=shared_groups(table, sides, groups.ids),
        protocol=count_query_gallery(replace(table, frame=test).known.frame) if config.query_gallery else None,
        grouped_by_column=bool(config.group_by),
        written=tuple(paths),
        replaced=tuple(replaced),
        next_command=kfold_command(
            folder,
            *rows_of(table, sides.train, groups.ids),
            grouping_words(config.group_by, config.near, config.threshold),
        ),
    )


def _refuse_column(config: SplitConfig, table: Table) -> None:
    """Raise what is wrong with the column before images are compared, but for an empty side: its advice needs them."""
    from eml.dataset.splits.split import split_by_column

    try:
        split_by_column(table, str(config.column))
    except DataError as error:
        if error.code != "empty-side":
            raise


def _with_choice(error: DataError, table: Table, groups: RowGroups) -> DataError:
    """Return the error of a split that leaves a side empty, with the options of one that can be measured on."""
    advice = _choice_advice(table, groups) if error.code in ("empty-side", "too-few-classes") else None
    if advice is None:
        return error
    problems = [
        f"{problem.removesuffix('.')}. To have two classes or more on each side, {advice}" for problem in error.problems
    ]
    return DataError(problems, code=error.code, parameter=error.parameter)


def _choice_advice(table: Table, groups: RowGroups) -> str | None:
    """Return the parameters of a split that leaves two classes on both sides; None without one."""
    from eml.dataset.splits.usable import choose_split

    choice = choose_split(table, groups.ids)
    if choice is None:
        return None
    ratio = f" with `test_ratio={choice.test_ratio:g}`" if "test_ratio" in choice.options else ""
    return f'give `by="{choice.by}"`{ratio}'


def _sides(config: SplitConfig, table: Table, groups: RowGroups) -> SplitTables:
    from eml.dataset.splits import split as strategies

    options = config._strategy_options()
    match config.by:
        case "counts":
            return strategies.split_by_counts(table, groups=groups.ids, **options)
        case "ratio":
            return strategies.split_by_ratio(table, groups=groups.ids, **options)
        case "alternate":
            return strategies.split_by_alternate(table, groups.ids)
        case "column":
            return strategies.split_by_column(table, **options)


def _with_protocol(config: SplitConfig, table: Table, test: pd.DataFrame, groups: RowGroups) -> pd.DataFrame:
    """Return the test table with the columns is_query and is_gallery."""
    from eml.dataset.splits.groups import group_rows
    from eml.dataset.splits.query_gallery import mark_query_gallery
    from eml.dataset.splits.split import RANDOM_SEED
    from eml.dataset.table import Table as ImageTable

    within = group_rows(
        ImageTable(test, table.root),
        group_by=config.group_by,
        near=config.near,
        threshold=groups.threshold,
        within_class=True,
    )
    seed = RANDOM_SEED if config.random_seed is None else config.random_seed
    return mark_query_gallery(test, within.ids, config.query_share, seed, replace(table, frame=test).is_unknown)
