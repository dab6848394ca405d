"""Charts as inline SVG, 360 units wide: about the width of a phone, so that their text stays as large as the page's."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from eml.reports.bins import round_step

WIDTH, HEIGHT = 360, 208
TOP, BOTTOM, RIGHT = 26, 42, 10
WIDEST = 48  # units, of a bar
CHARACTER = 6.3  # units: the mean width of one at the size of the labels, rounded up


def bar_chart(bins: Sequence[dict[str, int]], *, horizontal: str, vertical: str, label: str) -> Markup:
    """Bars of {from, to, count}. horizontal, vertical: what the axes are; label: what the chart shows, for readers."""
    step = round_step(max(each["count"] for each in bins), 4)
    top = -(-max(each["count"] for each in bins) // step) * step
    left = 6 + CHARACTER * len(f"{top:,}")
    wide = min(WIDEST, (WIDTH - left - RIGHT) / len(bins))
    parts = [grid(left, [(value / top, f"{value:,}") for value in range(0, top + 1, step)])]
    for i, each in enumerate(bins):
        tall = max(each["count"] / top * (HEIGHT - TOP - BOTTOM), 1.5) if each["count"] else 0
        gap = min(2.0, wide / 6)
        span = _span(each)
        parts.append(
            Markup(
                '<g class="bar"><rect class="catch" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>'
                '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/><title>{}: {:,}</title></g>'
            ).format(
                *(left + i * wide, TOP, wide, HEIGHT - TOP - BOTTOM),
                *(left + i * wide + gap / 2, HEIGHT - BOTTOM - tall, wide - gap, tall),
                *(span, each["count"]),
            )
        )
    parts.append(_bottom_labels(left, wide, bins))
    return framed(parts, left, horizontal, vertical, label)


def curve(points: Sequence[Sequence[float]], mark: tuple[float, float, str], *, label: str, even: str) -> Markup:
    """A curve over the unit square, with the diagonal to compare with and one point marked and named."""
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
    """The chart of these parts, with what its axes are; label: what it shows, for readers."""
    named = [
        text_at(WIDTH - RIGHT, HEIGHT - 6, horizontal, "end"),
        text_at(0, 10, vertical, "start"),
    ]
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, label)
    return head + Markup("").join([*parts, *named]) + Markup("</svg>")


def grid(left: float, ticks: Sequence[tuple[float, str]]) -> Markup:
    """Horizontal lines from `left` on at (share of the height, text)."""
    lines = []
    for share, text in ticks:
        y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        kind = "axis" if share == 0 else "grid"
        lines.append(Markup('<path class="{}" d="M{:.1f},{:.1f}H{}"/>').format(kind, left, y, WIDTH - RIGHT))
        lines.append(text_at(left - 5, y + 4, text, "end"))
    return Markup("").join(lines)


def _bottom_labels(left: float, wide: float, bins: Sequence[dict[str, int]]) -> Markup:
    """The number under each bar, or the lower end at its left edge; as many as there is room for."""
    single = all(each["from"] == each["to"] for each in bins)
    ends = [each["from"] for each in bins] + ([] if single else [bins[-1]["to"] + 1])
    spans = []
    for i, end in enumerate(ends):
        half = CHARACTER * len(f"{end:,}") / 2
        middle = min(left + (i + (0.5 if single else 0)) * wide, WIDTH - half)
        spans.append((middle - half, middle + half))
    shown = _with_room(spans, _roundest(ends))
    return Markup("").join(text_at(sum(spans[i]) / 2, HEIGHT - BOTTOM + 18, f"{ends[i]:,}", "middle") for i in shown)


def _roundest(ends: Sequence[int]) -> list[int]:
    """Places of the ends of bins that grow, powers of ten first, then 2, 3 and 5 times these; none for equal bins."""
    if len({high - low for low, high in pairwise(ends)}) < 2:
        return []
    digits = {i: str(end).rstrip("0") for i, end in enumerate(ends)}
    order = ["", "1", "3", "2", "5"]
    return sorted((i for i in digits if digits[i] in order), key=lambda i: order.index(digits[i]))


def _with_room(spans: Sequence[tuple[float, float]], first: Sequence[int]) -> list[int]:
    """Places of the labels to show so that a character and a half is between any two: `first` in turn, else every n-th.

    spans: where each would begin and end.
    """
    gap = 1.5 * CHARACTER
    if not first:
        tried = (range(0, len(spans), every) for every in range(1, len(spans) + 1))
        return list(next(t for t in tried if all(spans[i][1] + gap <= spans[j][0] for i, j in pairwise(t))))
    shown: list[int] = []
    for i in first:
        if all(spans[i][1] + gap <= spans[j][0] or spans[j][1] + gap <= spans[i][0] for j in shown):
            shown.append(i)
    return sorted(shown)


def _span(each: dict[str, int]) -> str:
    return f"{each['from']:,}" if each["from"] == each["to"] else f"{each['from']:,} to {each['to']:,}"


def text_at(x: float, y: float, text: Any, anchor: str) -> Markup:
    """Text that starts, ends or has its middle at x."""
    return Markup('<text text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(anchor, x, y, text)
