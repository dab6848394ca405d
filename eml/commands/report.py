"""`eml report`: one page on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, PathField, SummaryTable, command
from eml.commands.next_steps import REPORT_PAGE
from eml.commands.options import (
    ClassLevelField,
    Dataset,
    FileColumn,
    LabelColumn,
    MatchNames,
    Overwrite,
    PathPrefix,
    PathSuffix,
    Root,
    StripPrefix,
    UnknownLabel,
    class_level_of,
    column_map,
    column_map_words,
)

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.reports.data import DataReport


class ReportConfig(CommandConfig):
    """Show what is in a dataset, what is wrong with it and what to run, on one HTML page that needs nothing else.

    Reads the table that scan left in the folder (scans first when there is none) or the given one, the tables beside
    it, and the images that the page shows. Class sizes, image sizes, formats, unusable files, near-duplicates, label
    conflicts, and the recommended next commands.
    """

    dataset: Dataset
    threshold: int | None = Field(
        None, ge=0, le=63, description="Bits of 64 by which look-alikes may differ. Default: 10."
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
    out: Annotated[
        PathField | None,
        Field(
            description=f"The page to write (NAME.html), or a folder for it. Default: {REPORT_PAGE} beside the table."
        ),
    ] = None
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ReportResult(CommandResult):
    """The numbers of the page.

    Attributes:
        examined: What was found in the dataset.
    """

    examined: DataReport

    def summary(self) -> str:
        """Return the counts and the page."""
        facts = self.examined.facts
        return f"{facts.images:,} images of {facts.classes:,} classes, {self.written[0]}"

    def summary_table(self) -> SummaryTable:
        """Return the main numbers."""
        facts = self.examined.facts
        rows: list[list[Cell]] = [
            ["images", facts.images],
            ["classes", facts.classes],
            ["classes of one image", facts.class_sizes.of_one],
        ]
        if facts.unknown_images:
            rows.append(["images of unknown identity", facts.unknown_images])
        if facts.errors:
            rows.append(["files that cannot be used", facts.errors.files])
        if counts := facts.look_alikes:
            rows.append(["near-duplicates within a class", counts.within_classes.images_to_spare])
            rows.append(["images with another label too", counts.label_conflicts.images])
        return ["", ""], rows

    @property
    def suggestions(self) -> list[str]:
        """The recommended next commands."""
        return [str(step["command"]) for step in self.examined.to_json()["suggestions"]]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and the file."""
        return self.examined.to_json() | {"written": [str(path) for path in self.written]}


@command(ReportConfig, arguments=("dataset",))
def report(config: ReportConfig, caller: Caller) -> ReportResult:
    """Examine a dataset and write the page."""
    from eml.dataset.pipeline import resolve
    from eml.dataset.table import check_outputs

    page = _page_path(config.dataset, config.out)
    check_outputs([page], overwrite=config.overwrite)  # before the work, not after it
    table = resolve(
        config.dataset,
        "filter",
        config.root,
        class_level=class_level_of(config.class_level),
        columns=column_map(config),
        unknown_label=config.unknown_label,
        command=caller.command or "",
        report=caller.note,
        progress=caller.progress,
    )
    return write_report(
        table,
        config.dataset,
        page,
        caller=caller,
        root=config.root,
        options=column_map_words(config),
        threshold=config.threshold,
        overwrite=config.overwrite,
    )


def _page_path(dataset: Path, out: Path | None) -> Path:
    """Return the page: `out` where it is one, else in that folder, else beside the dataset's table."""
    if out is not None and out.suffix.lower() in (".html", ".htm"):
        return out
    if out is not None:
        from eml.files import refuse_file_name

        refuse_file_name(out, "the page to write (NAME.html), or a folder for it")
    return (out or (dataset if dataset.is_dir() else dataset.parent)) / REPORT_PAGE


def write_report(
    table: Table,
    dataset: Path,
    page: Path,
    *,
    caller: Caller,
    root: Path | None = None,
    options: Sequence[str] = (),
    threshold: int | None = None,
    overwrite: bool = False,
) -> ReportResult:
    """Examine the table and write the page; `eml scan` with `report` calls it too."""
    from eml.dataset.filter import THRESHOLD
    from eml.reports.data import examine, write_page

    bits = THRESHOLD if threshold is None else threshold
    examined = examine(
        table,
        dataset=dataset,
        root=root,
        options=options,
        threshold=bits,
        command=caller.command,
        progress=caller.progress,
    )
    replaced = write_page(
        examined, page, command=caller.command or "eml report", overwrite=overwrite, progress=caller.progress
    )
    steps = [str(step["command"]) for step in examined.to_json()["suggestions"]]
    return ReportResult(
        examined=examined,
        written=(page,),
        replaced=tuple(replaced),
        next_command=steps[0] if steps else None,
        later_commands=tuple(steps[1:]),
    )
