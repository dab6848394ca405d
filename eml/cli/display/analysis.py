"""How intervals, slices and comparisons are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eml.evaluation.analysis import EvaluationAnalysis
    from eml.evaluation.comparison import Comparison
    from eml.evaluation.slices import Slice, Slices
    from eml.retrieval.statistics import Difference, Interval

IN_SLICES = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}
IF_ROOM = {"global_average_precision": "GAP"}


def with_interval(value: float, interval: Interval | None) -> str:
    """`0.633 (0.60–0.66)`; with one more digit where the interval is narrower than 0.02."""
    if interval is None or interval.low != interval.low:
        return f"{value:.3f}"
    digits = 3 if interval.high - interval.low < 0.02 else 2
    return f"{value:.3f} ({interval.low:.{digits}f}–{interval.high:.{digits}f})"


def show_slices(found: Slices, columns: Sequence[str]) -> None:
    """A table for each column that was asked for, and why there is none."""
    from eml.cli.display import console

    for title in dict.fromkeys(columns):
        if title in found.slices:
            _show_slice(f"by {title}", found.slices[title])
        elif title in found.left_out:
            console.say(f"no slices by {title}: {found.left_out[title]}")


def _show_slice(title: str, parts: Sequence[Slice]) -> None:
    from eml.cli.display import console

    for metrics in (IN_SLICES | IF_ROOM, IN_SLICES):
        columns = ["", "queries", "classes", *metrics.values()]
        rows = [_row(each, list(metrics)) for each in parts]
        if console.fits(columns, rows):
            break
    console.table(title, columns, rows)


def _row(each: Slice, metrics: Sequence[str]) -> list[str | int]:
    cells = [with_interval(each.values[metric], each.intervals.get(metric)) for metric in metrics]
    return [each.name, each.queries, each.classes, *cells]


def show_comparison(found: Comparison) -> None:
    """The difference of every metric, what it says, and the classes that changed most."""
    from eml.cli.display import console
    from eml.evaluation.comparison import verdict_on

    if found.alike:
        console.say(found.lines()[0])
        return
    rows = [
        [
            found.shown[metric],
            f"{each.before:.3f}",
            f"{each.after:.3f}",
            f"{each.value:+.3f}",
            interval_of(each),
            verdict_on(each).removeprefix("the data "),
        ]
        for metric, each in found.differences.items()
    ]
    columns = ["", "against", "this", "change", "95 % interval", ""]
    console.table(f"{found.name}, against {found.against}", columns, rows)
    for line in found.lines():
        console.say(line)
    for what, classes in (("gained", found.gained), ("lost", found.lost)):
        if classes:
            told = ", ".join(f"{each.label} {each.after - each.before:+.2f}" for each in classes[:5])
            console.say(f"{what} most in MAP@R: {told}")


def interval_of(change: Difference) -> str:
    """`-0.042 to -0.022`; nothing where no query changed."""
    return "" if change.alike else f"{change.interval.low:+.3f} to {change.interval.high:+.3f}"


def show_findings(name: str, found: EvaluationAnalysis, columns: Sequence[str]) -> None:
    """What there is beyond the metrics. name: of the table, and of several models the model's before it."""
    from eml.cli.display import console

    show_slices(found.slices, columns)
    measured = _measured(found)
    if measured:
        console.table("", [name, ""], measured)
    if found.acceptance:
        rows = [[key.replace("_", " "), _figure(value)] for key, value in found.acceptance.items()]
        console.table("", ["by the calibrated threshold", ""], rows)
    if found.evaluation.calibrated_here:
        console.warn(f"{name}: the threshold was chosen on this table, which flatters what it accepts and refuses")
    if found.comparison:
        show_comparison(found.comparison)


def warnings_of(table: str, found: EvaluationAnalysis) -> list[str]:
    """What to be careful about, in the figures of a model on a table."""
    from eml.cli.display import console

    lines = []
    if left_out := found.evaluation.summary.queries_without_positive:
        told = console.count(
            left_out, "query has no positive of its class and is", "queries have no positive of their class and are"
        )
        lines.append(f"{table}: {told} not counted")
    if any(each.few for each in found.intervals.values()):
        count = max(each.classes for each in found.intervals.values())
        told = console.count(count, "class is", "classes are")
        lines.append(f"{table}: {told} few for intervals over classes; take them as a hint")
    return lines


def _measured(found: EvaluationAnalysis) -> list[list[str]]:
    """A row for each value of verification and clustering."""
    if not found.verification and not found.clustering:
        return []
    from eml.retrieval.clustering import SHOWN
    from eml.retrieval.verification import shown

    rows = [[shown(name), _figure(value)] for name, value in found.verification.items()]
    return rows + [[SHOWN[name], _figure(value)] for name, value in found.clustering.items()]


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
