"""`eml filter`: a table without duplicates, small images and small classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, Paths, SummaryTable, command
from eml.commands.next_steps import REPORT_PAGE, split_command
from eml.commands.options import (
    ClassLevelField,
    Dataset,
    FileColumn,
    LabelColumn,
    MatchNames,
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

if TYPE_CHECKING:
    from eml.dataset.duplicates.dedup import DedupRules
    from eml.dataset.filter import FilteredTable, FilterRules
    from eml.dataset.table import Table

OF_DEDUP = ("threshold", "scope", "keep", "hash_only", "conflicts")
"""Parameters that only deduplication reads."""


class FilterConfig(CommandConfig):
    """Leave out duplicates, small or large images, small classes.

    Reads the folder's dataset_info.csv (scans first when there is none) or the given table. Writes
    dataset_info_filtered.csv, dataset_removed.csv (with the reason and the twin that stayed) and, with `dedup`,
    label_conflicts.csv (images that are there with different labels). No image is touched.
    """

    dataset: Dataset
    dedup: bool = Field(False, description="Leave one of each group of near-duplicates.")
    threshold: int | None = Field(
        None,
        ge=0,
        le=63,
        description="With `dedup`: bits of 64 by which hashes may differ; the images are then compared. Default: 10.",
    )
    scope: Literal["class", "dataset"] | None = Field(
        None,
        description="With `dedup`: compare within each class, or all images with one another; twins with different "
        "labels then all leave. Default: class.",
    )
    keep: Literal["largest", "most-bytes", "first", "last"] | None = Field(
        None,
        description="With `dedup`: which twin stays: of most pixels, of most bytes, first or last by name. "
        "Default: largest.",
    )
    hash_only: bool = Field(
        False,
        description="With `dedup`: do not compare the images; within a class the hash decides, which thins look-alikes "
        "too.",
    )
    conflicts: Literal["remove", "keep"] | None = Field(
        None,
        description="With `dedup`: whether images that are there with different labels leave, or are only listed. "
        "Default: remove.",
    )
    min_size: int | None = Field(None, ge=1, description="Fewest pixels of the shorter side.")
    max_size: int | None = Field(None, ge=1, description="Most pixels of the longer side.")
    min_per_class: int | None = Field(None, ge=1, description="Fewest images of a class, after all other removals.")
    exclude: Annotated[
        Paths,
        Field(
            description="A table whose column file_name lists what to leave out, such as suspects.csv of eml suspects. "
            "Repeatable."
        ),
    ] = ()
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
    def _options_of_dedup(self) -> Self:
        names = [name for name in OF_DEDUP if getattr(self, name) not in (None, False)]
        if names and not self.dedup:
            raise ValueError(f"{', '.join(f'`{name}`' for name in names)}: only with `dedup`")
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FilterResult(CommandResult):
    """The rows of a table that stay, and those that left it.

    Attributes:
        table: The table that was read.
        filtered: The rows that stay, that left and that conflict, with their counts.
        threshold: Bits within which hashes were compared.
        scope: Whether twins were looked for in each class or in the whole dataset.
        conflicts_kept: Whether images with different labels stayed.
    """

    table: Table
    filtered: FilteredTable
    threshold: int
    scope: str
    conflicts_kept: bool

    def summary(self) -> str:
        """Return the images before and after."""
        counts = self.filtered.counts
        return f"{counts.images:,} of {counts.images_before:,} images stay, of {counts.classes:,} classes"

    def summary_table(self) -> SummaryTable:
        """Return the images before, removed by each reason, and after."""
        counts = self.filtered.counts
        rows: list[list[Cell]] = [["before", counts.images_before, counts.classes_before]]
        rows += [[f"  {reason}", -count, None] for reason, count in counts.removed.items()]
        rows += [["after", counts.images, counts.classes]]
        return ["", "images", "classes"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and files."""
        counts = {"table": str(self.table.source)} | asdict(self.filtered.counts)
        return counts | {"written": [str(path) for path in self.written]}


@command(FilterConfig, arguments=("dataset",))
def filter(config: FilterConfig, caller: Caller) -> FilterResult:
    """Filter a table and write what stays and what left."""
    from eml.dataset.filter import filter_table
    from eml.dataset.pipeline import read_exclusions
    from eml.dataset.sidecar import remove_outdated
    from eml.dataset.table import check_outputs, write_tables
    from eml.dataset.unknown_label import unknown_label_notes
    from eml.files import digest_of

    lists = {path: digest_of(path) or "" for path in config.exclude}  # before they are read
    excluded = {path: read_exclusions(path) for path in config.exclude}
    duplicates, rules = _rules(config, excluded)
    rules.check()
    folder = out_folder(config.dataset, config.out, caller)
    table = read_source(config, "filter", folder, caller)
    paths, inputs = _outputs(config, folder, table.suffix), {**table.inputs, **lists}
    check_outputs(paths, inputs=inputs, overwrite=config.overwrite)  # before the work, not after it
    filtered = filter_table(table, rules, caller.progress)
    frames = dict(zip(paths, (filtered.kept, filtered.removed, filtered.conflicts), strict=False))
    replaced = write_tables(
        frames,
        command=caller.command or "eml filter",
        root=table.root,
        inputs=inputs,
        overwrite=config.overwrite,
        notes=unknown_label_notes(table),
        warn=caller.warn,
    )
    return FilterResult(
        table=table,
        filtered=filtered,
        threshold=duplicates.threshold,
        scope=duplicates.scope,
        conflicts_kept=config.conflicts == "keep",
        written=tuple(paths),
        replaced=tuple(replaced),
        removed_files=tuple(remove_outdated(folder / REPORT_PAGE)),
        next_command=split_command(folder, replace(table, frame=filtered.kept)),
    )


def _rules(config: FilterConfig, excluded: dict[Path, list[str]]) -> tuple[DedupRules, FilterRules]:
    from eml.dataset.duplicates.dedup import THRESHOLD, DedupRules
    from eml.dataset.filter import FilterRules

    duplicates = DedupRules(
        THRESHOLD if config.threshold is None else config.threshold,
        config.scope or "class",
        config.keep or "largest",
        config.hash_only,
        config.conflicts or "remove",
    )
    rules = FilterRules(
        excluded, config.min_size, config.max_size, duplicates if config.dedup else None, config.min_per_class
    )
    return duplicates, rules


def _outputs(config: FilterConfig, folder: Path, suffix: str) -> list[Path]:
    """Return the files to write; an older label_conflicts.csv would be out of date, so it is written anew."""
    from eml.dataset.sidecar import written_by_eml

    paths = [folder / f"dataset_info_filtered{suffix}", folder / f"dataset_removed{suffix}"]
    if config.dedup or written_by_eml(folder / "label_conflicts.csv"):
        paths.append(folder / "label_conflicts.csv")
    return paths
