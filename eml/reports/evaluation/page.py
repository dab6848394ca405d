"""What the page shows, put together for its template."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eml.dataset.columns import BOX
from eml.images.source import FileSource
from eml.reports.evaluation.confusions import Confusion, confusions
from eml.reports.evaluation.curves import cmc_chart, cmc_points, percent, roc_chart, roc_rates, similarity_chart
from eml.reports.evaluation.embedding_map import EmbeddingMap, draw_map, embedding_map, map_data, symbol
from eml.reports.evaluation.evaluated import Evaluated, class_names
from eml.reports.evaluation.queries import Query, shown_queries
from eml.reports.evaluation.similarity import nearest_own_and_other
from eml.reports.rendering import render_page
from eml.reports.thumbnails import SIDE, Thumbnail, thumbnail
from eml.retrieval.clustering import SHOWN as CLUSTERING
from eml.retrieval.verification import shown as shown_name
from eml.retrieval.worst_classes import WorstClass, worst_classes
from eml.threads import in_order

HERE = Path(__file__).parent
SMALL = 64  # side of the map's thumbnails (pixels)
PACKAGES = ("easy-metric-learning", "torch", "timm", "numpy", "pandas", "scikit-learn", "pillow")
IN_TABLES = ("recall_at_1", "map_at_r", "r_precision")  # of classes
IN_SLICES = ("recall_at_1", "map_at_r")  # two, since their intervals take room
MARKED = (1e-4, 1e-3, 1e-2)  # false accept rates, on the ROC
OF_COSINES = ("eer_threshold",)
COUNTS = ("same_pairs", "different_pairs")
TINY = ("bin_width", "auc_error")

Interval = tuple[float, float]


@dataclass(frozen=True)
class Additions:
    """What others have found of the same evaluation; what is not there is not shown.

    intervals: {metric: (low, high)}. slices: [{title, rows: [{name, queries, values: {metric: value}, intervals:
    {metric: (low, high)}}]}], intervals perhaps absent. verification: values such as auc and tar_at_far_1e-3.
    clustering: nmi and ami. roc: the curve of the verification, {false_accept_rate: […], true_accept_rate: […]}.
    comparison: {against, rows: [{name, value, against, difference, interval, verdict}]}, perhaps with first_neighbour:
    {to_right, to_wrong, both_right, both_wrong}, numbers of queries, and gained and lost, classes with some of their
    queries as metrics.json has them, which are rows of the set's frame. few_classes: whether they are too few to trust
    intervals. threshold: similarity from which two images are taken for one class.
    """

    intervals: Mapping[str, Interval] = field(default_factory=dict)
    slices: Sequence[Mapping[str, Any]] = ()
    verification: Mapping[str, float] = field(default_factory=dict)
    clustering: Mapping[str, float] = field(default_factory=dict)
    roc: Mapping[str, Sequence[float]] | None = None
    comparison: Mapping[str, Any] | None = None
    few_classes: bool = False
    threshold: float | None = None

    @classmethod
    def of_facts(
        cls,
        facts: Mapping[str, Any],
        *,
        roc: Mapping[str, Sequence[float]] | None = None,
        threshold: float | None = None,
    ) -> "Additions":
        """What metrics.json has of these. roc, threshold: are not in it."""
        return cls(
            intervals={name: each for name, each in (facts.get("intervals") or {}).items() if None not in each},
            slices=facts.get("slices") or (),
            verification=facts.get("verification") or {},
            clustering=facts.get("clustering") or {},
            roc=roc,
            comparison=facts.get("comparison"),
            few_classes=bool(facts.get("few_classes")),
            threshold=threshold,
        )


@dataclass(frozen=True)
class Shown:
    """What is shown of an evaluation."""

    queries: dict[str, list[Query]]
    confusions: list[Confusion]
    more_confusions: int
    worst: list[WorstClass]
    map: EmbeddingMap | None
    of_comparison: frozenset[int]

    def rows(self) -> list[int]:
        """Of the set's frame, whose images are shown large."""
        rows = {row for each in self.confusions for row in each.rows} | self.of_comparison
        for query in (query for some in self.queries.values() for query in some):
            rows |= {query.row, *(each.row for each in query.neighbours)}
        return sorted(rows)

    def small_rows(self) -> list[int]:
        """Of the map's thumbnails."""
        return [] if self.map is None else self.map.rows[self.map.with_thumbnail].tolist()


def choose_shown(evaluation: Evaluated, comparison: Mapping[str, Any] | None = None) -> Shown:
    """Everything that the page shows, but for the images. comparison: as in `Additions`."""
    wanted = evaluation.wanted
    pairs, more = confusions(evaluation)
    names = wanted.frame["label"].tolist()
    return Shown(
        shown_queries(evaluation),
        pairs,
        more,
        worst_classes(evaluation.summary, wanted.labels, names, wanted.queries, wanted.gallery),
        embedding_map(evaluation.embeddings, wanted.labels),
        frozenset(_compared_rows(comparison or {})),
    )


def _compared_rows(comparison: Mapping[str, Any]) -> Iterator[int]:
    """Of the queries that changed, and of their first neighbours."""
    for change in (*comparison.get("gained", ()), *comparison.get("lost", ())):
        for query in change.get("changed", ()):
            yield from (each["row"] for each in (query, query["was"], query["now"]) if each)


def thumbnails_of(
    evaluation: Evaluated, rows: Sequence[int], side: int = SIDE, progress: Callable[[int], None] | None = None
) -> dict[int, Thumbnail]:
    """Row → thumbnail of the image, or its box."""
    frame = evaluation.wanted.frame.iloc[list(rows)]
    boxes = frame[list(BOX)].fillna(-1).to_numpy(np.int64) if set(BOX) <= set(frame) else None
    files = FileSource(evaluation.table.root, frame["file_name"].tolist(), boxes)
    made = {}
    small = in_order(lambda at: thumbnail(files.path(at), files.box(at), side), range(len(rows)))
    for row, each in zip(rows, small, strict=True):
        made[row] = each
        if progress:
            progress(1)
    return made


def render(
    evaluation: Evaluated,
    shown: Shown,
    thumbnails: Mapping[int, Thumbnail],
    small: Mapping[int, Thumbnail],
    *,
    command: str,
    additions: Additions,
) -> str:
    """The page's HTML."""
    wanted, summary = evaluation.wanted, evaluation.summary
    names = class_names(wanted)
    ranks = np.rint(1 / summary.per_query["mean_reciprocal_rank"])
    cmc = cmc_points(ranks, summary.gallery)
    found = nearest_own_and_other(evaluation)
    return render_page(
        HERE,
        filters={"percent": percent, "signed": lambda value: f"{100 * value:+.1f} %"},
        name=_title(evaluation.name),
        facts=evaluation.facts(),
        table_name=Path(evaluation.table.path or evaluation.table.root).name,
        summary=summary,
        protocol=protocol_in_words(wanted.protocol),
        more=additions,
        measured={
            "verification": [(shown_name(name), _figure(name, each)) for name, each in additions.verification.items()],
            "clustering": [(CLUSTERING[name], percent(each)) for name, each in additions.clustering.items()],
        },
        charts={
            "cmc": cmc_chart(cmc),
            "roc": _roc(additions) if additions.roc else None,
            "similarity": similarity_chart(found, additions.threshold),
        },
        cmc=cmc_table(ranks, summary.gallery),
        sampled=len(found.own) if len(found.own) < summary.queries else None,
        shown=shown,
        in_slices=IN_SLICES,
        in_tables=[name for name in IN_TABLES if name in summary.per_query],
        labels=[names[label] for label in wanted.labels],
        names=wanted.frame["file_name"].tolist(),
        thumbnails=thumbnails,
        no_images=all(each.problem == "missing" for each in thumbnails.values()),
        drawn=draw_map(shown.map, wanted.labels) if shown.map else None,
        symbols=[symbol(number, 9) for number in range(-1, 8)],
        coloured=[names[label] for label in shown.map.coloured] if shown.map else [],
        map_data=map_data(shown.map, wanted, {row: each.source for row, each in small.items()}) if shown.map else None,
        command=command,
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def cmc_table(ranks: NDArray[np.float64], gallery: int) -> list[tuple[int, float]]:
    """R@K at round Ks, for those who read no charts. ranks: (Q,) of the first positive, NaN without one."""
    counted = ranks[np.isfinite(ranks)]
    ks = [k for k in (1, 2, 5, 10, 20, 50, 100, 1000, 10_000) if k <= gallery]
    return [(k, float((counted <= k).mean())) for k in ks]


def protocol_in_words(protocol: str) -> list[str]:
    """Sentences."""
    kind, *others = protocol.split(", ")
    sentences = [PROTOCOLS.get(kind, f"Protocol: {kind}.")]
    for each in others:
        if column := each.removeprefix("without the same ") if each.startswith("without the same ") else "":
            sentences.append(f"Gallery images of the query's class and the same {column} do not count, right or wrong.")
        elif column := each.removeprefix("within each ") if each.startswith("within each ") else "":
            sentences.append(f"A query is compared with images of its own {column} alone.")
        else:
            sentences.append(f"Also: {each}.")
    return sentences


PROTOCOLS = {
    "leave-one-out": "Leave-one-out: every image is a query among all the others. Left out is the image itself, by "
    "its place in the table, so that a copy of it can be found.",
    "query/gallery": "Query and gallery: the table's columns is_query and is_gallery say which images ask and which "
    "are searched. An image that is both is not found by itself.",
    "held-out images": "The held-out images are the queries, the training images of their classes the gallery.",
}


def _roc(additions: Additions) -> Markup:
    rates = roc_rates(additions.verification)
    return roc_chart(additions.roc or {}, {rate: rates[rate] for rate in MARKED if rate in rates})


def _figure(name: str, value: float) -> str:
    """A rate in percent; a cosine, a count and a bound as what they are."""
    if name in COUNTS:
        return f"{value:,}"
    if name in TINY:
        return f"{value:.2g}"
    return f"{value:.4f}" if name in OF_COSINES else percent(value)


def _title(name: str) -> str:
    """A network's name as it is, of a path the last two parts."""
    path = Path(name)
    return name if name.startswith("timm:") else "/".join(path.parts[-2:]).lstrip("/") or name
