"""`eml sweep`: runs of one config over a grid of settings, and the table of what they gave."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from eml.commands.base import (
    Caller,
    Cell,
    CommandConfig,
    CommandResult,
    Names,
    PathField,
    SummaryTable,
    command,
    option,
)
from eml.commands.next_steps import evaluate_command
from eml.commands.options import Plugins
from eml.errors import ConfigError

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.training.sweep.plan import PlannedRun
    from eml.training.sweep.results import SettingValues, SweepValues
    from eml.training.sweep.running import Failures

SWEEP = "sweep.json"
FEATURES = "features"
MANY = 3
"""From so many settings on the best of them is best by chance too, which is said."""


class SweepConfig(CommandConfig):
    """Train a config in every combination of some values, and compare the settings.

    A run for each combination goes into the sweep's folder, which eml report, plot and evaluate take. The table has
    mean and standard deviation over seeds and folds, and the paired difference to the first setting, with intervals
    over the classes of the validation. All settings are checked before anything runs. The same command goes on where
    an interrupted sweep was; finished runs are not repeated, and a run that fails loses the others nothing.
    """

    config: Annotated[PathField, Field(description="The config (YAML; eml init writes one).")]
    settings: Annotated[
        Names, Field(description="More keys to vary, as with `vary`: margin=arcface,cosface seed=0,1,2.")
    ] = ()
    vary: Names = option(
        (),
        "A key of the config and its values, such as margin=arcface,cosface or optimizer.lr.backbone=1e-4,3e-5. "
        "Repeatable; every combination is run. Runs that differ in seed or data.fold alone are averaged.",
    )
    overrides: Names = option((), "Override a key of the config in all runs. Repeatable.", name="set")
    out: Annotated[
        PathField | None, Field(description="The folder of the runs. Default: the config's output with -sweep.")
    ] = None
    stage: Literal["run", "features"] = Field(
        "run",
        description="run: whole runs. features: the network embeds the images once, without augmentation, and neck and "
        "class head alone are trained on that, in seconds a setting.",
    )
    jobs: int = Field(
        1, ge=1, description="Runs at a time, each in a process with its share of the cores, as far as memory allows."
    )
    against: Literal["first", "best"] = Field("first", description="The setting that the others are compared with.")
    csv: Annotated[PathField | None, Field(description="Write the table as CSV.")] = None
    markdown: Annotated[PathField | None, Field(description="Write the table as Markdown.")] = None
    latex: Annotated[PathField | None, Field(description="Write the table as LaTeX (booktabs).")] = None
    plot: Annotated[
        PathField | None, Field(description="Draw the settings. Default: sweep.png in the folder of the runs.")
    ] = None
    device: str | None = Field(None, description="auto, cpu, cuda, cuda:N or mps; overrides the config.")
    overwrite: bool = Field(
        False, description="Run settings anew whose run has another config, and replace a plot that is not eml's."
    )
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SweepResult(CommandResult):
    """The settings of a sweep.

    Attributes:
        folder: The folder of the runs.
        values: The settings with their runs.
        failures: Run → why it failed.
        ran: Runs that were trained now; the others were finished before.
    """

    folder: Path
    values: SweepValues
    failures: dict[str, str]
    ran: int

    @property
    def best(self) -> SettingValues | None:
        """The setting of the highest mean; None without finished runs or validation."""
        return self.values.best

    def summary(self) -> str:
        """Return the best setting and the folder."""
        best = self.best
        name = f"best: {best.name}, " if best else ""
        return f"{len(self.values.settings)} settings, {name}{self.folder}"

    def summary_table(self) -> SummaryTable:
        """Return a row for each setting."""
        return table_of(self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return what sweep.json holds."""
        values = self.values
        return {
            "folder": str(self.folder),
            "metric": values.metric,
            "measures": values.question,
            "against": values.against,
            "best": self.best.name if self.best else None,
            "settings": [setting.facts() for setting in values.settings],
            "runs": [run.facts() for setting in values.settings for run in setting.runs],
            "failures": self.failures,
        }


def table_of(values: SweepValues) -> SummaryTable:
    """Return columns and rows of a sweep's table."""
    second = [key for key in ("recall_at_1", "map_at_r") if key in values.shown and key != values.metric]
    keys = [key for key in (values.metric, *second[:1]) if key]
    columns = ["setting", "runs", *(values.shown[key] for key in keys), "difference", "seconds"]
    rows: list[list[Cell]] = []
    for setting in values.settings:
        cells = [_figure(setting.metrics.get(key)) for key in keys]
        seconds = None if setting.seconds is None else round(setting.seconds)
        rows.append([setting.name, len(setting.runs), *cells, _difference(setting, values.against), seconds])
    return columns, rows


def _figure(value: tuple[float, float | None] | None) -> str | None:
    if value is None:
        return None
    mean, spread = value
    return f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"


def _difference(setting: SettingValues, against: str) -> str | None:
    if setting.name == against:
        return "compared with"
    if (change := setting.difference) is None:
        return None
    if change.interval.low != change.interval.low:
        return f"{change.value:+.3f}"
    return f"{change.value:+.3f} ({change.interval.low:+.3f} to {change.interval.high:+.3f})"


@command(SweepConfig, arguments=("config", "settings"))
def sweep(config: SweepConfig, caller: Caller) -> SweepResult:
    """Run what is not finished, and compare the settings."""
    from eml.files import write_json
    from eml.reports.sweep import draw_sweep
    from eml.training.data import table_to_train_on
    from eml.training.sweep.feature_runs import on_features, refuse_without_effect
    from eml.training.sweep.plan import plan_runs, read_configs, refuse_changed
    from eml.training.sweep.results import gather
    from eml.training.sweep.settings import grid, read_axes

    axes = read_axes([*config.vary, *config.settings])
    settings = grid(axes)
    if len(settings) < 2:
        text = "`vary`: give a key and two values or more, such as margin=arcface,cosface"
        raise ConfigError(text, code="missing-key", parameter="vary")
    if config.stage == FEATURES:
        refuse_without_effect(axes)
    device = [f"device={config.device}"] if config.device else []
    configs = read_configs(config.config, settings, [*config.overrides, *device], config.plugins)
    if len({str((own.data.table, own.data.root, own.task)) for own in configs}) > 1:
        text = "`vary`: settings are compared on the same images and folds, so data.table, data.root, task cannot vary"
        raise ConfigError(text, code="conflicting-settings", parameter="vary")
    out = config.out or configs[0].output.with_name(f"{configs[0].output.name}-sweep")
    plot = config.plot or out / "sweep.png"
    _refuse_outputs(config, out, plot)
    table = table_to_train_on(configs[0].data, caller.note, caller.progress, task=configs[0].task)
    runs = plan_runs(configs, settings, out, table, adapt=on_features if config.stage == FEATURES else None)
    if not config.overwrite:
        refuse_changed(runs)
    write_json(out / SWEEP, {}) if not (out / SWEEP).exists() else None  # a scan knows by it that this is no class
    unfinished = [run for run in runs if run.status != "finished"]
    if done := len(runs) - len(unfinished):
        caller.note(f"{done} of {len(runs)} runs are finished and not repeated")
    failures = _run(config, unfinished, table, out, caller)
    values = gather(runs, failures, table, config.against)
    written = [out / SWEEP, *_write_tables(config, values)]
    if values.metric and values.best:
        points = [(own.name, [run.values[values.metric] for run in own.runs]) for own in values.settings]
        before = [run.before[values.metric] for own in values.settings for run in own.runs if run.before]
        written.append(draw_sweep(plot, values.shown[values.metric], values.question, points, before))
    result = SweepResult(
        folder=out,
        values=values,
        failures=failures,
        ran=len(unfinished) - len(failures),
        written=tuple(written),
        next_command=_next_command(values, table),
    )
    write_json(out / SWEEP, result.to_dict())
    return result


def _refuse_outputs(config: SweepConfig, out: Path, plot: Path) -> None:
    """Check before the work that the files can be written."""
    from eml.errors import OutputError
    from eml.files import refuse_file_name, unwritable
    from eml.models.pointers import is_run_folder
    from eml.reports.sweep import refuse_plot

    refuse_file_name(out, "a folder for the runs")
    if out.is_file() or is_run_folder(out) or (out.is_dir() and any(out.iterdir()) and not (out / SWEEP).is_file()):
        text = f"{out}: is not the folder of a sweep; give another `out`"
        raise OutputError(text, code="folder-not-empty", parameter="out")
    refuse_plot(plot, overwrite=config.overwrite)
    for name in ("csv", "markdown", "latex"):
        path = getattr(config, name)
        if path is not None and path.is_dir():
            raise OutputError(f"{path}: is a folder; give the name of a file", code="not-a-file", parameter=name)
        if path is not None and (problem := unwritable(path.parent)):
            raise OutputError(f"{problem}. Give another `{name}`", code="not-writable", parameter=name)


def _run(config: SweepConfig, runs: list[PlannedRun], table: Table, out: Path, caller: Caller) -> Failures:
    """Train the runs that are not finished."""
    from eml.threads import cores
    from eml.training.sweep.feature_runs import fit_on_features
    from eml.training.sweep.running import run_here, run_in_processes

    if not runs:
        return {}
    if config.stage == FEATURES:
        train = partial(fit_on_features, folder=out / ".features", report=caller.note, progress=caller.progress)
        with _counting(caller, len(runs)) as done:
            return run_here(runs, table, caller.note, done, train=train, command=caller.command)
    jobs = min(config.jobs, len(runs), cores())
    if jobs < min(config.jobs, len(runs)):
        caller.note(f"`jobs` {config.jobs} are more than the {cores()} cores; {jobs} runs at a time")
    with _counting(caller, len(runs)) as done:
        if jobs == 1:
            return run_here(runs, table, caller.note, done, command=caller.command)
        return run_in_processes(runs, out, jobs, caller.note, done)


@contextmanager
def _counting(caller: Caller, runs: int) -> Iterator[Callable[[], None]]:
    with caller.progress("runs", runs) as advance:
        yield lambda: advance(1)


def _write_tables(config: SweepConfig, values: SweepValues) -> list[Path]:
    from eml.reports.sweep import write_csv, write_latex, write_markdown

    columns, rows = table_of(values)
    writers = {"csv": write_csv, "markdown": write_markdown, "latex": write_latex}
    return [
        write(path, columns, rows) for name, write in writers.items() if (path := getattr(config, name)) is not None
    ]


def _next_command(values: SweepValues, table: Table) -> str | None:
    """Return the command that measures the best setting's best run on images that no setting was chosen by."""
    best = values.best
    if best is None:
        return None
    run = max(best.runs, key=lambda run: run.values[values.metric])
    following = evaluate_command(run.folder, table, run.fold)
    return following.command if following else shlex.join(["eml", "plot", *(str(run.folder) for run in best.runs)])
