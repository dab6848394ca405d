"""`eml report`: one page on a dataset, or on a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, PathField, SummaryTable, command
from eml.commands.next_steps import REPORT_PAGE
from eml.commands.options import (
    COLUMN_MAP,
    ClassLevelField,
    FileColumn,
    LabelColumn,
    MatchNames,
    Overwrite,
    PathPrefix,
    PathSuffix,
    Plugins,
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
    from eml.reports.run import RunSummary
    from eml.training.preview import Preview

RUN_PAGE = "run_report.html"  # also known to training/run_folder.py, which removes it with a run
OF_A_DATASET = ("threshold", "class_level", "unknown_label", "root", *COLUMN_MAP)
"""Parameters that a run has no use for."""


class ReportConfig(CommandConfig):
    """Show a dataset, or a training run, on one HTML page that needs nothing else.

    Of a dataset: what is in it, what is wrong with it and what to run. Reads the table that scan left in the folder
    (scans first when there is none) or the given one, the tables beside it, and the images that the page shows. A
    contact sheet, class sizes, image sizes, formats, unusable files, near-duplicates, label conflicts, and the
    recommended next commands.

    Of a run folder (with run.json): did training help, curves, augmented images, times, config. Works on runs that are
    still going.
    """

    dataset: Annotated[
        PathField,
        Field(description="The folder of images, one folder per class, a table of them, or the folder of a run."),
    ]
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
            description=f"The page to write (NAME.html), or a folder for it. Default: {REPORT_PAGE} beside the table, "
            f"{RUN_PAGE} in the folder of a run."
        ),
    ] = None
    overwrite: Overwrite = False
    plugins: Plugins = ()


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


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RunReportResult(CommandResult):
    """The numbers of a run's page.

    Attributes:
        run: What the run folder says.
    """

    run: RunSummary

    def summary(self) -> str:
        """Return how far the run is, and the page."""
        return f"{self.run.state}, {self.written[0]}"

    def summary_table(self) -> SummaryTable:
        """Return how far the run is, and its values before training and at the best epoch."""
        from eml.retrieval.metrics import BY_TEXTS

        rows: list[list[Cell]] = [["state", self.run.state], ["best checkpoint", self.run.best or "none yet"]]
        if (stages := self.run.stages) is not None:
            rows.append(["the run gives", stages.shipped])
            change = f"{stages.untouched:.3f} untouched, {stages.value:.3f} of what the run gives"
            rows.append([f"{stages.metric} of the stages", change])
        for validation in self.run.validations:
            for key, text in validation.metrics.items():
                values = {line["epoch"]: line[key] for line in validation.lines if key in line}
                if text in ("R@1", "MAP@R", *BY_TEXTS.values()) and (
                    later := [value for epoch, value in values.items() if epoch]
                ):
                    first, last = (validation.whole.get(epoch, {}).get(key) for epoch in (0, self.run.best_epoch or -1))
                    first = values.get(0) if first is None else first
                    before = "" if first is None else f"{first:.3f} before training, "
                    rows.append([f"{validation.name} {text}".strip(), f"{before}{last or max(later):.3f} at best"])
        return ["", ""], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and the file."""
        return self.run.to_json() | {"written": [str(path) for path in self.written]}


ReportOutcome = ReportResult | RunReportResult


@command(ReportConfig, arguments=("dataset",))
def report(config: ReportConfig, caller: Caller) -> ReportOutcome:
    """Examine a dataset, or read a run, and write the page."""
    from eml.dataset.pipeline import resolve
    from eml.dataset.table import check_outputs
    from eml.models.pointers import is_run_folder

    if is_run_folder(config.dataset):
        return _report_run(config, caller)
    _refuse_folder_of_runs(config.dataset)
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


def _report_run(config: ReportConfig, caller: Caller) -> RunReportResult:
    """Write the page of a run."""
    from eml.dataset.table import check_outputs
    from eml.errors import ConfigError
    from eml.reports.run import summarize_run, write_page

    if names := [f"`{name}`" for name in OF_A_DATASET if getattr(config, name) not in (None, False)]:
        text = f"{', '.join(names)}: only of a dataset, and {config.dataset} is the folder of a run"
        raise ConfigError(text, code="conflicting-settings", parameter=names[0].strip("`"))
    page = _page_path(config.dataset, config.out, RUN_PAGE)
    check_outputs([page], overwrite=config.overwrite)  # before the work, not after it
    run = summarize_run(config.dataset)
    replaced = write_page(
        run, _augmented(run), page, command=caller.command or "eml report", overwrite=config.overwrite
    )
    return RunReportResult(run=run, written=(page,), replaced=tuple(replaced))


def _augmented(run: RunSummary) -> Preview | str:
    """Return training images as training draws them, or why there are none, such as data that were moved."""
    from eml.errors import EmlError
    from eml.reports.run.page import AUGMENTED, DRAWS
    from eml.training.data import table_to_train_on
    from eml.training.preview import preview

    if run.config is None:
        return run.config_problem
    try:
        return preview(
            run.config, table_to_train_on(run.config.data, task=run.config.task, accept_stale=True), AUGMENTED, DRAWS
        )
    except EmlError as error:
        return str(error)


def _refuse_folder_of_runs(dataset: Path) -> None:
    """Refuse the folder of a cross-validation, whose runs would be read as classes of images."""
    from eml.errors import DataError

    runs = sorted(file.parent for file in dataset.glob("fold-*/run.json")) if dataset.is_dir() else []
    if runs and (dataset / "folds.json").is_file():
        text = f"{dataset}: has the runs of several folds; give one of them: {', '.join(map(str, runs))}"
        raise DataError(text, code="not-a-run", parameter="dataset")


def _page_path(dataset: Path, out: Path | None, name: str = REPORT_PAGE) -> Path:
    """Return the page: `out` where it is one, else in that folder, else beside the dataset's table or in the run."""
    if out is not None and out.suffix.lower() in (".html", ".htm"):
        return out
    if out is not None:
        from eml.files import refuse_file_name

        refuse_file_name(out, "the page to write (NAME.html), or a folder for it")
    return (out or (dataset if dataset.is_dir() else dataset.parent)) / name


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
