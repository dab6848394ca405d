"""The look of what an evaluation measured with texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.cli.display.analysis import interval_text
from eml.retrieval.confidence import metric_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eml.evaluation.texts.adapting import AdaptedClasses
    from eml.evaluation.texts.measures import TextMeasures, TextRetrieval, ZeroShot
    from eml.retrieval.statistics import Difference, Interval

MOST_CLASSES = 5


def show_texts(name: str, measures: TextMeasures) -> None:
    """Print retrieval by texts and zero-shot accuracy, each beside chance. name: the table, perhaps with its model."""
    from eml.cli.display import console

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
    for warning in _warnings(name, measures):
        console.warn(warning)


def _warnings(name: str, measures: TextMeasures) -> Iterator[str]:
    """Yield what to know of the texts of the classes."""
    classes = measures.embedded.texts.classes
    if classes is None:
        return
    if (warning := classes.meaning_warning) is not None:
        yield f"{name}: {warning}. Give them texts by --names, or another column by --template"
    if classes.equal_texts:
        labels = ", ".join(classes.equal_texts[0])
        more = f", and {len(classes.equal_texts) - 1:,} more groups" if len(classes.equal_texts) > 1 else ""
        yield f"{name}: no text tells these classes apart, since theirs are the same: {labels}{more}"


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
    ways = [("names", zero_shot.values, zero_shot.intervals)]
    if adapted is not None:
        ways = [(way.name, way.values, way.intervals) for way in adapted.ways]
    rows = [
        [way, *(metric_text(values[metric], intervals.get(metric)) for metric in metrics)]
        for way, values, intervals in ways
    ]
    rows.append(["chance", *(f"{zero_shot.chance[metric]:.3f}" for metric in metrics)])
    console.table(title, ["", *(ACCURACIES[metric] for metric in metrics)], rows)
    if adapted is not None:
        changes = [f"{way.name} {_change_text(way.differences['top_1'])}" for way in adapted.ways[1:]]
        console.show(f"top-1 against names only: {', '.join(changes)}")
        console.show(adapted.line())
    worst = [misnamed for misnamed in zero_shot.worst if misnamed.answer is not None][:MOST_CLASSES]
    if worst:
        classes = ", ".join(
            f"{misnamed.label} {misnamed.right:.2f} (taken for {misnamed.answer})" for misnamed in worst
        )
        console.show(f"lowest zero-shot: {classes}")


def show_text_models(table: str, models: Mapping[str, TextMeasures]) -> None:
    """Print several models on one table: their retrieval by texts, their zero-shot accuracy, and who is better."""
    captions = [own.captions_to_images for own in models.values()]
    back = [own.images_to_captions for own in models.values()]
    classes = [own.classes_to_images for own in models.values()]
    columns = {"captions → images": captions, "images → captions": back, "class texts → images": classes}
    _show_recalls(table, list(models), {title: own for title, own in columns.items() if any(own)})
    _show_accuracies(table, {name: own for name, own in models.items() if own.zero_shot is not None})
    for warning in dict.fromkeys(line for own in models.values() for line in _warnings(table, own)):
        from eml.cli.display import console

        console.warn(warning)


def _show_recalls(table: str, names: Sequence[str], columns: Mapping[str, Sequence[TextRetrieval | None]]) -> None:
    from eml.cli.display import console

    metric = "recall_at_1"
    rows = [
        [name, *(rank_text(own, metric) if (own := measured[place]) else "" for measured in columns.values())]
        for place, name in enumerate(names)
    ]
    firsts = [next(own for own in measured if own is not None) for measured in columns.values()]
    rows.append(["chance", *(_chance_text(metric, own.chance[metric]) for own in firsts)])
    console.table(f"{table}, R@1 by texts", ["", *columns], rows)


def _show_accuracies(table: str, models: Mapping[str, TextMeasures]) -> None:
    """Print the zero-shot accuracy of models, the best first, and how far it is above the others."""
    from eml.cli.display import console
    from eml.evaluation.comparison import verdict_on
    from eml.retrieval.zero_shot import ACCURACIES

    measured = [(name, own.zero_shot) for name, own in models.items() if own.zero_shot is not None]
    if not measured:
        return
    measured.sort(key=lambda pair: -pair[1].values["top_1"])
    best_name, best = measured[0]
    metrics = [metric for metric in ACCURACIES if metric in best.values]
    rows = [
        [name, *(metric_text(own.values[metric], own.intervals.get(metric)) for metric in metrics)]
        for name, own in measured
    ]
    rows.append(["chance", *(f"{best.chance[metric]:.3f}" for metric in metrics)])
    counts = f"{len(best.rows):,} images, {best.places.num_classes:,} classes"
    console.table(f"{table}, zero-shot: {counts}", ["", *(ACCURACIES[metric] for metric in metrics)], rows)
    for name, own in measured[1:]:
        if (change := best.change_from(own)) is not None:
            verdict = verdict_on(change)
            console.show(f"top-1 of {best_name} against {name}: {_change_text(change)}, {verdict}")


def _change_text(change: Difference) -> str:
    return f"{change.value:+.3f}" + ("" if change.alike else f" ({interval_text(change)})")
