"""The report's charts: CMC, ROC and histograms of similarity, as inline SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eml.reports.charts import BOTTOM, CHARACTER, HEIGHT, RIGHT, TOP, WIDTH, framed, grid, text_at
from eml.reports.evaluation.similarity import NearestSimilarities
from eml.retrieval.verification import TAR

Floats = NDArray[np.float64]
MOST_POINTS = 200  # of a curve
BINS = 40
WIDTHS = (0.005, 0.01, 0.02, 0.05)  # of a bin of similarities


def cmc_points(ranks: Floats, gallery: int) -> list[tuple[float, float]]:
    """Return (K, R@K): the share of queries with a positive among the K nearest. ranks: (Q,), NaN is not counted."""
    ranks = np.sort(ranks[np.isfinite(ranks)])
    last = max(1, gallery)
    ks = np.unique(np.rint(np.geomspace(1, last, min(last, MOST_POINTS))).astype(int))
    shares = np.searchsorted(ranks, ks, side="right") / len(ranks)
    return list(zip(ks.tolist(), shares.tolist(), strict=True))


def cmc_chart(points: Sequence[tuple[float, float]]) -> Markup:
    """Draw R@K over K on a logarithmic axis."""
    last = points[-1][0]
    marks = [(k, dict(points).get(k, math.nan), f"R@{k:g}") for k in (1,)]
    marks = [(k, value, f"{name} {percent(value)}") for k, value, name in marks if not math.isnan(value)]
    ticks = [(10.0**power, f"{10**power:,}") for power in range(int(math.log10(last)) + 1)]
    return log_chart(
        points,
        ticks,
        (1, max(last, 1.001)),
        marks,
        ("K", "R@K"),
        "Share of the queries with a positive among K nearest",
    )


def roc_chart(roc: Mapping[str, Sequence[float]], rates: Mapping[float, float]) -> Markup:
    """Draw the true accept rate over the false accept rate, on a logarithmic axis. rates: FAR → TAR, to mark."""
    far, tar = (np.asarray(roc[key], float) for key in ("false_accept_rate", "true_accept_rate"))
    low = 10.0 ** max(-6, math.floor(math.log10(max(far[far > 0].min(initial=1), 1e-6)) + 1e-9))
    low = min(low, 0.1)
    start = tar[far <= low].max(initial=0)
    points = [(low, float(start)), *((x, y) for x, y in zip(far.tolist(), tar.tolist(), strict=True) if x > low)]
    ticks = [(10.0**power, f"1e{power}" if power else "1") for power in range(round(math.log10(low)), 1)]
    marks = [(rate, value, percent(value)) for rate, value in sorted(rates.items()) if rate >= low]
    return log_chart(
        points, ticks, (low, 1), marks, ("false accept rate", "true accept rate"), "Accepted pairs of one class"
    )


def log_chart(
    points: Sequence[tuple[float, float]],
    ticks: Sequence[tuple[float, str]],
    span: tuple[float, float],
    marks: Sequence[tuple[float, float, str]],
    axes: tuple[str, str],
    label: str,
) -> Markup:
    """Draw shares over a logarithmic axis; the vertical axis starts at a round share below all points."""
    floor = _floor(min(y for _, y in points))
    left = 6 + CHARACTER * len("97.5 %")

    def place(x: float, y: float) -> tuple[float, float]:
        along = (math.log(x) - math.log(span[0])) / (math.log(span[1]) - math.log(span[0]))
        return left + along * (WIDTH - left - RIGHT), HEIGHT - BOTTOM - (y - floor) / (1 - floor) * (
            HEIGHT - TOP - BOTTOM
        )

    step = (1 - floor) / 4
    parts = [grid(left, [(at / 4, tick(floor + at * step)) for at in range(5)])]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    parts.append(Markup('<polyline class="line" points="{}"/>').format(line))
    for x, y, text in marks:
        at, high = place(x, y)
        below = high + 15 < HEIGHT - BOTTOM - 4
        parts.append(Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(at, high))
        parts.append(Markup('<text class="note" x="{:.1f}" y="{:.1f}">{}</text>').format(
            at + 7, high + 15 if below else high - 9, text
        ))  # fmt: skip
    room = -math.inf
    for x, text in ticks:
        at, half = place(x, floor)[0], CHARACTER * len(text) / 2
        at = min(at, WIDTH - half)
        if at - half > room:
            parts.append(text_at(at, HEIGHT - BOTTOM + 18, text, "middle"))
            room = at + half + CHARACTER
    named = axes[1] if floor == 0 else f"{axes[1]} (axis starts at {tick(floor)})"
    return framed(parts, left, axes[0], named, label)


def _floor(lowest: float) -> float:
    return next(floor for floor in (0.96, 0.9, 0.8, 0.6, 0.0) if lowest >= floor + (0.01 if floor else 0))


def percent(value: float) -> str:
    """`97.0 %`."""
    return f"{100 * value:.1f} %"


def tick(value: float) -> str:
    """`97 %`, `97.5 %`."""
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def histogram_bins(nearest: NearestSimilarities) -> tuple[Floats, Floats, Floats]:
    """Return the edges (B+1,) and the shares of queries (B,) by `same_class` and by `other_class`.

    A query without an image of a kind is in no bin.
    """
    same, different = (values[np.isfinite(values)] for values in (nearest.same_class, nearest.other_class))
    both = np.concatenate([same, different])
    low, high = float(both.min()), min(1.0, float(both.max()))
    width = next((width for width in WIDTHS if (high - low) / width <= BINS - 2), WIDTHS[-1])
    first = math.floor(low / width + 1e-9)
    edges: Floats = np.asarray(np.arange(first, max(first + 1, math.ceil(high / width - 1e-9)) + 1) * width, np.float64)
    inside = [np.clip(values, edges[0], edges[-1]) for values in (same, different)]  # a cosine of 1.0000001
    counts = [np.histogram(values, edges)[0] / max(1, len(values)) for values in inside]
    return edges, counts[0], counts[1]


def similarity_chart(nearest: NearestSimilarities, threshold: float | None = None) -> Markup:
    """Draw two histograms: a filled area for the query's own class, a dashed outline for another."""
    edges, same, different = histogram_bins(nearest)
    top = _round_up(float(max(same.max(), different.max())))
    left = 6 + CHARACTER * max(len(tick(top * at / 4)) for at in range(5))
    wide = (WIDTH - left - RIGHT) / len(same)
    base = HEIGHT - BOTTOM

    def outline(shares: Floats) -> str:
        steps = "".join(f"V{base - share / top * (base - TOP):.1f}h{wide:.2f}" for share in shares)
        return f"M{left:.1f},{base}{steps}V{base}"

    parts = [grid(left, [(at / 4, tick(top * at / 4)) for at in range(5)])]
    parts.append(
        Markup('<path class="own" d="{}"/><path class="other" d="{}"/>').format(outline(same), outline(different))
    )
    for at, (own_share, other_share) in enumerate(zip(same, different, strict=True)):
        parts.append(
            Markup(
                '<g class="bar"><rect class="catch" x="{:.1f}" y="{}" width="{:.2f}" height="{}"/>'
                "<title>{:.3g} to {:.3g}: own class {}, another {}</title></g>"
            ).format(
                *(left + at * wide, TOP, wide, base - TOP),
                *(edges[at], edges[at + 1], percent(float(own_share)), percent(float(other_share))),
            )
        )
    parts += _similarity_labels(edges, left, wide)
    if threshold is not None and edges[0] <= threshold <= edges[-1]:
        x = left + (threshold - edges[0]) / (edges[1] - edges[0]) * wide
        parts.append(Markup('<path class="threshold" d="M{:.1f},{}V{}"/>').format(x, TOP, base))
    return framed(parts, left, "similarity", "share of the queries", "Similarity of the nearest images")


def _similarity_labels(edges: Floats, left: float, wide: float) -> list[Markup]:
    """Label every edge that is a multiple of a step for which there is room."""
    width = float(edges[1] - edges[0])
    span = float(edges[-1] - edges[0])
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2) if span / step <= 7)
    ticks = np.arange(math.ceil(edges[0] / step - 1e-9), math.floor(edges[-1] / step + 1e-9) + 1) * step
    return [
        text_at(
            min(left + (value - edges[0]) / width * wide, WIDTH - 12), HEIGHT - BOTTOM + 18, f"{value:.2f}", "middle"
        )
        for value in (ticks + 0.0).tolist()
    ]


def _round_up(share: float) -> float:
    return next(top for top in (0.02, 0.04, 0.08, 0.12, 0.2, 0.4, 0.6, 0.8, 1.0) if share <= top)


def roc_rates(values: Mapping[str, Any]) -> dict[float, float]:
    """Return FAR → TAR from values with names such as tar_at_far_1e-3."""
    return {float(name.removeprefix(TAR)): float(value) for name, value in values.items() if name.startswith(TAR)}
