"""A plot of ways to compress embeddings: MAP@R against bytes per image and time per query."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eml.evaluation.compression import MeasuredChoice
from eml.files import whole_file
from eml.reports import own_plots

MADE_BY = "eml compress"
COLOURS = {"none": "#222222", "truncation": "#999999", "pca": "#0072b2", "whitening": "#d55e00"}  # Okabe & Ito 2008
MARKERS = {"float32": "o", "float16": "s", "int8": "^", "binary": "x"}
RERANKED = "+"


def refuse_plot(path: Path, *, overwrite: bool) -> None:
    """Check before the work that the plot can be written to `path`.

    Raises:
        OutputError: The name does not end in .png, is that of a folder or of a file that is not an earlier plot, or
            cannot be written.
    """
    own_plots.refuse_plot(path, MADE_BY, "plot", overwrite=overwrite)


def draw_compression(measured: Sequence[MeasuredChoice], path: Path) -> Path:
    """Draw the ways as points with their intervals; the colour is the projection, the mark how it is stored.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(10, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, of in ((left, _bytes), (right, _milliseconds)):
        for way in measured:
            _draw(axes, of(way), way)
        axes.set_xscale("log")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.axhline(measured[0].value, color=COLOURS["none"], linewidth=0.8, linestyle=":")
    right.axhline(measured[0].value, color=COLOURS["none"], linewidth=0.8, linestyle=":")
    left.set_ylabel("MAP@R, 95 % interval over classes")
    left.set_xlabel("bytes per image that are searched")
    right.set_xlabel("ms per query, compared with each of 100,000 images")
    for axis in (left.xaxis, right.xaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(_plain)
        axis.set_minor_formatter(NullFormatter())
    figure.legend(handles=_legend(measured), loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata=own_plots.signature(MADE_BY))
    return path


def _bytes(way: MeasuredChoice) -> float:
    return way.choice.bytes_per_image


def _milliseconds(way: MeasuredChoice) -> float:
    return way.milliseconds


def _plain(value: float, _: Any) -> str:
    return f"{value:,.10g}"


def _draw(axes: Any, x: float, way: MeasuredChoice) -> None:
    facts = way.choice.compression.facts
    colour = COLOURS[facts.projection]
    marker = RERANKED if way.choice.reranked else MARKERS[facts.storage]
    ends = np.array([[way.value - way.interval.low], [way.interval.high - way.value]])
    axes.errorbar(x, way.value, np.maximum(ends, 0), color=colour, linewidth=0.7, alpha=0.35, capsize=0)
    axes.plot(x, way.value, marker, color=colour, markersize=7, markerfacecolor="none", markeredgewidth=1.4)


def _legend(measured: Sequence[MeasuredChoice]) -> list[Any]:
    from matplotlib.lines import Line2D

    facts = [way.choice.compression.facts for way in measured]
    names = {"none": "as it is"}
    handles = [
        Line2D([], [], color=colour, linewidth=4, label=names.get(projection, projection))
        for projection, colour in COLOURS.items()
        if any(fact.projection == projection for fact in facts)
    ]
    marks = {**MARKERS, "bits, compared again": RERANKED}
    return handles + [
        Line2D([], [], color="#222222", marker=marker, linestyle="", markerfacecolor="none", label=storage)
        for storage, marker in marks.items()
    ]
