"""Answers as a notebook shows them: thumbnails with captions, in any theme. All text is escaped."""

from collections.abc import Sequence
from html import escape

from eml.images.thumbnails import Thumbnail

_FIGURE = "margin:0;width:112px;font-size:12px;line-height:1.3;overflow-wrap:anywhere"
_FRAME = "display:flex;align-items:center;justify-content:center;width:112px;height:112px;border-radius:3px"
_LINES = {True: "border:3px double currentColor", False: "border:1px solid rgba(128,128,128,.5)"}

FigureRow = tuple[Sequence[str], str]
"""The figures of a row, and a line below them, which may be empty."""


def caption_of(label: str, probability: float | None, cosine: float) -> str:
    """Return `mug · 97 %`; without a calibration the cosine."""
    sure = f"cosine {cosine:.3f}" if probability is None else percent(probability)
    return " · ".join(filter(None, [label, sure]))


def percent(probability: float) -> str:
    """Return a probability as percent, with one digit where it is near to 0 or 1; 100 % only where it is exact.

    The space does not break.
    """
    value = 100 * probability
    if 0 < value < 0.05 or 99.95 <= value < 100:
        return (
            "<\N{NO-BREAK SPACE}0.1\N{NO-BREAK SPACE}%" if value < 50 else ">\N{NO-BREAK SPACE}99.9\N{NO-BREAK SPACE}%"
        )
    digits = 1 if (value < 5 or value > 95) and value not in (0, 100) else 0
    return f"{value:.{digits}f}\N{NO-BREAK SPACE}%"


def figure_html(image: Thumbnail, name: str, caption: str, *, is_query: bool = False) -> str:
    """Return a thumbnail with its caption; name: of the file, shown when it is pointed at."""
    shown = f'<span style="font-size:11px">cannot be read ({escape(image.problem)})</span>'
    if image.source:
        style = "max-width:100%;max-height:100%;width:auto;height:auto"
        shown = f'<img src="{escape(image.source)}" alt="{escape(name)}" style="{style}">'
    return (
        f'<figure style="{_FIGURE}" title="{escape(name)}"><div style="{_FRAME};{_LINES[is_query]}">{shown}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def text_html(text: str) -> str:
    """Return a query that is a text, in the frame of an image."""
    return (
        f'<figure style="{_FIGURE}"><div style="{_FRAME};{_LINES[True]};overflow:hidden;text-align:center">'
        f"{escape(text)}</div><figcaption>query</figcaption></figure>"
    )


def answers_html(rows: Sequence[FigureRow], left_out: int, plural: str) -> str:
    """Return rows of figures; left_out: how many more there are."""
    parts = []
    for figures, line in rows:
        strip = "".join(figures)
        parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:8px;margin:8px 0">{strip}</div>{_below(line)}')
    return f"<div>{''.join(parts)}{_more(left_out, plural)}</div>"


def pairs_html(rows: Sequence[FigureRow], left_out: int, plural: str) -> str:
    """Return rows of two figures each, as many beside each other as there is room for; left_out: how many more."""
    parts = []
    for figures, line in rows:
        strip = "".join(figures)
        parts.append(f'<div style="width:232px"><div style="display:flex;gap:8px">{strip}</div>{_below(line)}</div>')
    grid = f'<div style="display:flex;flex-wrap:wrap;gap:12px 24px;margin:8px 0">{"".join(parts)}</div>'
    return f"<div>{grid}{_more(left_out, plural)}</div>"


def _below(line: str) -> str:
    return f'<p style="margin:2px 0">{escape(line)}</p>' if line else ""


def _more(left_out: int, plural: str) -> str:
    return f"<p>and {left_out:,} more {escape(plural)}</p>" if left_out else ""
