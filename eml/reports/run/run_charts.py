"""Charts of a training run as inline SVG: the loss by step, and metrics by epoch."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from eml.reports.charts import BOTTOM, CHARACTER, HEIGHT, RIGHT, TOP, WIDTH, framed, grid, text_at
from eml.reports.run_logs import running_mean

Points = Sequence[tuple[float, float]]
MOST_POINTS = 400  # of a line: more than there are pixels
STEPS = (1, 2, 2.5, 5)  # times a power of ten, between the ticks of an axis


def loss_chart(
    steps: Sequence[float], losses: Sequence[float], of_labels: Sequence[float] | None = None
) -> Markup | None:
    """Draw the loss of each step pale, and its running mean; None without a step.

    Args:
        steps: The steps.
        losses: Their losses.
        of_labels: Their losses by the class labels alone, where a teacher adds to them.
    """
    if not steps:
        return None
    raw = _thin(list(zip(steps, losses, strict=True)))
    lines: list[tuple[str, Points]] = [("raw", raw)]
    for kind, values in (("line", losses), ("other", of_labels)):
        if values is not None:
            mean = list(zip(steps, running_mean(list(values)), strict=True))
            lines.append((kind, [mean[place] for place in _places(len(mean))]))
    return _lines(lines, ("step", "training loss"), "Training loss by step")


def metric_chart(lines: Sequence[tuple[str, Points]], best: float | None) -> Markup | None:
    """Draw metrics by epoch, with a mark at each validation.

    Args:
        lines: Name of a line and its points (epoch, value).
        best: The epoch of the best checkpoint, which gets a vertical line.
    """
    drawn = [("line", points) if number == 0 else ("other", points) for number, (_, points) in enumerate(lines)]
    if not any(points for _, points in drawn):
        return None
    names = [name for name, _ in lines]
    return _lines(
        drawn, ("epoch (0: before training)", " and ".join(names)), "Metrics by epoch", names=names, best=best
    )


def _lines(
    lines: Sequence[tuple[str, Points]],
    axes: tuple[str, str],
    label: str,
    *,
    names: Sequence[str] = (),
    best: float | None = None,
) -> Markup:
    """Draw lines of the given SVG classes over common axes; those with a name carry marks and their name."""
    xs, ys = ([point[axis] for _, points in lines for point in points] for axis in (0, 1))
    right = max(max(xs), min(xs) + 1)
    ticks = _ticks(min(ys), max(ys))
    low, high = ticks[0], ticks[-1]
    left = 6 + CHARACTER * max(len(f"{tick:g}") for tick in ticks)

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (x - min(xs)) / (right - min(xs)) * (WIDTH - RIGHT - left)
        return across, HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [grid(left, [((tick - low) / (high - low), f"{tick:g}") for tick in ticks])]
    if best is not None:
        parts.append(Markup('<path class="best" d="M{:.1f},{}V{}"/>').format(place(best, low)[0], TOP, HEIGHT - BOTTOM))
    for number, (kind, points) in enumerate(lines):
        at = [place(*point) for point in points]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(kind, drawn))
        if names and at:
            parts += [
                Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{:g}: {:.4f}</title></circle>').format(
                    f"dot {kind}", x, y, *point
                )
                for (x, y), point in zip(at, points, strict=True)
            ]
            x, y = at[-1]
            parts.append(
                Markup('<text class="note" text-anchor="end" x="{:.1f}" y="{:.1f}">{}</text>').format(
                    x, y - 8, names[number]
                )
            )
    parts += [
        text_at(min(place(x, low)[0], WIDTH - 12), HEIGHT - BOTTOM + 18, f"{x:,.0f}", "middle") for x in _whole(xs)
    ]
    return framed(parts, left, axes[0], axes[1], label)


def _places(count: int) -> list[int]:
    """Return at most 400 places of `count`, at even distances, with the first and the last."""
    if count <= MOST_POINTS:
        return list(range(count))
    return sorted({round(at * (count - 1) / (MOST_POINTS - 1)) for at in range(MOST_POINTS)})


def _thin(points: Points) -> Points:
    """Return at most 400 points that keep the envelope: of each stretch its lowest and highest, in order."""
    if len(points) <= MOST_POINTS:
        return points
    stretch = math.ceil(2 * len(points) / MOST_POINTS)
    kept: list[tuple[float, float]] = []
    for first in range(0, len(points), stretch):
        part = points[first : first + stretch]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return kept


def _ticks(low: float, high: float) -> list[float]:
    """Return three to seven round values that cover a range; 0 is among them where it is near."""
    low = 0.0 if 0 < low < 0.35 * high else low
    span = max(high - low, 1e-9 + abs(high) * 1e-3)
    power = 10 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (*STEPS, 10) if span / (factor * power) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def _whole(xs: Sequence[float]) -> list[float]:
    """Return whole values at even distances from the first of an axis on, at most seven."""
    low, high = math.ceil(min(xs)), math.floor(max(xs))
    step = next(
        step for power in range(12) for step in (10**power, 2 * 10**power, 5 * 10**power) if (high - low) / step <= 6
    )
    first = math.ceil(low / step) * step
    return [float(x) for x in range(first, high + 1, step)]
