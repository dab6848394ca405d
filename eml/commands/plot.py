"""`eml plot`: the curves of runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, Paths, SummaryTable, command
from eml.commands.options import Overwrite


class PlotConfig(CommandConfig):
    """Draw the curves of a training run, or compare those of several.

    One run: loss per step, R@1 and MAP@R per validation. Several: the running mean of their losses, and the metric.
    Works on runs that are still going.
    """

    runs: Annotated[Paths, Field(description="Run folders.")]
    metric: str = Field("map_at_r", description="What to compare, such as map_at_r, recall_at_1 or R@1.")
    out: Annotated[
        PathField | None, Field(description="The plot. Default: RUN/curves.png, of several comparison.png.")
    ] = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class BestValue:
    """A metric of a run, before training and at its best; None where it was not measured.

    Attributes:
        before: Its value of the untrained network.
        best: Its best value.
        epoch: Of the best value.
        question: What it measures, such as `unseen classes`; None where the run does not say so.
    """

    before: float | None
    best: float | None
    epoch: int | None
    question: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PlotResult(CommandResult):
    """The plot, and the best value of each run."""

    metric: str
    runs: dict[str, BestValue]

    def summary(self) -> str:
        """Return the best value of each run, and the plot."""
        values = ", ".join(f"{name}: {run.best}" for name, run in self.runs.items())
        return f"{self.metric} of {values}, {self.written[0]}"

    def summary_table(self) -> SummaryTable:
        """Return a row for each run."""

        def digits(value: float | None) -> str | None:
            return None if value is None else f"{value:.4f}"

        rows = [
            [name, digits(run.before), digits(run.best), run.epoch, run.question] for name, run in self.runs.items()
        ]
        return ["run", "before training", "best", "epoch", "measures"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the best values and the file."""
        runs = {name: asdict(run) for name, run in self.runs.items()}
        return {"metric": self.metric, "runs": runs, "written": str(self.written[0])}


@command(PlotConfig, arguments=("runs",))
def plot(config: PlotConfig, caller: Caller) -> PlotResult:
    """Draw one run's curves, or several runs beside each other."""
    from eml.reports.curves import MADE_BY, check_runs, draw_comparison, draw_curves
    from eml.reports.own_plots import refuse_plot
    from eml.reports.run_logs import find_best, find_questions, name_runs
    from eml.retrieval.metrics import metric_key

    metric = metric_key(config.metric)
    check_runs(config.runs, metric)
    if len(config.runs) == 1 and config.out is None:
        replaced = (config.runs[0] / "curves.png").exists()
        path = draw_curves(config.runs[0])
    else:
        target = config.out or Path("comparison.png")
        refuse_plot(target, MADE_BY, "out", overwrite=config.overwrite)
        replaced = target.exists()
        path = draw_comparison(config.runs, metric, target)
    best = {
        name: BestValue(*find_best(run, metric), find_questions(run).get(metric.rpartition("/")[0]))
        for name, run in zip(name_runs(config.runs), config.runs, strict=True)
    }
    return PlotResult(metric=metric, runs=best, written=(path,), replaced=(path,) if replaced else ())
