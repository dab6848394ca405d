"""Histograms of the cosines of pairs, with the calibrated threshold: to be looked at."""

from pathlib import Path
from typing import Any

import numpy as np

from eml.files import whole_file
from eml.models.calibration import Calibration
from eml.reports import own_plots

MADE_BY = "eml calibrate"
SAME, DIFFERENT, LINE = "#0072b2", "#d55e00", "#222222"  # told apart by the colour-blind too (Okabe & Ito 2008)
GOALS = {
    "far": "of queries of unknown classes accepted",
    "pair_far": "of pairs of different classes accepted",
    "precision": "of accepted answers right",
}


def refuse_plot(path: Path, *, overwrite: bool) -> None:
    """Raises OutputError when `path` is no name of a PNG, is a file that is no earlier plot, or cannot be written."""
    own_plots.refuse_plot(path, MADE_BY, "--plot", overwrite=overwrite)


def draw_calibration(found: Calibration, path: Path) -> Path:
    """Same pairs upwards, different pairs downwards, each as a share of its kind, and the threshold; returns `path`.

    The lower panel has the shares on a logarithmic scale, where the few different pairs beyond the threshold are seen.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    edges = np.array(found.histogram_edges)
    same, different = (
        np.array(counts) / sum(counts) * 100 for counts in (found.histogram_same, found.histogram_different)
    )
    _two_sided(upper, edges, same, different)
    _logarithmic(lower, edges, same, different)
    used = np.flatnonzero(same + different)
    left, right = edges[max(0, used[0] - 2)], edges[min(len(edges) - 1, used[-1] + 3)]
    for axes in (upper, lower):
        axes.axvspan(found.threshold.low or left, found.threshold.high or right, color=LINE, alpha=0.12, linewidth=0)
        axes.axvline(found.threshold.value, color=LINE, linewidth=1.4)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    upper.set_ylim(-different.max() * 1.08, same.max() * 1.18)  # room for the words above
    upper.set_xlim(left, max(right, found.threshold.value + 0.01))
    upper.set_title(_title(found), fontsize=11, loc="left")
    upper.annotate(
        f"accept from {found.threshold.value:.4f}",
        (found.threshold.value, 1),
        (-4, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right",
        va="top",
    )
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata=own_plots.signature(MADE_BY))
    return path


def _title(found: Calibration) -> str:
    text = f"Threshold for {found.goal_value:g} {GOALS[found.goal]}"
    if found.held_out_mean is not None:
        text += f"; on held-out classes {found.held_out_mean:.3g}"
    return f"{text}\n{found.counts['images']:,} images of {found.counts['classes']:,} classes"


def _two_sided(axes: Any, edges: Any, same: Any, different: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.stairs(same, edges, fill=True, color=SAME, alpha=0.8, label="same class")
    axes.stairs(-different, edges, fill=True, color=DIFFERENT, alpha=0.8, label="different classes")
    axes.axhline(0, color=LINE, linewidth=0.8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
    axes.set_ylabel("% of the pairs of a kind\n(0.01 of cosine each)")
    axes.legend(loc="upper left", frameon=False)


def _logarithmic(axes: Any, edges: Any, same: Any, different: Any) -> None:
    axes.stairs(same, edges, color=SAME, linewidth=1.6)
    axes.stairs(different, edges, color=DIFFERENT, linewidth=1.6, linestyle="--")
    axes.set_yscale("log")
    axes.set_ylabel("%, logarithmic")
    axes.set_xlabel("cosine of two images")
