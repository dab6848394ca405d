"""The curves of a training run."""

import json
from pathlib import Path
from typing import Any

from eml.files import whole_file

METRICS = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}


def draw_curves(run: Path) -> Path:
    """Loss per step and retrieval per validation of a run folder, side by side, into curves.png; returns its path."""
    from matplotlib.figure import Figure

    steps, validations = _lines(run / "steps.jsonl"), _lines(run / "metrics.jsonl")
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([line["step"] for line in steps], [line["loss"] for line in steps], color="0.8", linewidth=0.8)
    left.plot([line["step"] for line in steps], _smoothed([line["loss"] for line in steps]), color="C0")
    left.set(xlabel="step", ylabel="training loss", title="Loss, and its running mean")
    for key, name in METRICS.items():
        if validations:
            right.plot([line["epoch"] for line in validations], [line[key] for line in validations], "o-", label=name)
    right.set(xlabel="epoch (0: before training)", title="Retrieval on held-out pictures")
    if validations:
        right.legend()
    else:
        right.text(0.5, 0.5, "no validation (data.fold: null)", ha="center", transform=right.transAxes)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with whole_file(run / "curves.png") as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return run / "curves.png"


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
