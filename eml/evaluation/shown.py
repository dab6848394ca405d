"""Results of an evaluation as tables, and what to know before they are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.retrieval.confidence import metric_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from eml.evaluation.analysis import EvaluationAnalysis
    from eml.evaluation.runs import EvaluationResult


def metrics_table(results: Sequence[EvaluationResult]) -> tuple[list[str], list[list[str | int | float | None]]]:
    """Return columns and rows: a row for each metric of a single result, else a row for each result."""
    shown = results[0].analysis.evaluation.summary.shown if results else {}
    cells = [
        [metric_text(result.metrics[name], result.analysis.intervals.get(name)) for name in shown] for result in results
    ]
    if len(results) == 1:
        return ["metric", results[0].table], [[name, cell] for name, cell in zip(shown.values(), cells[0], strict=True)]
    rows = [[result.model, result.table, *row] for result, row in zip(results, cells, strict=True)]
    return ["model", "table", *shown.values()], [list(row) for row in rows]


def metrics_frame(results: Sequence[EvaluationResult]) -> pd.DataFrame:
    """Return a row for each metric of each result: model, table, metric, value, and low and high of its interval."""
    import pandas as pd

    rows = []
    for result in results:
        for name, value in result.metrics.items():
            interval = result.analysis.intervals.get(name)
            ends = (None, None) if interval is None else (interval.low, interval.high)
            rows.append([result.model, result.table, name, value, *ends])
    return pd.DataFrame(rows, columns=["model", "table", "metric", "value", "low", "high"])


def cautions_of(table: str, analysis: EvaluationAnalysis, *, several: bool = False) -> list[str]:
    """Return the lines that qualify the metrics of a model on a table.

    Args:
        table: Its name.
        analysis: The model's on the table.
        several: Whether the model is compared with others, so that what is unknown of it counts too.
    """
    lines = []
    if left_out := analysis.evaluation.summary.queries_without_positive:
        single, plural = "query has no positive of its class and is", "queries have no positive of their class and are"
        lines.append(f"{table}: {left_out:,} {single if left_out == 1 else plural} not counted")
    if any(interval.few for interval in analysis.intervals.values()):
        count = max(interval.classes for interval in analysis.intervals.values())
        classes = "class is" if count == 1 else "classes are"
        lines.append(f"{table}: {count:,} {classes} few for intervals over classes; take them as a hint")
    evaluation, comparison = analysis.evaluation, analysis.comparison
    if evaluation.calibration_mismatch:
        calibrated = evaluation.gallery_model or evaluation
        lines.append(
            f"{calibrated.name}: its calibration is of {evaluation.calibration_mismatch}, and is not applied. Evaluate "
            "it so, or calibrate it again"
        )
    if comparison or several:
        lines += evaluation.trained_on.lines(f"{evaluation.name} on {table}")
    elif evaluation.trained_on.is_recorded:
        lines += evaluation.trained_on.lines(table)
    return lines + (comparison.against_trained_on.lines(f"{comparison.against} on {table}") if comparison else [])
