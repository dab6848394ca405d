"""Curves of training runs: of one run, or of several to compare."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eml.errors import DataError, Problem
from eml.files import whole_file
from eml.models.pointers import is_run_folder
from eml.reports import own_plots
from eml.reports.run_logs import METRICS, STEPS, find_questions, name_runs, read_lines, read_validations, running_mean
from eml.retrieval.metrics import BY_TEXTS

SHOWN = {"recall_at_1": "R@1", "map_at_r": "MAP@R", **BY_TEXTS}
CLASS_LOSS = "class_loss"  # of a step, where the whole loss has what a teacher says too
MADE_BY = "eml plot"
PAPER, INK, QUIET, LINE = "#fcfcfa", "#1d1f21", "#5c6167", "#dedfdb"  # as on the pages (style.css)
BLUE = "#0b6aa8"
COLOURS = (BLUE, "#b34700", "#2e7d32", "#8e24aa", "#c2185b", "#6f5f00", "#00796b", "#6d4c41")
STYLES = ("-", "--", ":", "-.")  # lines differ by style as well as by colour


def draw_curves(run: Path) -> Path:
    """Draw the loss per step and the retrieval metrics per validation of a run folder.

    Returns:
        The path of the plot, curves.png in the run folder.
    """
    steps, validations = read_lines(run / STEPS), read_validations(run)
    figure, left, right = _panels()
    numbers, losses = _column(steps, "step"), _column(steps, "loss")
    left.plot(numbers, losses, color=BLUE, linewidth=0.9, alpha=0.35)
    left.plot(numbers, running_mean(losses), color=BLUE, linewidth=2, label="whole loss")
    if any(CLASS_LOSS in line for line in steps):
        own = running_mean(_column(steps, CLASS_LOSS))
        left.plot(numbers, own, color=COLOURS[1], linestyle=STYLES[1], label="of the class labels alone")
        left.legend(frameon=False, labelcolor=INK)
    _label(left, "Training loss, and its mean around each step", "step")
    shown = [
        (key, (prefix + " " if prefix else "") + SHOWN[name])
        for key in dict.fromkeys(key for line in validations for key in line)
        for prefix, _, name in [key.rpartition("/")]
        if name in SHOWN
    ]
    questions = find_questions(run)
    for number, (key, name) in enumerate(shown):
        question = questions.get(key.rpartition("/")[0], "") if len(questions) > 1 else ""
        label = f"{name}: {question}" if question else name
        style = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number // len(COLOURS) % len(STYLES)]}
        right.plot(_column(validations, "epoch"), _column(validations, key), marker="o", label=label, **style)
    title = f"Retrieval: {next(iter(questions.values()))}" if len(questions) == 1 else "Retrieval in validation"
    _label(right, title, "epoch (0: before training)")
    if shown:
        right.legend(frameon=False, labelcolor=INK)
    else:
        right.text(0.5, 0.5, "no validation (data.fold: null)", ha="center", transform=right.transAxes)
    return _save(figure, run / "curves.png")


def check_runs(runs: Sequence[Path], metric: str) -> None:
    """Check that the folders are runs and that one of them has the metric; a single run needs no validation.

    Raises:
        DataError: A folder is not a run, or no run has the metric.
    """
    if missing := [run for run in runs if not is_run_folder(run)]:
        raise DataError([Problem(f"{run}: is not a run folder", "not-a-run", "runs") for run in missing])
    known = {key for run in runs for line in read_lines(run / METRICS) for key in line} - {"epoch", "step"}
    if metric not in known and (known or len(runs) > 1):
        text = f"no run has the metric {metric!r}; known: {', '.join(sorted(known)) or 'none, without validation'}"
        raise DataError(text, code="unknown-choice", parameter="metric")


def draw_comparison(runs: Sequence[Path], metric: str, out: Path) -> Path:
    """Draw the running means of the losses and one metric of several run folders.

    Returns:
        `out`.

    Raises:
        DataError: See `check_runs`.
    """
    check_runs(runs, metric)
    figure, left, right = _panels()
    for index, (run, name) in enumerate(zip(runs, name_runs(runs), strict=True)):
        steps, validations = read_lines(run / STEPS), read_validations(run)
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index % len(STYLES)], "label": name}
        left.plot(_column(steps, "step"), running_mean(_column(steps, "loss")), **style)
        lines = [line for line in validations if metric in line]
        right.plot(_column(lines, "epoch"), _column(lines, metric), marker="o", **style)
    _label(left, "Training loss: mean around each step", "step")
    _label(right, SHOWN.get(metric, metric), "epoch (0: before training)")
    left.legend(frameon=False, labelcolor=INK)
    return _save(figure, out)


def _panels() -> tuple[Any, Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained", facecolor=PAPER)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # steps and epochs
        axes.set_facecolor(PAPER)
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(QUIET)
        axes.tick_params(colors=QUIET, length=0)
    return figure, left, right


def _label(axes: Any, title: str, horizontal: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.set_xlabel(horizontal, color=QUIET, loc="right")


def _save(figure: Any, path: Path) -> Path:
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata=own_plots.signature(MADE_BY))
    return path


def _column(lines: list[dict[str, Any]], key: str) -> list[float]:
    return [line.get(key, math.nan) for line in lines]
