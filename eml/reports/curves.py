"""The curves of training runs: of one, or of several to compare."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eml.errors import DataError
from eml.files import whole_file
from eml.reports import own_plots

METRICS = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}
MADE_BY = "eml plot"
STYLES = ("-", "--", ":", "-.")  # with the colours, so that lines are told apart without them too


def draw_curves(run: Path) -> Path:
    """Loss per step and retrieval per validation of a run folder, side by side, into curves.png; returns its path."""
    steps, validations = _lines(run / "steps.jsonl"), _lines(run / "metrics.jsonl")
    figure, left, right = _panels()
    numbers, losses = _column(steps, "step"), _column(steps, "loss")
    left.plot(numbers, losses, color="0.8", linewidth=0.8)
    left.plot(numbers, _smoothed(losses), color="C0")
    left.set(xlabel="step", ylabel="training loss", title="Loss, and its running mean")
    shown = [
        (key, (prefix + " " if prefix else "") + METRICS[name])
        for key in (validations[0] if validations else {})
        for prefix, _, name in [key.rpartition("/")]
        if name in METRICS
    ]
    for key, name in shown:
        right.plot(_column(validations, "epoch"), _column(validations, key), "o-", label=name)
    right.set(xlabel="epoch (0: before training)", title="Retrieval on held-out images")
    if shown:
        right.legend()
    else:
        right.text(0.5, 0.5, "no validation (data.fold: null)", ha="center", transform=right.transAxes)
    return _save(figure, run / "curves.png")


def check(runs: Sequence[Path], metric: str) -> None:
    """Raises DataError when a folder is no run, or no run has the metric; a single run may be without validation."""
    if missing := [run for run in runs if not (run / "run.json").is_file()]:
        raise DataError([f"{run}: is no run folder" for run in missing])
    known = {key for run in runs for line in _lines(run / "metrics.jsonl") for key in line} - {"epoch", "step"}
    if metric not in known and (known or len(runs) > 1):
        raise DataError(f"no run has the metric {metric!r}; they have {', '.join(sorted(known)) or 'no validation'}")


def draw_comparison(runs: Sequence[Path], metric: str, out: Path) -> Path:
    """Running means of the losses and one metric of several run folders, in the same two panels; returns `out`.

    Raises what `check` raises.
    """
    check(runs, metric)
    figure, left, right = _panels()
    for index, (run, name) in enumerate(zip(runs, names_of(runs), strict=True)):
        steps, validations = _lines(run / "steps.jsonl"), _lines(run / "metrics.jsonl")
        style = {"color": f"C{index % 10}", "linestyle": STYLES[index % len(STYLES)], "label": name}
        left.plot(_column(steps, "step"), _smoothed(_column(steps, "loss")), **style)
        lines = [line for line in validations if metric in line]
        right.plot(_column(lines, "epoch"), _column(lines, metric), marker="o", **style)
    left.set(xlabel="step", ylabel="training loss", title="Running mean of the loss")
    right.set(xlabel="epoch (0: before training)", title=METRICS.get(metric, metric))
    left.legend()
    return _save(figure, out)


def best_of(run: Path, metric: str) -> tuple[float | None, float | None, int | None]:
    """(value before training, best one, its epoch) of a run folder."""
    lines = [line for line in _lines(run / "metrics.jsonl") if metric in line]
    before = next((line[metric] for line in lines if line["epoch"] == 0), None)
    best = max((line for line in lines if line["epoch"] > 0), key=lambda line: line[metric], default=None)
    return before, None if best is None else best[metric], None if best is None else best["epoch"]


def names_of(runs: Sequence[Path]) -> list[str]:
    """What to call each run: as much of the end of its path as tells it from the others."""
    parts = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
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
    return [line[key] for line in lines]


def _smoothed(values: list[float], weight: float = 0.95) -> list[float]:
    """Exponential running mean, corrected for its start."""
    total, share, smooth = 0.0, 0.0, []
    for value in values:
        total, share = weight * total + (1 - weight) * value, weight * share + 1 - weight
        smooth.append(total / share)
    return smooth


def _lines(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
