"""Charts as inline SVG, 360 units wide: about the width of a phone, so that their text is as large as the page's."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from eml.reports.bins import Bin, round_step

WIDTH, HEIGHT = 360, 208
TOP, BOTTOM, RIGHT = 26, 42, 10
WIDEST = 48  # units: the largest width of a bar
CHARACTER = 6.3  # units: the mean width of a character of a label, rounded up


def bar_chart(bins: Sequence[Bin], *, horizontal: str, vertical: str, label: str) -> Markup:
    """Draw one bar per bin.

    Args:
        bins: The counts, in order.
        horizontal: Title of the horizontal axis.
        vertical: Title of the vertical axis.
        label: Description of the chart, for screen readers.
    """
    largest = max(bar.count for bar in bins)
    step = round_step(largest, 4)
    top = -(-largest // step) * step
    left = 6 + CHARACTER * len(f"{top:,}")
    width = min(WIDEST, (WIDTH - left - RIGHT) / len(bins))
    parts = [grid(left, [(value / top, f"{value:,}") for value in range(0, top + 1, step)])]
    parts += [_bar(bar, left + i * width, width, bar.count / top) for i, bar in enumerate(bins)]
    parts.append(_bottom_labels(left, width, bins))
    return framed(parts, left, horizontal, vertical, label)


def _bar(bar: Bin, x: float, width: float, share: float) -> Markup:
    """Draw a bar that covers a share of the height, at least 1.5 units unless empty, with its count as tooltip."""
    height = max(share * (HEIGHT - TOP - BOTTOM), 1.5) if bar.count else 0
    gap = min(2.0, width / 6)
    return Markup(
        '<g class="bar"><rect class="catch" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>'
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/><title>{}: {:,}</title></g>'
    ).format(
        *(x, TOP, width, HEIGHT - TOP - BOTTOM),
        *(x + gap / 2, HEIGHT - BOTTOM - height, width - gap, height),
        *(_span(bar), bar.count),
    )


def curve(points: Sequence[Sequence[float]], mark: tuple[float, float, str], *, label: str, even: str) -> Markup:
    """Draw a curve over the unit square, with the diagonal for comparison.

    Args:
        points: (x, y) from 0 to 1.
        mark: The point to mark, x and y, and its name.
        label: Description of the chart, for screen readers.
        even: Name of the diagonal.
    """
    left = 6 + CHARACTER * len("100 %")
    across, up = WIDTH - left - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x * across, HEIGHT - BOTTOM - y * up

    ticks = [(value / 4, f"{value * 25} %") for value in range(5)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    at, high = place(mark[0], mark[1])
    (x0, y0), (x1, y1), (xe, ye) = place(0, 0), place(1, 1), place(0.98, 0.04)
    parts = [
        grid(left, ticks),
        Markup('<path class="even" d="M{:.1f},{:.1f}L{:.1f},{:.1f}"/>').format(x0, y0, x1, y1),
        Markup('<polyline class="line" points="{}"/>').format(line),
        Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(at, high),
        Markup('<text class="note" x="{:.1f}" y="{:.1f}">{}</text>').format(at + 9, high + 13, mark[2]),
        text_at(xe, ye, even, "end"),
    ]
    for share, text in ticks:
        anchor = "end" if share == 1 else "middle"
        parts.append(
            text_at(left + share * across + (RIGHT - 2 if share == 1 else 0), HEIGHT - BOTTOM + 18, text, anchor)
        )
    return framed(parts, left, "share of the classes, largest first", "share of the images", label)


def framed(parts: list[Markup], left: float, horizontal: str, vertical: str, label: str) -> Markup:
    """Join the parts of a chart and add the titles of its axes.

    Args:
        parts: SVG elements.
        left: Where the plotting area begins.
        horizontal: Title of the horizontal axis.
        vertical: Title of the vertical axis.
        label: Description of the chart, for screen readers.
    """
    titles = [
        text_at(WIDTH - RIGHT, HEIGHT - 6, horizontal, "end"),
        text_at(0, 10, vertical, "start"),
    ]
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, label)
    return head + Markup("").join([*parts, *titles]) + Markup("</svg>")


def grid(left: float, ticks: Sequence[tuple[float, str]]) -> Markup:
    """Draw horizontal lines from `left` to the right edge, at each tick (share of the height, text)."""
    lines = []
    for share, text in ticks:
        y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        kind = "axis" if share == 0 else "grid"
        lines.append(Markup('<path class="{}" d="M{:.1f},{:.1f}H{}"/>').format(kind, left, y, WIDTH - RIGHT))
        lines.append(text_at(left - 5, y + 4, text, "end"))
    return Markup("").join(lines)


def _bottom_labels(left: float, width: float, bins: Sequence[Bin]) -> Markup:
    """Label the bars with their number, or with the lower end at their left edge, as far as there is room."""
    single = all(bar.low == bar.high for bar in bins)
    ends = [bar.low for bar in bins] + ([] if single else [bins[-1].high + 1])
    spans = []
    for i, end in enumerate(ends):
        half = CHARACTER * len(f"{end:,}") / 2
        middle = min(left + (i + (0.5 if single else 0)) * width, WIDTH - half)
        spans.append((middle - half, middle + half))
    shown = _choose_labels(spans, _rank_by_roundness(ends))
    return Markup("").join(text_at(sum(spans[i]) / 2, HEIGHT - BOTTOM + 18, f"{ends[i]:,}", "middle") for i in shown)


def _rank_by_roundness(ends: Sequence[int]) -> list[int]:
    """Order the ends of growing bins by roundness: powers of ten, then 3, 2 and 5 times these; return none if equal."""
    if len({high - low for low, high in pairwise(ends)}) < 2:
        return []
    digits = {i: str(end).rstrip("0") for i, end in enumerate(ends)}
    order = ["", "1", "3", "2", "5"]
    return sorted((i for i in digits if digits[i] in order), key=lambda i: order.index(digits[i]))


def _choose_labels(spans: Sequence[tuple[float, float]], first: Sequence[int]) -> list[int]:
    """Choose the labels to show, with a gap of at least 1.5 characters: those of `first` in turn, else every n-th.

    Args:
        spans: Where each label would begin and end.
        first: Indices of labels in order of preference.

    Returns:
        Indices of the labels to show, ascending.
    """
    gap = 1.5 * CHARACTER
    if not first:
        choices = (range(0, len(spans), step) for step in range(1, len(spans) + 1))
        return list(next(c for c in choices if all(spans[i][1] + gap <= spans[j][0] for i, j in pairwise(c))))
    shown: list[int] = []
    for i in first:
        if all(spans[i][1] + gap <= spans[j][0] or spans[j][1] + gap <= spans[i][0] for j in shown):
            shown.append(i)
    return sorted(shown)


def _span(bar: Bin) -> str:
    return f"{bar.low:,}" if bar.low == bar.high else f"{bar.low:,} to {bar.high:,}"


def text_at(x: float, y: float, text: Any, anchor: str) -> Markup:
    """Draw a text that starts, ends or is centred at x, by `anchor`."""
    return Markup('<text text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(anchor, x, y, text)
