"""Example texts, the worst, the median and the best, with the images that they find."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eml.evaluation.evaluate import Evaluation
from eml.evaluation.texts.measures import TextMeasures, TextRetrieval
from eml.reports.evaluation.queries import Integers, Neighbour, places_by_score
from eml.retrieval.search import nearest

SHOWN, FOUND = 6, 6  # texts of each kind, images of each text: the page stays small


@dataclass(frozen=True)
class TextQuery:
    """A text with its nearest images.

    Attributes:
        text: The text; of a class with several, the first.
        more: The number of the class's other texts.
        label: The class, where the text is of one and says something else.
        map_at_r: Its own MAP@R.
        rank: The rank of its first right image, from 1.
        neighbours: Its nearest images.
    """

    text: str
    more: int
    label: str
    map_at_r: float
    rank: int
    neighbours: list[Neighbour]


@dataclass(frozen=True)
class TextGallery:
    """Text queries of one kind.

    Attributes:
        title: What the texts are.
        queries: worst, median, best → text queries.
    """

    title: str
    queries: dict[str, list[TextQuery]]

    def rows(self) -> Iterator[int]:
        """Yield the rows of the set's frame whose images are shown."""
        for query in (query for queries in self.queries.values() for query in queries):
            yield from (neighbour.row for neighbour in query.neighbours)


def text_galleries(evaluation: Evaluation, measures: TextMeasures) -> list[TextGallery]:
    """Return the captions, and the texts of the classes where these are others, that are shown with their images."""
    embedded, galleries = measures.embedded, []
    captions, classes = embedded.texts.captions, embedded.texts.classes
    if captions is not None and embedded.captions is not None and measures.captions_to_images is not None:
        pairs = captions.text_of_pair, captions.row_of_pair
        texts = [(text, 0, "") for text in captions.texts]
        queries = _queries(evaluation, measures.captions_to_images, embedded.captions.numpy(), pairs, texts)
        galleries.append(TextGallery(f"Texts of {' and '.join(captions.columns)}", queries))
    own_texts = [] if classes is None else sorted(text for own in classes.texts for text in own)
    if captions is not None and own_texts == sorted(captions.texts):
        return galleries  # each class has one caption, so that both would show the same
    if classes is not None and embedded.classes is not None and measures.classes_to_images is not None:
        labels = evaluation.retrieval.labels
        rows = np.flatnonzero(np.isin(labels, classes.codes))
        pairs = np.searchsorted(classes.codes, labels[rows]), rows
        texts = [(own[0], len(own) - 1, label) for label, own in zip(classes.labels, classes.texts, strict=True)]
        queries = _queries(evaluation, measures.classes_to_images, embedded.classes.numpy(), pairs, texts)
        galleries.append(TextGallery("Texts of the classes", queries))
    return galleries


def _queries(
    evaluation: Evaluation,
    retrieval: TextRetrieval,
    vectors: np.ndarray,
    pairs: tuple[Integers, Integers],
    texts: list[tuple[str, int, str]],
) -> dict[str, list[TextQuery]]:
    """Return the worst, median and best texts.

    Args:
        evaluation: With the embeddings of the images.
        retrieval: Of images by the texts.
        vectors: (T, D) of all texts.
        pairs: (P,) texts and (P,) rows of their images.
        texts: (T,) each text, the number of others, and its class.
    """
    chosen = places_by_score(retrieval.summary, retrieval.classes, SHOWN)
    per_query = retrieval.summary.per_query
    positives = set(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True))
    queries: dict[str, list[TextQuery]] = {}
    for name, places in chosen.items():
        numbers = retrieval.queries[places]
        answer = nearest(vectors[numbers], evaluation.embeddings, FOUND)
        for place, number, rows, cosines in zip(places, numbers, answer.indices, answer.similarities, strict=True):
            neighbours = [
                Neighbour(row, float(cosine), (int(number), row) in positives)
                for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True)
                if row >= 0
            ]
            rank = round(1 / float(per_query["mean_reciprocal_rank"][place]))
            score = float(per_query["map_at_r"][place])
            text, more, label = texts[number]
            queries.setdefault(name, []).append(TextQuery(text, more, label, score, rank, neighbours))
    return queries
