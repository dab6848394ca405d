"""Curves of training runs: of one run, or of several to compare."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eml.errors import DataError, Problem
from eml.files import whole_file
from eml.json_files import read_json, read_json_lines
from eml.models.pointers import RUN_FILE, is_run_folder
from eml.reports import own_plots
from eml.training.comparable import drop_incomparable

STEPS = "steps.jsonl"
LARGEST = 1e300  # that can be drawn
METRICS = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}
MADE_BY = "eml plot"
STYLES = ("-", "--", ":", "-.")  # lines differ by style as well as by colour


class BestEpoch(NamedTuple):
    """A metric of a run: before training, and at its best epoch; None if it was not measured."""

    before: float | None
    best: float | None
    epoch: int | None


def draw_curves(run: Path) -> Path:
    """Draw the loss per step and the retrieval metrics per validation of a run folder.

    Returns:
        The path of the plot, curves.png in the run folder.
    """
    steps, validations = _read_lines(run / STEPS), _read_validations(run)
    figure, left, right = _panels()
    numbers, losses = _column(steps, "step"), _column(steps, "loss")
    left.plot(numbers, losses, color="0.8", linewidth=0.8)
    left.plot(numbers, _smooth(losses), color="C0")
    left.set(xlabel="step", ylabel="training loss", title="Loss and its running mean")
    shown = [
        (key, (prefix + " " if prefix else "") + METRICS[name])
        for key in dict.fromkeys(key for line in validations for key in line)
        for prefix, _, name in [key.rpartition("/")]
        if name in METRICS
    ]
    questions = find_questions(run)
    for key, name in shown:
        question = questions.get(key.rpartition("/")[0], "") if len(questions) > 1 else ""
        label = f"{name}: {question}" if question else name
        right.plot(_column(validations, "epoch"), _column(validations, key), "o-", label=label)
    title = f"Retrieval: {next(iter(questions.values()))}" if len(questions) == 1 else "Retrieval in validation"
    right.set(xlabel="epoch (0: before training)", title=title)
    if shown:
        right.legend()
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
    known = {key for run in runs for line in _read_lines(run / "metrics.jsonl") for key in line} - {"epoch", "step"}
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
        steps, validations = _read_lines(run / STEPS), _read_validations(run)
        style = {"color": f"C{index % 10}", "linestyle": STYLES[index % len(STYLES)], "label": name}
        left.plot(_column(steps, "step"), _smooth(_column(steps, "loss")), **style)
        lines = [line for line in validations if metric in line]
        right.plot(_column(lines, "epoch"), _column(lines, metric), marker="o", **style)
    left.set(xlabel="step", ylabel="training loss", title="Running mean of the loss")
    right.set(xlabel="epoch (0: before training)", title=METRICS.get(metric, metric))
    left.legend()
    return _save(figure, out)


def find_best(run: Path, metric: str) -> BestEpoch:
    """Return the value of a metric before training and at the best epoch of a run folder.

    Of a set that was changed on resuming, as from the epoch of the change on.
    """
    lines = [line for line in _read_validations(run) if metric in line]
    before = next((line[metric] for line in lines if line["epoch"] == 0), None)
    best = max((line for line in lines if line["epoch"] > 0), key=lambda line: line[metric], default=None)
    return BestEpoch(before, None, None) if best is None else BestEpoch(before, best[metric], best["epoch"])


def find_questions(run: Path) -> dict[str, str]:
    """Return validation set → which question it answers; {} of a run whose run.json does not say so."""
    return {name: str(facts["question"]) for name, facts in _validation_sets(run).items() if "question" in facts}


def _validation_sets(run: Path) -> dict[str, dict[str, Any]]:
    """Return validation set → what run.json says of it; {} of a run whose run.json does not."""
    try:
        sets = read_json(run / RUN_FILE, dict[str, Any]).get("validations", {})
        return {str(name): dict(facts) for name, facts in sets.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):  # run.json may be of an older eml
        return {}


def _read_validations(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, without values of images that a set no longer has."""
    sets = _validation_sets(run)
    since = {name: first for name, facts in sets.items() if _is_number(first := facts.get("since_epoch"))}
    return [drop_incomparable(line, since) for line in _read_lines(run / "metrics.jsonl")]


def name_runs(runs: Sequence[Path]) -> list[str]:
    """Name each run by the shortest end of its path that no other run shares."""
    paths = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [str(run) for run in runs]


def _panels() -> tuple[Any, Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # steps and epochs
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, left, right


def _save(figure: Any, path: Path) -> Path:
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata=own_plots.signature(MADE_BY))
    return path


def _column(lines: list[dict[str, Any]], key: str) -> list[float]:
    return [line.get(key, math.nan) for line in lines]


def _smooth(values: list[float], weight: float = 0.95) -> list[float]:
    """Compute the exponential running mean, corrected for its start."""
    total, share, smooth = 0.0, 0.0, []
    for value in values:
        total, share = weight * total + (1 - weight) * value, weight * share + 1 - weight
        smooth.append(total / share)
    return smooth


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; each has the numbers that every line of it has.

    Raises:
        DataError: The file is damaged.
    """
    if not file.is_file():
        return []
    keys = ("step", "loss") if file.name == STEPS else ("epoch",)
    try:
        lines: list[dict[str, Any]] = read_json_lines(file, dict[str, Any])
        for number, line in enumerate(lines, 1):
            if wrong := [key for key in keys if not _is_number(line.get(key))]:
                raise ValueError(f"line {number}: {wrong[0]} is no number")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read: {error}", code="damaged-file", parameter="runs") from error
    return [{key: value for key, value in line.items() if _is_number(value)} for line in lines]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
