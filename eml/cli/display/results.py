"""The look of the results of `eml evaluate`, of one model and of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.cli.display.analysis import interval_text
from eml.retrieval.confidence import metric_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eml.evaluation.analysis import EvaluationAnalysis
    from eml.evaluation.evaluate import Evaluation
    from eml.evaluation.leaderboard import Leaderboard, LeaderboardEntry
    from eml.evaluation.runs import EvaluationResults

COMPARED = ("map_at_r", "recall_at_1", "mean_average_precision", "recall_at_10")
"""The metrics that compare several models; where there is no room, the last is left out first."""


def show_results(checkpoints: Sequence[str], evaluations: EvaluationResults, slices: Sequence[str]) -> None:
    """Print the metrics, then what else was measured of each model on each table. slices: columns to show."""
    from eml.cli.display.analysis import show_analysis
    from eml.cli.display.texts import show_text_models, show_texts

    results = evaluations.results
    if len(checkpoints) == 1:
        show_model(
            results[0].analysis.evaluation.title if results else checkpoints[0],
            evaluations.tables,
            [result.analysis for result in results],
        )
    for table, leaderboard in evaluations.leaderboards.items():
        show_models(table, leaderboard)
    for result in results:
        name = result.table if len(checkpoints) == 1 else f"{result.model}, {result.table}"
        show_analysis(name, result.analysis, slices)
        if result.analysis.text is not None and len(checkpoints) == 1:
            show_texts(name, result.analysis.text)
    for table in evaluations.leaderboards:
        own = {result.model: result.analysis.text for result in results if result.table == table}
        if texts := {model: text for model, text in own.items() if text is not None}:
            show_text_models(table, texts)


def show_model(checkpoint: str, tables: Sequence[str], analyses: Sequence[EvaluationAnalysis]) -> None:
    """Print one model: a column for each table of images."""
    from eml.cli.display import console

    shown = analyses[0].evaluation.summary.shown
    rows = [
        [
            label,
            *(
                metric_text(analysis.evaluation.summary.values[key], analysis.intervals.get(key))
                for analysis in analyses
            ),
        ]
        for key, label in shown.items()
    ]
    facts = [analysis.evaluation.facts() for analysis in analyses]
    rows += [[count, *(f"{fact[count]:,}" for fact in facts)] for count in ("queries", "classes")]
    if any("queries_drawn" in fact for fact in facts):
        rows.append(["drawn by class", *(drawn_in_words(analysis.evaluation) or "all" for analysis in analyses)])
    unknown = [fact.get("unknown_images", 0) for fact in facts]
    if any(unknown):
        rows.append(["unknown identity", *(f"{images:,}" for images in unknown)])
    rows.append(["trained on", *(analysis.evaluation.trained_on.cell() for analysis in analyses)])
    ways = ways_in_words([analysis.evaluation for analysis in analyses])
    console.table(f"{checkpoint} ({ways})" if ways else checkpoint, ["", *tables], rows)


def drawn_in_words(evaluation: Evaluation) -> str:
    """Return how many queries were drawn of how many; nothing where all were taken."""
    retrieval = evaluation.retrieval
    return f"{len(retrieval.queries):,} of {retrieval.queries_of:,}" if retrieval.queries_of else ""


def ways_in_words(evaluations: Sequence[Evaluation]) -> str:
    """Return the precision and the test-time augmentation, where they are not the usual ones: all models share them."""
    words = [word for evaluation in evaluations if evaluation.fingerprint for word in evaluation.fingerprint.ways]
    return ", ".join(dict.fromkeys(words))


def show_models(table: str, leaderboard: Leaderboard) -> None:
    """Print several models on one table, the best first; then what the best is better than."""
    from eml.cli.display import console

    entries = leaderboard.entries
    summary = entries[0].analysis.evaluation.summary
    metrics = _metrics_that_fit(entries)
    columns, rows = _metrics_table(entries, metrics)
    ways = ways_in_words([entry.analysis.evaluation for entry in entries])
    drawn = drawn_in_words(entries[0].analysis.evaluation)
    words = ", ".join(word for word in (f"drawn by class: {drawn}" if drawn else "", ways) if word)
    console.table(f"{table}: {summary.queries:,} queries{f' ({words})' if words else ''}", columns, rows)
    if left_out := [summary.shown[metric] for metric in COMPARED if metric not in metrics]:
        console.say(f"no room for {', '.join(left_out)}: in metrics.json, or in a wider terminal")
    if not leaderboard.not_compared:
        changes = [[entry.name, *_lead(entry)] for entry in entries[1:]]
        title = f"{summary.shown['map_at_r']} of the best, {entries[0].name}, against the others"
        console.table(title, ["against", "change", "95 % interval", ""], changes)
    for line in leaderboard.lines():
        console.show(line)


def _metrics_that_fit(entries: Sequence[LeaderboardEntry]) -> list[str]:
    """Return the metrics that there is room for, in the order of tables; at least one."""
    from eml.cli.display import console

    shown = entries[0].analysis.evaluation.summary.shown
    compared = [metric for metric in COMPARED if metric in shown]
    for count in range(len(compared), 1, -1):
        metrics = [metric for metric in shown if metric in compared[:count]]
        if console.fits(*_metrics_table(entries, metrics)):
            return metrics
    return compared[:1]


def _metrics_table(
    entries: Sequence[LeaderboardEntry], metrics: Sequence[str]
) -> tuple[list[str], list[list[str | int]]]:
    """Return header and rows: metrics, embedding size and, if it is known of any, what the models were trained on."""
    shown = entries[0].analysis.evaluation.summary.shown
    trained = [entry.analysis.evaluation.trained_on.short_cell() for entry in entries]
    is_known = any(cell != "unknown" for cell in trained)
    columns = ["", *(shown[metric] for metric in metrics), "D", *(["trained on"] if is_known else [])]
    rows = [
        [*_row(entry, metrics), *([cell] if is_known else [])] for entry, cell in zip(entries, trained, strict=True)
    ]
    return columns, rows


def _row(entry: LeaderboardEntry, metrics: Sequence[str]) -> list[str | int]:
    evaluation, intervals = entry.analysis.evaluation, entry.analysis.intervals
    cells = [metric_text(evaluation.summary.values[metric], intervals.get(metric)) for metric in metrics]
    return [entry.name, *cells, evaluation.size]


def _lead(entry: LeaderboardEntry) -> list[str]:
    """Return by how much the best is better than this model."""
    from eml.evaluation.comparison import verdict_on

    if (lead := entry.lead) is None:
        return ["", "", ""]
    return [f"{lead.value:+.3f}", interval_text(lead), verdict_on(lead).removeprefix("the data ")]
