"""Example queries, the worst, the median and the best, with their nearest images."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eml.evaluation.evaluate import Evaluation
from eml.retrieval.metrics import Summary
from eml.retrieval.search import nearest

SHOWN, NEIGHBOURS = 12, 5
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbour:
    """A gallery image near a query. row: in the set's frame. right: whether it is of the query's class."""

    row: int
    similarity: float
    right: bool


@dataclass(frozen=True)
class ExampleQuery:
    """A query with its nearest images.

    Attributes:
        row: The query in the set's frame.
        map_at_r: Its own MAP@R.
        rank: The rank of the first image of its class, from 1.
        neighbours: Its nearest images.
    """

    row: int
    map_at_r: float
    rank: int
    neighbours: list[Neighbour]


def example_queries(evaluation: Evaluation) -> dict[str, list[ExampleQuery]]:
    """Return up to 12 of the worst, median and best queries each, none twice, of as many classes as possible."""
    chosen = {name: np.array(places, np.int64) for name, places in choose_places(evaluation).items()}
    return {name: with_neighbours(evaluation, places) for name, places in chosen.items()}


def choose_places(evaluation: Evaluation) -> dict[str, list[int]]:
    """Return places in the set's queries, ordered as `places_by_score` says."""
    return places_by_score(evaluation.summary, evaluation.retrieval.labels[evaluation.retrieval.queries])


def places_by_score(summary: Summary, labels: Integers, most: int = SHOWN) -> dict[str, list[int]]:
    """Return worst, median, best → places in the queries of a summary, ordered by MAP@R, of many classes.

    Of equal ones, a wrong first answer is the worse the more similar it is, a right one the better.

    Args:
        summary: Of Q queries.
        labels: (Q,) their classes.
        most: Places of each kind at most.
    """
    answers, score = summary.answers, summary.per_query["map_at_r"]
    counted = np.flatnonzero(answers.has_positive)
    confidence = np.where(answers.right, answers.similarity, -answers.similarity)
    order = counted[np.lexsort((confidence[counted], score[counted]))]
    outwards = order[np.argsort(np.abs(np.arange(len(order)) - len(order) // 2), kind="stable")]
    count = min(most, max(1, len(order) // 3))
    used: set[int] = set()
    chosen = {}
    for name, places in (("worst", order), ("best", order[::-1]), ("median", outwards)):
        chosen[name] = _from_many_classes((place for place in places.tolist() if place not in used), labels, count)
        used.update(chosen[name])
    return {name: chosen[name] for name in ("worst", "median", "best") if chosen[name]}


def _from_many_classes(places: Iterable[int], labels: Integers, count: int) -> list[int]:
    """Return the first place of each class, then the first of the others if there are fewer classes; in order."""
    places = list(places)
    seen: set[int] = set()
    firsts = []
    for position, place in enumerate(places):
        if labels[place] not in seen:
            seen.add(int(labels[place]))
            firsts.append(position)
            if len(firsts) == count:
                break
    others = sorted(set(range(min(len(places), 2 * count))) - set(firsts))
    return [places[position] for position in sorted([*firsts, *others[: count - len(firsts)]])]


def with_neighbours(evaluation: Evaluation, places: Integers) -> list[ExampleQuery]:
    """Return the queries at some places with their nearest images, by the protocol."""
    retrieval, summary = evaluation.retrieval, evaluation.summary
    rows = retrieval.queries[places]
    indices, similarities = _search(evaluation, rows)
    ranks = np.rint(1 / summary.per_query["mean_reciprocal_rank"][places]).astype(int)
    queries = []
    for number, row in enumerate(rows.tolist()):
        neighbours = [
            Neighbour(image, float(similarity), bool(retrieval.labels[image] == retrieval.labels[row]))
            for image, similarity in zip(indices[number].tolist(), similarities[number].tolist(), strict=True)
            if image >= 0
        ]
        score = float(summary.per_query["map_at_r"][places[number]])
        queries.append(ExampleQuery(row, score, int(ranks[number]), neighbours))
    return queries


def _search(evaluation: Evaluation, rows: Integers) -> tuple[Integers, NDArray[np.float32]]:
    """Return the nearest rows of each query, (Q, 5), −1 if there are fewer, and their similarities.

    Queries that share a gallery are searched together.
    """
    retrieval = evaluation.retrieval
    indices = np.full((len(rows), NEIGHBOURS), -1)
    similarities = np.full((len(rows), NEIGHBOURS), -np.inf, np.float32)
    keys = [_gallery_key(evaluation, row) for row in rows.tolist()]
    for key in dict.fromkeys(keys):
        numbers = np.array([number for number, own_key in enumerate(keys) if own_key == key])
        gallery = allowed_gallery(evaluation, int(rows[numbers[0]]))
        place = np.full(len(retrieval.frame), -1)
        place[gallery] = np.arange(len(gallery))
        everything = len(gallery) == len(retrieval.frame) and bool((gallery == np.arange(len(gallery))).all())
        embeddings = evaluation.gallery_embeddings if everything else evaluation.gallery_embeddings[gallery]
        queries = rows[numbers]
        answer = nearest(evaluation.embeddings[queries], embeddings, NEIGHBOURS, itself=place[queries])
        indices[numbers] = np.where(answer.indices < 0, -1, gallery[answer.indices])
        similarities[numbers] = answer.similarities
    return indices, similarities


def _gallery_key(evaluation: Evaluation, row: int) -> tuple[int, ...]:
    """Return a key that is equal for queries with the same gallery."""
    retrieval = evaluation.retrieval
    within = () if retrieval.within is None else (int(retrieval.within[row]),)
    if retrieval.groups is None or retrieval.groups[row] < 0:
        return within
    return (*within, int(retrieval.labels[row]), int(retrieval.groups[row]))


def allowed_gallery(evaluation: Evaluation, row: int) -> Integers:
    """Return the rows of the gallery that a query is compared with, itself among them."""
    retrieval = evaluation.retrieval
    gallery = retrieval.gallery
    allowed = np.ones(len(gallery), bool)
    if retrieval.within is not None:
        allowed &= retrieval.within[gallery] == retrieval.within[row]
    if retrieval.groups is not None and retrieval.groups[row] >= 0:
        same_class = retrieval.labels[gallery] == retrieval.labels[row]
        allowed &= ~(same_class & (retrieval.groups[gallery] == retrieval.groups[row]))
    return gallery[allowed]
