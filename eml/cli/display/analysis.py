"""The look of intervals, slices and comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.retrieval.confidence import metric_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eml.evaluation.analysis import EvaluationAnalysis
    from eml.evaluation.comparison import ModelComparison
    from eml.evaluation.slices import Slice, Slices
    from eml.retrieval.statistics import Difference

IN_SLICES = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}
IF_ROOM = {"global_average_precision": "GAP"}
MOST_CLASSES = 5  # gained and lost, each


def interval_text(change: Difference) -> str:
    """Return `-0.042 to -0.022`; nothing where no query changed."""
    return "" if change.alike else f"{change.interval.low:+.3f} to {change.interval.high:+.3f}"


def show_analysis(name: str, analysis: EvaluationAnalysis, columns: Sequence[str]) -> None:
    """Print what was measured beyond the metrics.

    Args:
        name: The table; of several models, the model before it.
        analysis: The model's on the table.
        columns: The slices to print.
    """
    from eml.cli.display import console

    show_slices(analysis.slices, columns)
    if measured := _verification_and_clustering(analysis):
        console.table("", [name, ""], measured)
    show_postprocessed(name, analysis)
    if analysis.acceptance:
        show_acceptance(analysis)
    if analysis.evaluation.is_calibrated_here:
        console.warn(f"{name}: the threshold was chosen on this table, so its rates look better than on new images")
    if (chosen_on := analysis.evaluation.calibrated_on).is_overlap:
        console.warn(f"{name}: the threshold was chosen on images of which {chosen_on.share()}, so it is too low")
    if analysis.comparison:
        show_comparison(analysis.comparison)
    show_cross_model(analysis)


def show_acceptance(analysis: EvaluationAnalysis) -> None:
    """Print what the calibrated threshold accepts; of a gallery of another model, beside that model alone."""
    from eml.cli.display import console

    rates, cross_model, gallery = analysis.acceptance, analysis.cross_model, analysis.evaluation.gallery_model
    if cross_model is None or gallery is None:
        rows = [[text, _number(rates[key])] for key, text in _in_words(rates).items()]
        console.table("", ["by the calibrated threshold", ""], rows)
        return
    old = cross_model.old_acceptance
    rows = [[text, _number(old.get(key)), _number(rates[key])] for key, text in _in_words(rates).items()]
    console.table("", [f"by the threshold of {gallery.name}", "it alone", "new queries"], rows)
    console.show(
        "The threshold was calibrated for the queries of the gallery's model. Where the accepted queries of unknown "
        "classes differ, it does not hold for the new ones."
    )


def _in_words(rates: Mapping[str, float | None]) -> dict[str, str]:
    """Return the name of each rate → what it is, in the words of eml calibrate."""
    from eml.commands.calibrate import RATES_IN_WORDS

    words = {
        **RATES_IN_WORDS,
        "threshold": "threshold on the cosine",
        "pair_true_accept_rate": "accepted pairs of the same class",
    }
    return {key: words.get(key, key.replace("_", " ")) for key in rates}


def show_cross_model(analysis: EvaluationAnalysis) -> None:
    """Print both models alone and together, where the gallery is another's."""
    from eml.cli.display import console

    cross_model, evaluation = analysis.cross_model, analysis.evaluation
    if cross_model is None or evaluation.gallery_model is None:
        return
    rows = [
        [text, f"{cross_model.old[metric]:.3f}", f"{cross_model.crossed[metric]:.3f}", f"{cross_model.new[metric]:.3f}"]
        for metric, text in cross_model.shown.items()
        if metric in IN_SLICES
    ]
    console.table("", ["", "old model alone", "new queries, old gallery", "new model alone"], rows)
    for line in cross_model.lines(evaluation.name, evaluation.gallery_model.name):
        console.show(line)


def show_slices(slices: Slices, columns: Sequence[str]) -> None:
    """Print a table for each column, or why there is none."""
    from eml.cli.display import console

    for title in dict.fromkeys(columns):
        if title in slices.slices:
            _show_slice(f"by {title}", slices.slices[title])
        elif title in slices.left_out:
            console.say(f"no slices by {title}: {slices.left_out[title]}")


def _show_slice(title: str, parts: Sequence[Slice]) -> None:
    from eml.cli.display import console

    for metrics in (IN_SLICES | IF_ROOM, IN_SLICES):
        columns = ["", "queries", "classes", *metrics.values()]
        rows = [_slice_row(part, list(metrics)) for part in parts]
        if console.fits(columns, rows):
            break
    console.table(title, columns, rows)


def _slice_row(part: Slice, metrics: Sequence[str]) -> list[str | int]:
    cells = [metric_text(part.values[metric], part.intervals.get(metric)) for metric in metrics]
    return [part.name, part.queries, part.classes, *cells]


def show_postprocessed(name: str, analysis: EvaluationAnalysis) -> None:
    """Print the metrics after post-processing beside those without, and what they say of the model."""
    if not analysis.postprocessed:
        return
    from eml.cli.display import console
    from eml.evaluation.postprocessing import COMPARED, short_names, what_it_uses

    rows = [
        [
            short if metric == COMPARED[0] else "",
            way.summary.shown[metric],
            f"{difference.after:.3f}",
            f"{difference.value:+.3f}",
            interval_text(difference),
        ]
        for short, way in zip(short_names(analysis.postprocessed), analysis.postprocessed, strict=True)
        for metric in COMPARED
        for difference in [way.differences[metric]]
    ]
    console.table(f"{name}, post-processed", ["", "", "value", "change", "95 % interval"], rows)
    for line in what_it_uses(analysis.postprocessed, analysis.evaluation.whitening):
        console.show(line)


def show_comparison(comparison: ModelComparison) -> None:
    """Print the difference of every metric, its verdict, and the classes that changed most."""
    from eml.cli.display import console
    from eml.evaluation.comparison import verdict_on

    if comparison.alike:
        console.show(comparison.lines()[0])
        return
    rows = [
        [
            comparison.shown[metric],
            f"{difference.before:.3f}",
            f"{difference.after:.3f}",
            f"{difference.value:+.3f}",
            interval_text(difference),
            verdict_on(difference).removeprefix("the data "),
        ]
        for metric, difference in comparison.differences.items()
    ]
    columns = ["", "against", "this", "change", "95 % interval", ""]
    console.table(f"{comparison.name}, against {comparison.against}", columns, rows)
    for line in comparison.lines():
        console.show(line)
    for direction, changes in (("gained", comparison.gained), ("lost", comparison.lost)):
        if changes:
            classes = ", ".join(
                f"{change.label} {change.after - change.before:+.2f}" for change in changes[:MOST_CLASSES]
            )
            console.show(f"{direction} most in MAP@R: {classes}")


def _verification_and_clustering(analysis: EvaluationAnalysis) -> list[list[str]]:
    if not analysis.verification and not analysis.clustering:
        return []
    from eml.retrieval.clustering import SHOWN
    from eml.retrieval.verification import shown

    rows = [[shown(name), _number(value)] for name, value in analysis.verification.items()]
    return rows + [[SHOWN[name], _number(value)] for name, value in analysis.clustering.items()]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
