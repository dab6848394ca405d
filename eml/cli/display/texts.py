"""The look of what an evaluation measured with texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.cli.display.analysis import interval_text, metric_text

if TYPE_CHECKING:
    from eml.evaluation.texts.adapting import AdaptedClasses
    from eml.evaluation.texts.measures import TextMeasures, TextRetrieval, ZeroShot
    from eml.retrieval.statistics import Interval

MOST_CLASSES = 5


def show_texts(name: str, measures: TextMeasures) -> None:
    """Print retrieval by texts and zero-shot accuracy, each beside chance. name: the table, perhaps with its model."""
    captions, classes = measures.embedded.texts.captions, measures.embedded.texts.classes
    if captions is not None:
        title = f"{name}, by {' and '.join(captions.columns)}"
        _show_retrieval(
            title, {"text → image": measures.captions_to_images, "image → text": measures.images_to_captions}
        )
    if classes is None:
        return
    _show_retrieval(f"{name}, by the texts of the classes", {"text → image": measures.classes_to_images})
    if measures.zero_shot is not None:
        _show_zero_shot(name, measures.zero_shot, measures.adapted)
    if classes.equal_texts:
        from eml.cli.display import console

        labels = ", ".join(classes.equal_texts[0])
        more = f", and {len(classes.equal_texts) - 1:,} more groups" if len(classes.equal_texts) > 1 else ""
        console.warn(f"{name}: no text tells these classes apart, since theirs are the same: {labels}{more}")


def _show_retrieval(title: str, directions: dict[str, TextRetrieval | None]) -> None:
    from eml.cli.display import console

    measured = {direction: own for direction, own in directions.items() if own is not None}
    shown = next(iter(measured.values())).shown
    columns, rows = [""], [[text] for text in shown.values()]
    for direction, own in measured.items():
        columns += [direction, "chance"]
        for row, metric in zip(rows, shown, strict=True):
            row += [rank_text(own, metric), _chance_text(metric, own.chance[metric])]
    rows.append(["queries", *(cell for own in measured.values() for cell in (_queries_text(own), ""))])
    rows.append(["searched", *(cell for own in measured.values() for cell in (f"{own.summary.gallery:,}", ""))])
    console.table(title, columns, rows)


def rank_text(own: TextRetrieval, metric: str) -> str:
    """Return a metric with its interval; the median rank in whole numbers."""
    value, interval = own.values[metric], own.intervals.get(metric)
    if metric != "median_rank":
        return metric_text(value, interval)
    return f"{value:,.0f}{_ends(interval)}"


def _ends(interval: Interval | None) -> str:
    if interval is None or interval.low != interval.low:
        return ""
    return f" ({interval.low:,.0f}–{interval.high:,.0f})"


def _chance_text(metric: str, value: float) -> str:
    return f"{value:,.0f}" if metric == "median_rank" else f"{value:.3f}"


def _queries_text(own: TextRetrieval) -> str:
    drawn = "" if own.queries_of is None else f" of {own.queries_of:,}"
    return f"{own.summary.queries:,}{drawn}"


def _show_zero_shot(name: str, zero_shot: ZeroShot, adapted: AdaptedClasses | None) -> None:
    from eml.cli.display import console
    from eml.retrieval.zero_shot import ACCURACIES

    counts = f"{len(zero_shot.rows):,} images, {zero_shot.places.num_classes:,} classes"
    title = f"{name}, zero-shot: {counts}"
    metrics = [metric for metric in ACCURACIES if metric in zero_shot.values]
    ways = [("", zero_shot.values, zero_shot.intervals)]
    if adapted is not None:
        ways = [(way.name, way.values, way.intervals) for way in adapted.ways]
    rows = [
        [way, *(metric_text(values[metric], intervals.get(metric)) for metric in metrics)]
        for way, values, intervals in ways
    ]
    rows.append(["chance", *(f"{zero_shot.chance[metric]:.3f}" for metric in metrics)])
    console.table(title, ["", *(ACCURACIES[metric] for metric in metrics)], rows)
    if adapted is not None:
        for way in adapted.ways[1:]:
            change = way.differences["top_1"]
            interval = f", 95 % interval {interval_text(change)}" if not change.alike else ""
            console.show(f"{way.name} against {adapted.ways[0].name}: top-1 {change.value:+.3f}{interval}")
        console.show(adapted.line())
    worst = [misnamed for misnamed in zero_shot.worst if misnamed.answer is not None][:MOST_CLASSES]
    if worst:
        classes = ", ".join(
            f"{misnamed.label} {misnamed.right:.2f} (taken for {misnamed.answer})" for misnamed in worst
        )
        console.show(f"lowest zero-shot: {classes}")
