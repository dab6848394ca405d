"""Histograms of what a threshold is calibrated for, and the reliability of the probability of answers."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eml.files import whole_file
from eml.models.calibration import Calibration
from eml.reports import own_plots
from eml.retrieval.answer_calibration import AnswerCalibration

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
    """Draw the cosines that the goal is about and the threshold as a PNG, and beside them the reliability of answers.

    For `pair_far` they are those of pairs, of the same class upwards and of different classes downwards; for `far` and
    `precision` those of queries and their nearest image, of known classes upwards and of unknown ones downwards; in
    percent of their kind. The lower panel shows the same on a logarithmic scale, where the few errors above the
    threshold are visible.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    answers = calibration.answers
    figure = Figure(figsize=(9 if answers is None else 14, 6), layout="constrained")
    parts: Any = [figure] if answers is None else figure.subfigures(1, 2, width_ratios=[9, 5])
    upper, lower = parts[0].subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _draw_histograms(calibration, upper, lower)
    if answers is not None:
        draw_reliability(answers, parts[1].subplots())
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata=own_plots.signature(MADE_BY))
    return path


def draw_reliability(answers: AnswerCalibration, axes: Any) -> None:
    """Draw the share of right answers against their probability, with its interval over classes, on held-out classes.

    The area of a point grows with the number of answers; bins whose interval does not hold the diagonal are open.
    """
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=0.8, linestyle=":")
    most = max(bin_.answers for bin_ in answers.bins)
    for bin_ in answers.bins:
        low, high = bin_.right.low, bin_.right.high
        if low is not None and high is not None:
            axes.plot([bin_.probability] * 2, [low, high], color=SAME, linewidth=1.4)
        fill = "white" if bin_.is_off else SAME
        size = 20 + 180 * bin_.answers / most
        axes.scatter(bin_.probability, bin_.right.value, s=size, facecolor=fill, edgecolor=SAME, zorder=3)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="probability", ylabel="share of right answers", aspect=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    error = answers.ece
    span = "" if error.low is None else f" ({error.low:.3f} … {error.high:.3f})"
    title = f"Probability that an answer is right\nerror on held-out classes {error.value:.3f}{span}"
    axes.set_title(title, fontsize=11, loc="left")


def _draw_histograms(calibration: Calibration, upper: Any, lower: Any) -> None:
    edges = np.array(calibration.histogram_edges)
    counts, names = _shown(calibration)
    same, different = (np.array(numbers) / max(1, sum(numbers)) * 100 for numbers in counts)
    _draw_mirrored(upper, edges, same, different, names)
    _draw_logarithmic(lower, edges, same, different)
    lower.set_xlabel(names.cosine)
    upper.set_ylabel(f"% of the {names.kind} of a kind\n(per 0.01 of cosine)")
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


class HistogramNames(NamedTuple):
    """The names of what two histograms show."""

    above: str
    below: str
    kind: str
    cosine: str


PAIRS = HistogramNames("same class", "different classes", "pairs", "cosine of two images")
QUERIES = HistogramNames("known class", "unknown class", "queries", "cosine of a query and its nearest image")


def _shown(calibration: Calibration) -> tuple[tuple[list[int], list[int]], HistogramNames]:
    """Return the two histograms that the goal is about; those of pairs where an earlier eml kept no others."""
    known, unknown = calibration.histogram_known, calibration.histogram_unknown
    if calibration.goal == "pair_far" or known is None or unknown is None:
        return (calibration.histogram_same, calibration.histogram_different), PAIRS
    return (known, unknown), QUERIES


def _title(calibration: Calibration) -> str:
    text = f"Threshold for {calibration.goal_value:g} {GOALS[calibration.goal]}"
    if calibration.held_out_mean is not None:
        text += f"; on held-out classes {calibration.held_out_mean:.3g}"
    text += f"\n{calibration.counts['images']:,} images of {calibration.counts['classes']:,} classes"
    trained = (calibration.trained_on or {}).get("classes")
    return f"{text}, {trained:,} of which were trained on" if trained else text


def _draw_mirrored(
    axes: Any, edges: NDArray[Any], same: NDArray[Any], different: NDArray[Any], names: HistogramNames
) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.stairs(same, edges, fill=True, color=SAME, alpha=0.8, label=names.above)
    axes.stairs(-different, edges, fill=True, color=DIFFERENT, alpha=0.8, label=names.below)
    axes.axhline(0, color=LINE, linewidth=0.8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
    axes.legend(loc="upper left", frameon=False)


def _draw_logarithmic(axes: Any, edges: NDArray[Any], same: NDArray[Any], different: NDArray[Any]) -> None:
    axes.stairs(same, edges, color=SAME, linewidth=1.6)
    axes.stairs(different, edges, color=DIFFERENT, linewidth=1.6, linestyle="--")
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda percent, _: f"{percent:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("%, logarithmic")
