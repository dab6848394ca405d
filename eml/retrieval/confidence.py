"""The confidence of all intervals, unless another one is set, and a value beside its interval as text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eml.retrieval.statistics import Interval

CONFIDENCE = 0.95


def metric_text(value: float, interval: "Interval | None") -> str:
    """Return `0.633 (0.60–0.66)`; with one more digit where the interval is narrower than 0.02."""
    if interval is None or interval.low != interval.low:
        return f"{value:.3f}"
    digits = 3 if interval.high - interval.low < 0.02 else 2
    return f"{value:.3f} ({interval.low:.{digits}f}–{interval.high:.{digits}f})"
