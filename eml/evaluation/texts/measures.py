"""Metrics of texts and images: retrieval from one to the other, zero-shot classification, each beside chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eml.evaluation.drawn_queries import draw_rows
from eml.evaluation.evaluate import Evaluation
from eml.evaluation.texts.adapting import AdaptedClasses, adapt
from eml.evaluation.texts.embedded import EmbeddedTexts
from eml.evaluation.texts.text_set import Captions, NamedClasses
from eml.retrieval.chance import chance_of_map_at_r, chance_of_median_rank, chance_of_recall
from eml.retrieval.metrics import Summary, metrics_at, summarise
from eml.retrieval.ranking import rank_listed
from eml.retrieval.statistics import Difference, Estimate, Interval, as_pair, intervals_of_summary, median_estimate
from eml.retrieval.zero_shot import ClassPlaces, MisnamedClass, classify_by_vectors, misnamed_classes

Integers = NDArray[np.int64]

RECALL = "recall_at_"
MEDIAN_RANK = "median_rank"
WORST = 20  # classes


@dataclass(frozen=True)
class TextRetrieval:
    """Retrieval of images by texts, or of texts by images.

    Attributes:
        queries: (Q,) the texts or images that ask, by their numbers among all.
        queries_of: The number that they were drawn from; None where they are all.
        summary: The metrics; ranks of positives among all that is searched.
        classes: (Q,) the class of each query, over which the intervals are.
        median_rank: Of the first positive.
        intervals: Metric → its interval.
        chance: Metric → its value where answers come in random order.
    """

    queries: Integers
    queries_of: int | None
    summary: Summary
    classes: Integers
    median_rank: Estimate
    intervals: dict[str, Interval]
    chance: dict[str, float]

    @property
    def values(self) -> dict[str, float]:
        """Metric → value; the median rank is among them."""
        return {**self.summary.values, MEDIAN_RANK: self.median_rank.value}

    @property
    def shown(self) -> dict[str, str]:
        """The metrics that tables show, and their names there."""
        recall = {name: text for name, text in self.summary.shown.items() if name.startswith(RECALL)}
        return {**recall, "map_at_r": self.summary.shown["map_at_r"], MEDIAN_RANK: "median rank"}

    def facts(self) -> dict[str, Any]:
        """Return its part of metrics.json."""
        drawn = {} if self.queries_of is None else {"queries_drawn": len(self.queries), "drawn_of": self.queries_of}
        return {
            "queries": self.summary.queries,
            **drawn,
            "queries_without_positive": self.summary.queries_without_positive,
            "gallery": self.summary.gallery,
            "metrics": self.values,
            "intervals": {name: as_pair(interval) for name, interval in self.intervals.items()},
            "chance": self.chance,
        }


@dataclass(frozen=True)
class ZeroShot:
    """Images classified by the texts of the classes.

    Attributes:
        places: Where the class of each image of known identity stands.
        rows: (Q,) these images, as rows of the set's frame.
        values: Accuracy → value.
        intervals: Accuracy → its interval over classes.
        chance: Accuracy → its value of answers at random.
        worst: The classes of the lowest accuracy.
    """

    places: ClassPlaces
    rows: Integers
    values: dict[str, float]
    intervals: dict[str, Interval]
    chance: dict[str, float]
    worst: list[MisnamedClass]

    def change_from(self, earlier: "ZeroShot") -> Difference | None:
        """Return the top-1 accuracy minus that of another model, image by image; None where its images are others."""
        labels, others = self.places.labels, earlier.places.labels
        if self.places.num_classes != earlier.places.num_classes or not np.array_equal(labels, others):
            return None
        return self.places.differences(earlier.places)["top_1"]

    def facts(self) -> dict[str, Any]:
        """Return its part of metrics.json."""
        worst = [
            {
                "label": misnamed.label,
                "images": misnamed.images,
                "right": misnamed.right,
                "taken_for": misnamed.answer,
                "times": misnamed.times,
            }
            for misnamed in self.worst
        ]
        return {
            "images": len(self.rows),
            "classes": self.places.num_classes,
            "metrics": self.values,
            "intervals": {name: as_pair(interval) for name, interval in self.intervals.items()},
            "chance": self.chance,
            "worst_classes": worst,
        }


@dataclass(frozen=True)
class TextMeasures:
    """Everything that an evaluation measured with texts. What was not asked for is None.

    Attributes:
        embedded: The texts and their vectors.
        captions_to_images: Captions that search images.
        images_to_captions: Images that search captions.
        classes_to_images: Texts of classes that search images.
        zero_shot: Images classified by the texts of classes.
        adapted: The same with a cache of labelled images.
    """

    embedded: EmbeddedTexts
    captions_to_images: TextRetrieval | None = None
    images_to_captions: TextRetrieval | None = None
    classes_to_images: TextRetrieval | None = None
    zero_shot: ZeroShot | None = None
    adapted: AdaptedClasses | None = None

    def without_vectors(self) -> "TextMeasures":
        """Return a copy without the vectors, which take memory."""
        return replace(self, embedded=self.embedded.without_vectors())

    def facts(self) -> dict[str, Any]:
        """Return the key `text` of metrics.json."""
        facts: dict[str, Any] = {}
        captions, classes = self.embedded.texts.captions, self.embedded.texts.classes
        if captions is not None and self.captions_to_images is not None and self.images_to_captions is not None:
            facts["captions"] = {
                "columns": list(captions.columns),
                "texts": len(captions.texts),
                "images_with_text": captions.images,
                "text_to_image": self.captions_to_images.facts(),
                "image_to_text": self.images_to_captions.facts(),
            }
        if classes is not None and self.classes_to_images is not None and self.zero_shot is not None:
            facts["class_texts"] = {**classes.facts(), "text_to_image": self.classes_to_images.facts()}
            facts["zero_shot"] = self.zero_shot.facts()
        if self.adapted is not None:
            facts["adapted"] = self.adapted.facts()
        return facts


def measure_texts(
    evaluation: Evaluation, recall_at: Sequence[int] = (), queries: int | None = None
) -> TextMeasures | None:
    """Compute everything that an evaluation's texts allow; None without texts.

    Every image of the set is searched and classified, whether it is a query or in the gallery of the image retrieval.
    Those of unknown identity are in the gallery of texts and are not classified.

    Args:
        evaluation: With the embeddings of images and texts.
        recall_at: The Ks of R@K; none for the usual ones.
        queries: Draw so many texts, and so many images, where more would search; see `draw_queries`.
    """
    embedded = evaluation.texts
    if embedded is None:
        return None
    measures: dict[str, Any] = {}
    captions, classes = embedded.texts.captions, embedded.texts.classes
    if captions is not None and embedded.captions is not None:
        forth, back = _measure_captions(evaluation, captions, embedded.captions, recall_at, queries)
        measures |= {"captions_to_images": forth, "images_to_captions": back}
    if classes is not None and embedded.classes is not None:
        measures["classes_to_images"] = _classes_to_images(evaluation, classes, embedded.classes, recall_at)
        zero_shot = _zero_shot(evaluation, classes, embedded.classes)
        measures["zero_shot"] = zero_shot
        if embedded.labelled is not None:
            images = evaluation.embeddings[zero_shot.rows]
            measures["adapted"] = adapt(embedded, images, zero_shot.places)
    return TextMeasures(embedded, **measures)


def _measure_captions(
    evaluation: Evaluation, captions: Captions, vectors: Tensor, recall_at: Sequence[int], most: int | None
) -> tuple[TextRetrieval, TextRetrieval]:
    """Return the retrieval of images by captions, and of captions by the images that have one."""
    labels, images = evaluation.retrieval.labels, evaluation.embeddings
    forth = _retrieve(vectors, images, captions.text_of_pair, captions.row_of_pair, captions.classes, recall_at, most)
    back = _retrieve(images, vectors, captions.row_of_pair, captions.text_of_pair, labels, recall_at, most)
    return forth, back


def _classes_to_images(
    evaluation: Evaluation, classes: NamedClasses, vectors: Tensor, recall_at: Sequence[int]
) -> TextRetrieval:
    """Return the retrieval of images by the text of their class."""
    labels = evaluation.retrieval.labels
    rows = np.flatnonzero(np.isin(labels, classes.codes))
    numbers = np.searchsorted(classes.codes, labels[rows])
    return _retrieve(vectors, evaluation.embeddings, numbers, rows, classes.codes, recall_at)


def _retrieve(
    queries: Tensor,
    gallery: Tensor,
    query_of_pair: Integers,
    place_of_pair: Integers,
    classes: Integers,
    recall_at: Sequence[int],
    most: int | None = None,
) -> TextRetrieval:
    """Return the retrieval by queries that have a positive, at most so many.

    Args:
        queries: (Q, D).
        gallery: (N, D).
        query_of_pair: (P,) queries of the pairs.
        place_of_pair: (P,) their positives.
        classes: (Q,) of the queries.
        recall_at: The Ks of R@K.
        most: Queries to draw where there are more; None for all.
    """
    chosen = np.unique(query_of_pair)
    number = len(chosen)
    if most is not None and number > most:
        chosen = draw_rows(chosen, classes, most)
    within = np.isin(query_of_pair, chosen)
    pairs = np.searchsorted(chosen, query_of_pair[within]), place_of_pair[within]
    everything = len(chosen) == len(queries)
    rows = queries if everything else queries[chosen]
    summary = summarise(rank_listed(rows, gallery, *pairs), metrics_at(recall_at))
    positives = np.bincount(pairs[0], minlength=len(chosen))
    own = classes[chosen]
    median = median_estimate(np.rint(1 / summary.per_query["mean_reciprocal_rank"]), own)
    chance = {
        name: chance_of_recall(positives, len(gallery), int(name.removeprefix(RECALL)))
        for name in summary.values
        if name.startswith(RECALL)
    }
    chance["map_at_r"] = chance_of_map_at_r(positives, len(gallery))
    chance[MEDIAN_RANK] = chance_of_median_rank(positives, len(gallery))
    intervals = {**intervals_of_summary(summary, own), MEDIAN_RANK: median.interval}
    return TextRetrieval(chosen, None if len(chosen) == number else number, summary, own, median, intervals, chance)


def _zero_shot(evaluation: Evaluation, classes: NamedClasses, vectors: Tensor) -> ZeroShot:
    """Return the zero-shot classification of the images of known identity."""
    labels = evaluation.retrieval.labels
    rows = np.flatnonzero(np.isin(labels, classes.codes))
    numbers = np.searchsorted(classes.codes, labels[rows])
    images = evaluation.embeddings if len(rows) == len(labels) else evaluation.embeddings[rows]
    places = classify_by_vectors(images, numbers, vectors)
    worst = misnamed_classes(places, classes.labels, WORST)
    return ZeroShot(places, rows, places.values(), places.intervals(), places.chance(), worst)
