"""How the results of `eml evaluate` are shown, of one model and of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.cli.display.analysis import interval_of, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eml.evaluation.analysis import EvaluationAnalysis
    from eml.evaluation.leaderboard import Leaderboard, LeaderboardEntry
    from eml.evaluation.runs import EvaluationResults

COMPARED = ("map_at_r", "recall_at_1", "mean_average_precision", "recall_at_10")
"""What several models are compared by, what is left out first last."""
LONGEST = 30  # characters of a name that are kept in one line at the cost of a metric


def show_results(checkpoints: Sequence[str], results: EvaluationResults, slices: Sequence[str]) -> None:
    """The metrics, then for each model and table what else was found, and the files. slices: columns asked for."""
    from eml.cli.display import console
    from eml.cli.display.analysis import show_findings, warnings_of

    if len(checkpoints) == 1:
        show_model(checkpoints[0], results.tables, [each.analysis for each in results.results])
    for table, leaderboards in results.leaderboards.items():
        show_models(table, leaderboards)
    for each in results.results:
        of = each.table if len(checkpoints) == 1 else f"{each.model}, {each.table}"
        show_findings(of, each.analysis, slices)
    for warning in dict.fromkeys(line for each in results.results for line in warnings_of(each.table, each.analysis)):
        console.warn(warning)  # once, where it is true of several models
    for each in results.results:
        console.written(each.files, each.replaced)


def show_model(checkpoint: str, names: Sequence[str], done: Sequence[EvaluationAnalysis]) -> None:
    """One model: a column for each table of images."""
    from eml.cli.display import console

    shown = done[0].evaluation.summary.shown
    rows = [
        [label, *(with_interval(each.evaluation.summary.values[key], each.intervals.get(key)) for each in done)]
        for key, label in shown.items()
    ]
    facts = [each.evaluation.facts() for each in done]
    rows += [[count, *(f"{each[count]:,}" for each in facts)] for count in ("queries", "classes")]
    console.table(checkpoint, ["", *names], rows)


def show_models(table: str, found: Leaderboard) -> None:
    """Several models on one table of images: a line for each, the best first; then what the best is better than."""
    from eml.cli.display import console

    summary = found.entries[0].analysis.evaluation.summary
    kept = _metrics_that_fit(found.entries)
    columns = ["", *(summary.shown[metric] for metric in kept), "D"]
    rows = [_row(each, kept, each.name) for each in found.entries]
    console.table(f"{table}: {summary.queries:,} queries", columns, rows)
    if left_out := [summary.shown[metric] for metric in COMPARED if metric not in kept]:
        console.say(f"no room for {', '.join(left_out)}: in metrics.json, or in a wider terminal")
    if not found.not_compared:
        changes = [[each.name, *_change(each)] for each in found.entries[1:]]
        title = f"{summary.shown['map_at_r']} against the best, {found.entries[0].name}"
        console.table(title, ["", "change", "95 % interval", ""], changes)
    for line in found.lines():
        console.say(line)


def _metrics_that_fit(models: Sequence[LeaderboardEntry]) -> list[str]:
    """In the order of tables; at least one."""
    from eml.cli.display import console

    shown = models[0].analysis.evaluation.summary.shown
    wanted = [metric for metric in COMPARED if metric in shown]
    for count in range(len(wanted), 1, -1):
        kept = [metric for metric in shown if metric in wanted[:count]]
        rows = [_row(each, kept, each.name[:LONGEST]) for each in models]
        if console.fits(["", *(shown[metric] for metric in kept), "D"], rows):
            return kept
    return wanted[:1]


def _row(each: LeaderboardEntry, metrics: Sequence[str], name: str) -> list[str | int]:
    evaluation, intervals = each.analysis.evaluation, each.analysis.intervals
    cells = [with_interval(evaluation.summary.values[metric], intervals.get(metric)) for metric in metrics]
    return [name, *cells, evaluation.size]


def _change(each: LeaderboardEntry) -> list[str]:
    if each.change is None:
        return ["", "", ""]
    return [f"{each.change.value:+.3f}", interval_of(each.change), each.verdict.removeprefix("the data ")]
