"""`eml train`: a training run, its dry run, its preview, or a run for each fold."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from eml.commands.base import (
    Caller,
    Cell,
    CommandConfig,
    CommandResult,
    Names,
    PathField,
    SummaryTable,
    as_path,
    command,
    option,
)
from eml.commands.next_steps import CONFIG_NAME, evaluate_command
from eml.commands.options import Plugins, UploadTo
from eml.errors import ConfigError, Interrupted
from eml.files import from_here

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.distributed.processes import Processes
    from eml.training.config import RunConfig
    from eml.training.cross_validation import CrossValidationResult
    from eml.training.dry_run import DryRunResult
    from eml.training.events import Event, Observer
    from eml.training.fit import TrainingResult
    from eml.training.preview import Preview

ALL_FOLDS = "all"


def _path_or_run_config(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str | Path):
        return as_path(value, info)
    if type(value).__name__ != "RunConfig":
        raise ValueError(f"must be a path or a RunConfig, got {type(value).__name__}")
    return value


class TrainConfig(CommandConfig):
    """Train an embedding model as a config says, into a run folder with checkpoints, metrics and plots.

    A dataset's folder stands for the config.yaml in it, which is written as eml init does when there is none; with
    `resume`, a run's folder stands for its config. Keys of the config's first level are options too: --epochs 3.
    """

    config: Annotated[
        Any,
        BeforeValidator(_path_or_run_config),
        Field(description="The config (YAML; eml init writes one), or the folder of a dataset or of a run."),
    ]
    overrides: Names = option(
        (), "Override a key of the config, such as margin.m=0.3; null: its default. Repeatable.", name="set"
    )
    resume: bool = Field(False, description="Continue an interrupted run, to the same end.")
    accept_changes: bool = Field(False, description="With `resume`: continue with a config that changes the result.")
    overwrite: bool = Field(False, description="Replace the run in the output folder.")
    fold: str | None = Field(
        None,
        description="The fold held out, in place of data.fold; all: a run for each fold, with mean and spread.",
        coerce_numbers_to_str=True,
    )
    device: str | None = Field(None, description="auto, cpu, cuda, cuda:N or mps; overrides the config.")
    dry_run: bool = Field(False, description="Build everything, take two steps, make no run.")
    preview: bool = Field(False, description="Draw a sheet of augmented training images, make no run.")
    out: Annotated[
        PathField | None,
        Field(
            description="With `preview`: the sheet, .png or .jpg. Default: preview.png beside the config.",
        ),
    ] = None
    upload_to: UploadTo = None
    plugins: Plugins = ()

    @field_validator("fold")
    @classmethod
    def _is_fold(cls, fold: str | None) -> str | None:
        if fold is not None and fold not in (ALL_FOLDS, "null") and not fold.isdecimal():
            raise ValueError(f"must be a number, all or null, got {fold!r}")
        return fold

    @model_validator(mode="after")
    def _options_go_together(self) -> Self:
        if self.accept_changes and not self.resume:
            raise ValueError("`accept_changes`: only with `resume`")
        if self.out is not None and not self.preview:
            raise ValueError("`out` is for the sheet of `preview`; set the run's folder with `overrides=output=FOLDER`")
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainResult(CommandResult):
    """A finished run.

    Attributes:
        training: Its metrics, its verdicts, and which question each of them answers.
        unseen_classes: Classes of the test table beside the run's own that were not trained on; `next_command`
            evaluates on them. 0 without one.
    """

    training: TrainingResult
    unseen_classes: int = 0

    @property
    def folder(self) -> Path:
        """The run folder, which eml.load and every command take."""
        folder: Path = self.training.folder
        return folder

    def to_upload(self) -> tuple[Path, ...]:
        """Return the run folder."""
        return (self.folder,)

    def summary(self) -> str:
        """Return the verdict and the folder."""
        verdict = self.training.verdict
        gain = f"{verdict.question}: {verdict.metric} {verdict.before:.4f} → {verdict.after:.4f}, " if verdict else ""
        return f"{gain}best epoch {self.training.best_epoch}, {self.folder}"

    def summary_table(self) -> SummaryTable | None:
        """Return each metric before and after, of all validation sets; None without validation."""
        rows = [
            [f"{name} {metric}".strip(), *cells]
            for name in self.training.questions
            for metric, *cells in self.rows_of(name)
        ]
        return (["metric", "before training", "after", "difference"], rows) if rows else None

    def rows_of(self, name: str) -> list[list[Cell]]:
        """Return each metric of a validation set, before and after training; the held-out fold's name is ""."""
        before, best, prefix = self.training.before, self.training.best, f"{name}/" if name else ""
        if not before or not best:
            return []
        return [
            [
                shown.removeprefix(f"{name} "),
                *((f"{start:.4f}", f"{best[key]:.4f}", f"{best[key] - start:+.4f}") if start is not None else unpaired),
            ]
            for key, shown in self.training.shown.items()
            if key.rpartition("/")[0] == name and key.startswith(prefix) and best.get(key) is not None
            for start, unpaired in [(before.get(key), (None, f"{best[key]:.4f}", None))]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics, the questions and the verdicts; validation sets by name, "" is the held-out fold."""
        training, verdict = self.training, self.training.verdict
        return {
            "folder": str(training.folder),
            "best_epoch": training.best_epoch,
            "before": training.before,
            "best": training.best,
            "verdict": verdict.to_dict() if verdict else None,
            "stages": training.stages.to_dict() if training.stages else None,
            **({"compatibility": training.compatibility.to_dict()} if training.compatibility else {}),
            "validations": {
                name: question.to_dict()
                | {"verdict": own.to_dict() if (own := training.verdicts.get(name)) is not None else None}
                for name, question in training.questions.items()
            },
        }


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainFoldsResult(CommandResult):
    """A run for each fold."""

    folds: CrossValidationResult

    def to_upload(self) -> tuple[Path, ...]:
        """Return the folder of all runs."""
        return (self.folds.folder,)

    def summary(self) -> str:
        """Return the number of folds and the folder."""
        return f"{len(self.folds.folds)} folds, {self.folds.folder}"

    def summary_table(self) -> SummaryTable:
        """Return each metric by fold, with mean and standard deviation."""
        results = self.folds.folds
        shown = self.folds.shown
        rows = [
            [
                shown[key],
                *(f"{result.best[key]:.4f}" for result in results.values() if result.best),
                f"{mean:.4f} ± {spread:.4f}",
            ]
            for key, (mean, spread) in self.folds.metrics.items()
        ]
        return ["metric", *(f"fold {fold}" for fold in results), "mean ± std"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics."""
        questions = {str(fold): question for fold, question in self.folds.questions.items()}
        return {"folder": str(self.folds.folder), "questions": questions, "metrics": self.folds.metrics}


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainDryRunResult(CommandResult):
    """The time and memory that a run would take."""

    dry_run: DryRunResult

    def summary(self) -> str:
        """Return the steps and the time of one."""
        return f"{self.dry_run.steps:,} steps of {self.dry_run.seconds_per_step} s"

    def to_dict(self) -> dict[str, Any]:
        """Return the facts and warnings."""
        return self.dry_run.to_dict()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TrainPreviewResult(CommandResult):
    """A sheet of training images."""

    preview: Preview

    def to_dict(self) -> dict[str, Any]:
        """Return the sheet and its images."""
        return {"preview": str(self.written[0]), "file_names": [row.file_name for row in self.preview.rows]}


Outcome = TrainResult | TrainFoldsResult | TrainDryRunResult | TrainPreviewResult


@command(TrainConfig, arguments=("config",), others="overrides")
def train(config: TrainConfig, caller: Caller) -> Outcome:
    """Train as the config says."""
    records: dict[Path, int | None] = {}
    with _early_stop_told(config, records):
        return _train(config, caller, records)


def _train(config: TrainConfig, caller: Caller, records: dict[Path, int | None]) -> Outcome:
    """Do what `train` does; records: gets the run's record with its time, as it is before the run writes it."""
    with caller.checks():
        path, run = _run_config(config, caller)
        records |= _time_of_record(run)
        if config.preview:
            return _preview(config, path, run, caller)

        from eml.distributed.processes import Processes
        from eml.training.fit import check

        here = Processes.of_environment()
        makes_no_run = config.dry_run or config.fold == ALL_FOLDS  # of folds, each run checks its own
        with _problems_with_places(config, path):
            check(
                run,
                resume=config.resume and not makes_no_run,
                overwrite=config.overwrite or makes_no_run,
                processes=here,
            )
    with caller.join(run.device, here) as processes:
        from eml.training.data import table_to_train_on

        table = processes.after_first(
            lambda: table_to_train_on(run.data, caller.note, caller.progress, task=run.task, accept_stale=config.resume)
        )
        if config.dry_run:
            return _dry_run(run, table, processes)
        with _observer(caller) as observe:
            if config.fold == ALL_FOLDS:
                return _fit_folds(config, run, table, processes, observe, caller.command)
            return _fit(config, run, table, processes, observe, caller.command)


def _run_config(config: TrainConfig, caller: Caller) -> tuple[Path | None, RunConfig]:
    """Return the run's config and the file that it is from."""
    from eml.config import dump, load, load_plugins
    from eml.training.config import RunConfig

    overrides = _all_overrides(config)
    if isinstance(config.config, RunConfig):
        load_plugins(config.config.plugins, report=caller.note)
        if not overrides:
            return None, _with_plugins(config.config, config.plugins)
        with tempfile.TemporaryDirectory() as folder:
            (file := Path(folder, CONFIG_NAME)).write_text(dump(config.config), encoding="utf-8")
            run = load(RunConfig, file, overrides, override_name="`overrides`")
        return None, _with_plugins(run, config.plugins)
    from eml.training.moved_run import load_run_config, missing_plugins

    path = _config_file(config, caller)
    imports = path == Path(config.config)  # the config itself was named, and not a folder that may be of someone else
    run = load_run_config(path, overrides, override_name="`overrides`", plugins=config.plugins, import_plugins=imports)
    if problems := missing_plugins(run.plugins, path):
        raise ConfigError(problems)
    return path, run


def _with_plugins(run: RunConfig, plugins: Sequence[str]) -> RunConfig:
    """Return the config with further plugins, which have been imported."""
    return run.model_copy(update={"plugins": tuple(dict.fromkeys((*run.plugins, *plugins)))})


def _time_of_record(run: RunConfig) -> dict[Path, int | None]:
    from eml.models.pointers import RUN_FILE

    file = run.output / RUN_FILE
    return {file: file.stat().st_mtime_ns if file.is_file() else None}


@contextmanager
def _early_stop_told(config: TrainConfig, records: Mapping[Path, int | None]) -> Iterator[None]:
    """Say what a stop request leaves before the run has a state of its own, which the run itself tells of later."""
    try:
        yield
    except KeyboardInterrupt as error:
        times = {file: file.stat().st_mtime_ns if file.is_file() else None for file in records}
        if config.preview or config.fold == ALL_FOLDS or times != records:
            raise
        folder = next((file.parent for file, time in times.items() if time is not None), None)
        if config.dry_run:
            text = "interrupted: a dry run makes no run folder"
        elif config.resume:
            text = "interrupted before the run went on: it is as it was, and the same command continues it"
        elif folder is None:
            text = "interrupted before the run began: no run folder was made, and the same command begins it"
        else:
            text = f"interrupted before the run began: the one in {folder} is as it was"
        raise Interrupted(text) from error


def _all_overrides(config: TrainConfig) -> list[str]:
    overrides = [*config.overrides, *([f"device={config.device}"] if config.device else [])]
    return overrides + ([f"data.fold={config.fold}"] if config.fold and config.fold != ALL_FOLDS else [])


@contextmanager
def _problems_with_places(config: TrainConfig, path: Path | None) -> Iterator[None]:
    """Say of problems in the run's config the file and line, or the override, where they are from one."""
    from eml.config.loading import with_places
    from eml.training.config import RunConfig

    try:
        yield
    except ConfigError as error:
        if path is None:
            raise
        overrides = _all_overrides(config)
        problems = with_places(error.problems, RunConfig, path, overrides, override_name="`overrides`")
        raise ConfigError(problems) from error


def _config_file(config: TrainConfig, caller: Caller) -> Path:
    """Return the config that a path stands for: itself, or that of a run's or a dataset's folder."""
    path = Path(config.config)
    if config.resume and not path.exists():
        raise ConfigError(
            f"{path}: there is no such folder or file, so there is no run to resume; give the run's folder, or "
            "the config that it began with",
            code="missing-file",
            parameter="config",
        )
    if not path.is_dir():
        return path
    from eml.models.pointers import is_run_folder

    inside = path / CONFIG_NAME
    if not config.resume and is_run_folder(path):
        raise ConfigError(
            f"{path}: is the folder of a run. Set `resume` to continue it; to train anew, give {inside} with another "
            "output",
            code="is-a-run",
            parameter="config",
        )
    if not inside.is_file() and config.resume:
        raise ConfigError(
            f"{path}: has no {CONFIG_NAME}, so there is no run to resume", code="not-a-run", parameter="config"
        )
    if not inside.is_file():
        from eml.commands.init import InitConfig, init

        caller.note(f"no {CONFIG_NAME} in {path}: writing one, as eml init does")
        init.run(InitConfig(dataset=path), caller)
    caller.note(f"config: {inside}")
    return inside


@contextmanager
def _observer(caller: Caller) -> Iterator[Observer]:
    """Yield what takes a run's events: the caller's live view, or its notes and its progress bar."""
    if caller.live is not None:
        with caller.live() as observe_live:
            yield observe_live
        return

    from eml.training.events import Note, Started, Stepped

    bar = ExitStack()
    advance: Any = None
    done = 0

    def observe(event: Event) -> None:
        nonlocal advance, done
        if isinstance(event, Note):
            caller.note(event.text)
        elif isinstance(event, Started):
            bar.close()  # of the fold before
            advance = bar.enter_context(caller.progress("training", event.steps))
            if event.first_step:
                advance(event.first_step)
            done = event.first_step
        elif isinstance(event, Stepped) and advance is not None:
            advance(event.step - done)
            done = event.step

    with bar:
        yield observe


def _fit(
    config: TrainConfig,
    run: RunConfig,
    table: Table,
    processes: Processes,
    observe: Observer,
    command_line: str | None,
) -> TrainResult:
    from eml.training.fit import fit

    training = fit(
        run,
        table,
        resume=config.resume,
        accept_changes=config.accept_changes,
        overwrite=config.overwrite,
        observe=observe,
        processes=processes,
        command=command_line,
    )
    if processes.first:
        from eml.reports.curves import draw_curves

        draw_curves(training.folder)
    following = evaluate_command(training.folder, table, run.data.fold)
    return TrainResult(
        training=training,
        unseen_classes=following.unseen_classes if following else 0,
        next_command=following.command if following else shlex.join(["eml", "report", str(from_here(training.folder))]),
    )


def _fit_folds(
    config: TrainConfig,
    run: RunConfig,
    table: Table,
    processes: Processes,
    observe: Observer,
    command_line: str | None,
) -> TrainFoldsResult:
    from eml.training.cross_validation import FOLDS, OUT_OF_FOLD, fit_folds

    folds = fit_folds(
        run,
        table,
        resume=config.resume,
        overwrite=config.overwrite,
        observe=observe,
        processes=processes,
        command=command_line,
    )
    if processes.first:
        from eml.reports.curves import draw_curves

        for result in folds.folds.values():
            draw_curves(result.folder)
    return TrainFoldsResult(
        folds=folds,
        written=(folds.folder / FOLDS, folds.folder / OUT_OF_FOLD),
        next_command=shlex.join(["eml", "suspects", str(from_here(folds.folder))]),
    )


def _dry_run(run: RunConfig, table: Table, processes: Processes) -> TrainDryRunResult:
    from eml.training.dry_run import dry_run

    return TrainDryRunResult(dry_run=dry_run(run, table, processes))


def _preview(config: TrainConfig, path: Path | None, run: RunConfig, caller: Caller) -> TrainPreviewResult:
    """Draw the sheet."""
    from eml.images.image_size import size_text
    from eml.reports.contact_sheet import draw_sheet, refuse_sheet

    out = config.out or (Path("preview.png") if path is None else path.with_name("preview.png"))
    refuse_sheet(out, overwrite=config.overwrite)

    from eml.training.data import table_to_train_on
    from eml.training.preview import preview

    sheet = preview(run, table_to_train_on(run.data, caller.note, caller.progress, task=run.task))
    parts = {"augment": run.augment, **({"mix": run.mix} if run.mix else {})}
    title = "  ·  ".join(f"{name}: {_settings_text(choice)}" for name, choice in parts.items())
    size = f"{size_text(sheet.preprocess.size)} pixels, fit {sheet.preprocess.fit}"
    columns = ["as evaluated", *(f"draw {number}" for number in range(1, len(sheet.rows[0].drawn) + 1))]
    rows = [(_row_name(row.label, row.file_name), [row.plain, *row.drawn]) for row in sheet.rows]
    replaced = (out,) if out.exists() else ()
    draw_sheet(out, f"{title}  ·  {size}", columns, rows)
    return TrainPreviewResult(preview=sheet, written=(out,), replaced=replaced)


def _settings_text(choice: BaseModel) -> str:
    """Return a choice's type, and its settings that are not off."""
    settings: Mapping[str, Any] = choice.model_dump(mode="json", exclude={"type"})
    used = ", ".join(f"{key} {json.dumps(value).strip(chr(34))}" for key, value in settings.items() if value != 0)
    name = getattr(choice, "type", type(choice).__name__)
    return f"{name} ({used})" if used else str(name)


def _row_name(label: str, file_name: str) -> str:
    """Return an image's name with its label, unless that is its folder."""
    return file_name if f"{label}/" in f"/{file_name}" else f"{label}  ·  {file_name}"
