"""Histograms of the cosines of image pairs, with the calibrated threshold."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.files import whole_file
from eml.models.calibration import Calibration
from eml.reports import own_plots

MADE_BY = "eml calibrate"
SAME, DIFFERENT, LINE = "#0072b2", "#d55e00", "#222222"  # distinct for colour-blind readers too (Okabe & Ito 2008)
GOALS = {
    "far": "of queries of unknown classes accepted",
    "pair_far": "of pairs of different classes accepted",
    "precision": "of accepted answers correct",
}


def refuse_plot(path: Path, *, overwrite: bool) -> None:
    """Check before the work that the plot can be written to `path`.

    Raises:
        OutputError: The name does not end in .png, is that of a folder or of a file that is not an earlier plot, or
            cannot be written.
    """
    own_plots.refuse_plot(path, MADE_BY, "plot", overwrite=overwrite)


def draw_calibration(calibration: Calibration, path: Path) -> Path:
    """Draw the cosines of pairs and the threshold as a PNG.

    The upper panel shows pairs of the same class upwards and of different classes downwards, in percent of their
    kind. The lower panel shows the same on a logarithmic scale, where the few different pairs above the threshold are
    visible.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    edges = np.array(calibration.histogram_edges)
    same, different = (
        np.array(counts) / sum(counts) * 100 for counts in (calibration.histogram_same, calibration.histogram_different)
    )
    _draw_mirrored(upper, edges, same, different)
    _draw_logarithmic(lower, edges, same, different)
    filled = np.flatnonzero(same + different)
    left, right = edges[max(0, filled[0] - 2)], edges[min(len(edges) - 1, filled[-1] + 3)]
    threshold = calibration.threshold
    for axes in (upper, lower):
        axes.axvspan(threshold.low or left, threshold.high or right, color=LINE, alpha=0.12, linewidth=0)
        axes.axvline(threshold.value, color=LINE, linewidth=1.4)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    upper.set_ylim(-different.max() * 1.08, same.max() * 1.18)  # leaves room for the text at the top
    upper.set_xlim(left, max(right, threshold.value + 0.01))
    upper.set_title(_title(calibration), fontsize=11, loc="left")
    upper.annotate(
        f"accept from {threshold.value:.4f}",
        (threshold.value, 1),
        (-4, -2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right",
        va="top",
    )
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata=own_plots.signature(MADE_BY))
    return path


def _title(calibration: Calibration) -> str:
    text = f"Threshold for {calibration.goal_value:g} {GOALS[calibration.goal]}"
    if calibration.held_out_mean is not None:
        text += f"; on held-out classes {calibration.held_out_mean:.3g}"
    text += f"\n{calibration.counts['images']:,} images of {calibration.counts['classes']:,} classes"
    trained = (calibration.trained_on or {}).get("classes")
    return f"{text}, {trained:,} of which were trained on" if trained else text


def _draw_mirrored(axes: Any, edges: NDArray[Any], same: NDArray[Any], different: NDArray[Any]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.stairs(same, edges, fill=True, color=SAME, alpha=0.8, label="same class")
    axes.stairs(-different, edges, fill=True, color=DIFFERENT, alpha=0.8, label="different classes")
    axes.axhline(0, color=LINE, linewidth=0.8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
    axes.set_ylabel("% of the pairs of a kind\n(per 0.01 of cosine)")
    axes.legend(loc="upper left", frameon=False)


def _draw_logarithmic(axes: Any, edges: NDArray[Any], same: NDArray[Any], different: NDArray[Any]) -> None:
    axes.stairs(same, edges, color=SAME, linewidth=1.6)
    axes.stairs(different, edges, color=DIFFERENT, linewidth=1.6, linestyle="--")
    axes.set_yscale("log")
    axes.set_ylabel("%, logarithmic")
    axes.set_xlabel("cosine of two images")
