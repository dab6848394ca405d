"""The contents of the report, put together for its template."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eml.evaluation.analysis import EvaluationAnalysis
from eml.evaluation.comparison import ModelComparison, verdict_on
from eml.evaluation.evaluate import Evaluation
from eml.evaluation.postprocessing import COMPARED, short_names, what_it_uses
from eml.images.thumbnails import LARGE, Thumbnail, thumbnail
from eml.inference.images import table_files
from eml.inference.load import is_backbone
from eml.reports.evaluation.confusions import Confusion, find_confusions
from eml.reports.evaluation.curves import cmc_chart, cmc_points, percent, roc_chart, roc_rates, similarity_chart
from eml.reports.evaluation.embedding_map import EmbeddingMap, draw_map, embedding_map, map_data, symbol
from eml.reports.evaluation.own_validation import own_validation
from eml.reports.evaluation.projections import TITLES, ProjectionName
from eml.reports.evaluation.queries import ExampleQuery, example_queries
from eml.reports.evaluation.similarity import nearest_similarities
from eml.reports.evaluation.text_queries import TextGallery, text_galleries
from eml.reports.rendering import render_page
from eml.retrieval.clustering import SHOWN as CLUSTERING
from eml.retrieval.statistics import Interval
from eml.retrieval.verification import shown as shown_name
from eml.retrieval.worst_classes import WorstClass, worst_classes
from eml.retrieval.zero_shot import ACCURACIES
from eml.threads import in_order
from eml.versions import UNKNOWN, version_of

HERE = Path(__file__).parent
SMALL = 96  # side of the map's thumbnails (pixels)
PACKAGES = ("easy-metric-learning", "torch", "timm", "numpy", "pandas", "scikit-learn", "pillow")
LEADING = {  # shown large, with what they say
    "recall_at_1": "of the queries have an image of their class as the nearest one",
    "map_at_r": "how much of its class stands at the top of a query's list, on average",
}
IN_TABLES = ("recall_at_1", "map_at_r", "r_precision")  # of classes
IN_SLICES = ("recall_at_1", "map_at_r")  # two, since their intervals take room
MARKED = (1e-4, 1e-3, 1e-2)  # false accept rates, on the ROC
OF_COSINES = ("eer_threshold",)
COUNTS = ("same_pairs", "different_pairs")
TINY = ("bin_width", "auc_error")


@dataclass(frozen=True)
class ReportContents:
    """The contents of the report, but for the images.

    Attributes:
        queries: worst, median, best → example queries.
        confusions: The pairs of classes with the most wrong first answers.
        more_confusions: The number of further pairs with any.
        worst: The worst classes.
        map: The embedding map; None if there is nothing to spread.
        compared_rows: The images of the comparison, in the set's frame.
        texts: Text queries; empty where nothing was measured with texts.
    """

    queries: dict[str, list[ExampleQuery]]
    confusions: list[Confusion]
    more_confusions: int
    worst: list[WorstClass]
    map: EmbeddingMap | None
    compared_rows: frozenset[int]
    texts: list[TextGallery] = field(default_factory=list)

    def rows(self) -> list[int]:
        """Return the rows of the set's frame whose images are shown large."""
        rows = {row for confusion in self.confusions for row in confusion.rows} | self.compared_rows
        for query in (query for queries in self.queries.values() for query in queries):
            rows |= {query.row, *(neighbour.row for neighbour in query.neighbours)}
        rows |= {row for gallery in self.texts for row in gallery.rows()}
        return sorted(rows)

    def small_rows(self) -> list[int]:
        """Return the rows of the set's frame whose images are on the map."""
        return [] if self.map is None else self.map.rows[self.map.with_thumbnail].tolist()


def choose_contents(analysis: EvaluationAnalysis, projection: ProjectionName = "pca") -> ReportContents:
    """Choose the queries, classes and images that the report shows, and project the map."""
    evaluation = analysis.evaluation
    retrieval = evaluation.retrieval
    pairs, more = find_confusions(evaluation)
    names = retrieval.frame["label"].tolist()
    return ReportContents(
        queries=example_queries(evaluation),
        confusions=pairs,
        more_confusions=more,
        worst=worst_classes(evaluation.summary, retrieval.labels, names, retrieval.queries, retrieval.gallery),
        map=None if evaluation.gallery_model else embedding_map(evaluation.embeddings, retrieval.labels, projection),
        compared_rows=frozenset(_compared_rows(analysis.comparison)) if analysis.comparison else frozenset(),
        texts=text_galleries(evaluation, analysis.text) if analysis.text else [],
    )


def _compared_rows(comparison: ModelComparison) -> Iterator[int]:
    """Yield the queries that changed and their first neighbours."""
    for change in (*comparison.gained, *comparison.lost):
        for query in change.changed:
            yield query.row
            yield from (neighbour.row for neighbour in (query.was, query.now) if neighbour)


def load_thumbnails(
    evaluation: Evaluation, rows: Sequence[int], side: int = LARGE, progress: Callable[[int], None] | None = None
) -> dict[int, Thumbnail]:
    """Return row → thumbnail of its image, or its box."""
    files = table_files(evaluation.table, evaluation.retrieval.frame.iloc[list(rows)])
    places = range(len(rows))
    images = in_order(lambda place: thumbnail(files.root, files.name(place), files.box(place), side), places)
    thumbnails = {}
    for row, image in zip(rows, images, strict=True):
        thumbnails[row] = image
        if progress:
            progress(1)
    return thumbnails


def render(
    analysis: EvaluationAnalysis,
    contents: ReportContents,
    thumbnails: Mapping[int, Thumbnail],
    small: Mapping[int, Thumbnail],
    *,
    command: str,
) -> str:
    """Return the page's HTML.

    Args:
        analysis: The evaluation.
        contents: What to show.
        thumbnails: Row → large thumbnail.
        small: Row → thumbnail of the map.
        command: The command that reproduces the evaluation.
    """
    evaluation = analysis.evaluation
    retrieval, summary = evaluation.retrieval, evaluation.summary
    class_names, plane = retrieval.class_names, contents.map
    ranks = np.rint(1 / summary.per_query["mean_reciprocal_rank"])
    nearest = nearest_similarities(evaluation)
    sampled = len(nearest.same_class)
    return render_page(
        HERE,
        filters={"percent": percent, "signed": lambda value: f"{100 * value:+.1f} %", "verdict": verdict_on},
        name=_title(evaluation),
        facts=evaluation.facts(),
        table_name=Path(evaluation.table.path or evaluation.table.root).name,
        summary=summary,
        leading=[metric for metric in LEADING if metric in summary.shown],
        explained=LEADING,
        validation=own_validation(evaluation.name),
        protocol=protocol_in_words(retrieval.protocol),
        analysis=analysis,
        across=across_lines(analysis),
        threshold_of=evaluation.gallery_model.name if evaluation.gallery_model else "",
        uses=what_it_uses(analysis.postprocessed, evaluation.whitening),
        ways=short_names(analysis.postprocessed),
        compared_after=COMPARED,
        accuracies=ACCURACIES,
        threshold=evaluation.threshold,
        trained_on=trained_on_lines(analysis),
        intervals=known_intervals(analysis.intervals),
        known_intervals=known_intervals,
        measured={
            "verification": [(shown_name(name), _figure(name, rate)) for name, rate in analysis.verification.items()],
            "clustering": [(CLUSTERING[name], percent(score)) for name, score in analysis.clustering.items()],
        },
        charts={
            "cmc": cmc_chart(cmc_points(ranks, summary.gallery)),
            "roc": _draw_roc(analysis) if analysis.roc else None,
            "similarity": similarity_chart(nearest, evaluation.threshold),
        },
        cmc=cmc_table(ranks, summary.gallery),
        sampled=sampled if sampled < summary.queries else None,
        shown=contents,
        in_slices=IN_SLICES,
        in_tables=[name for name in IN_TABLES if name in summary.per_query],
        labels=[class_names[label] for label in retrieval.labels],
        names=retrieval.frame["file_name"].tolist(),
        thumbnails=thumbnails,
        no_images=all(image.problem == "missing" for image in thumbnails.values()),
        drawn=draw_map(plane, retrieval.labels) if plane else None,
        titles=TITLES,
        symbols=[symbol(number, 9) for number in range(-1, 8)],
        coloured=[class_names[label] for label in plane.coloured] if plane else [],
        map_data=map_data(plane, retrieval, {row: image.source for row, image in small.items()}) if plane else None,
        command=command,
        versions={"python": platform.python_version(), **{name: version_of(name) or UNKNOWN for name in PACKAGES}},
    )


def trained_on_lines(analysis: EvaluationAnalysis) -> list[str]:
    """Return sentences that say what the model, and the one it is compared with, were trained on of these images."""
    evaluation, comparison = analysis.evaluation, analysis.comparison
    lines = evaluation.trained_on.lines(evaluation.name) or [f"{evaluation.name}: {evaluation.trained_on.share()}"]
    if comparison:
        overlap = comparison.against_trained_on
        lines += overlap.lines(comparison.against) or [f"{comparison.against}: {overlap.share()}"]
    if evaluation.calibrated_on.is_overlap:
        lines.append(
            f"The threshold was chosen on images of which {evaluation.calibrated_on.share()}, so it is too low"
        )
    return lines


def known_intervals(intervals: Mapping[str, Interval]) -> dict[str, Interval]:
    """Return the intervals that exist, which those of too few classes do not."""
    return {name: interval for name, interval in intervals.items() if np.isfinite([interval.low, interval.high]).all()}


def cmc_table(ranks: NDArray[np.float64], gallery: int) -> list[tuple[int, float]]:
    """Return R@K at round Ks, as a table. ranks: (Q,) of the first positive, NaN without one."""
    counted = ranks[np.isfinite(ranks)]
    ks = [k for k in (1, 2, 5, 10, 20, 50, 100, 1000, 10_000) if k <= gallery]
    return [(k, float((counted <= k).mean())) for k in ks]


def protocol_in_words(protocol: str) -> list[str]:
    """Return sentences that explain a protocol."""
    kind, *others = protocol.split(", ")
    sentences = [PROTOCOLS.get(kind, f"Protocol: {kind}.")]
    for part in others:
        if column := part.removeprefix("without the same ") if part.startswith("without the same ") else "":
            sentences.append(f"Gallery images of the query's class and the same {column} are ignored.")
        elif column := part.removeprefix("within each ") if part.startswith("within each ") else "":
            sentences.append(f"A query is compared only with images of its own {column}.")
        elif part.endswith(" queries drawn by class"):
            drawn, number = (int(word) for word in part.split()[:3:2])
            sentences.append(
                f"{drawn:,} of the {number:,} queries were drawn, by class; the whole gallery is searched for them. "
                "The means are of the drawn queries, and their intervals include the chance of the draw."
            )
        else:
            sentences.append(f"Also: {part}.")
    return sentences


PROTOCOLS = {
    "leave-one-out": "Leave-one-out: every image is a query among all the others. Only the image itself is left out, "
    "so a copy of it can be its answer.",
    "query/gallery": "Query and gallery: the table's columns is_query and is_gallery define the queries and the images "
    "that are searched. An image that is both is not its own answer.",
    "held-out images": "The held-out images are the queries, the training images of their classes the gallery.",
}


def _draw_roc(analysis: EvaluationAnalysis) -> Markup:
    rates = roc_rates(analysis.verification)
    return roc_chart(analysis.roc, {rate: rates[rate] for rate in MARKED if rate in rates})


def _figure(name: str, value: float) -> str:
    """Return a rate in percent; a cosine, a count or a bound as a plain number."""
    if name in COUNTS:
        return f"{value:,}"
    if name in TINY:
        return f"{value:.2g}"
    return f"{value:.4f}" if name in OF_COSINES else percent(value)


def across_lines(analysis: EvaluationAnalysis) -> list[str]:
    """Return sentences about the queries of one model on the gallery of another; none where there is one model."""
    evaluation, cross_model = analysis.evaluation, analysis.cross_model
    if cross_model is None or evaluation.gallery_model is None:
        return []
    return cross_model.lines(evaluation.name, evaluation.gallery_model.name)


def _title(evaluation: Evaluation) -> str:
    """Return the model's name, with that of the gallery where it is another one."""
    gallery = evaluation.gallery_model
    return _short_name(evaluation.name) + (f" on the gallery of {_short_name(gallery.name)}" if gallery else "")


def _short_name(name: str) -> str:
    """Return the whole name of a backbone, or the last two parts of a path."""
    path = Path(name)
    return name if is_backbone(name) else "/".join(path.parts[-2:]).lstrip("/") or name
