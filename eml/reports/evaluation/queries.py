"""Queries to look at: the worst, the median and the best, and what each of them found."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eml.reports.evaluation.evaluated import Evaluated, Integers
from eml.retrieval.search import nearest

SHOWN, NEIGHBOURS = 12, 5


@dataclass(frozen=True)
class Neighbour:
    """row: in the set's frame. similarity: cosine to the query. right: whether the classes are one."""

    row: int
    similarity: float
    right: bool


@dataclass(frozen=True)
class Query:
    """map_at_r: its own. rank: of the first image of its class, from 1."""

    row: int
    map_at_r: float
    rank: int
    neighbours: list[Neighbour]


def shown_queries(evaluation: Evaluated) -> dict[str, list[Query]]:
    """worst, median, best: up to 12 each, none twice, of as many classes as there are."""
    chosen = {name: np.array(places, np.int64) for name, places in choose(evaluation).items()}
    return {name: found(evaluation, places) for name, places in chosen.items()}


def choose(evaluation: Evaluated) -> dict[str, list[int]]:
    """Places among the queries. By MAP@R; where it is equal a wrong first answer is the worse the surer it was."""
    answers, score = evaluation.summary.answers, evaluation.summary.per_query["map_at_r"]
    counted = np.flatnonzero(answers.has_positive)
    confidence = np.where(answers.right, answers.similarity, -answers.similarity)
    order = counted[np.lexsort((confidence[counted], score[counted]))]
    labels = evaluation.wanted.labels[evaluation.wanted.queries]
    outwards = order[np.argsort(np.abs(np.arange(len(order)) - len(order) // 2), kind="stable")]
    count = min(SHOWN, max(1, len(order) // 3))
    taken: set[int] = set()
    chosen = {}
    for name, each in (("worst", order), ("best", order[::-1]), ("median", outwards)):
        chosen[name] = _of_many_classes((place for place in each.tolist() if place not in taken), labels, count)
        taken.update(chosen[name])
    return {name: chosen[name] for name in ("worst", "median", "best") if chosen[name]}


def _of_many_classes(places: Iterable[int], labels: Integers, count: int) -> list[int]:
    """The first of each class in turn; where there are fewer classes, then the first of the others. In their order."""
    places = list(places)
    seen: set[int] = set()
    firsts = []
    for at, place in enumerate(places):
        if labels[place] not in seen:
            seen.add(int(labels[place]))
            firsts.append(at)
            if len(firsts) == count:
                break
    others = sorted(set(range(min(len(places), 2 * count))) - set(firsts))
    return [places[at] for at in sorted([*firsts, *others[: count - len(firsts)]])]


def found(evaluation: Evaluated, places: Integers) -> list[Query]:
    """The queries at these places with their nearest neighbours, by the protocol."""
    wanted, summary = evaluation.wanted, evaluation.summary
    rows = wanted.queries[places]
    indices, similarities = _nearest(evaluation, rows)
    ranks = np.rint(1 / summary.per_query["mean_reciprocal_rank"][places]).astype(int)
    queries = []
    for at, row in enumerate(rows.tolist()):
        neighbours = [
            Neighbour(other, float(similarity), bool(wanted.labels[other] == wanted.labels[row]))
            for other, similarity in zip(indices[at].tolist(), similarities[at].tolist(), strict=True)
            if other >= 0
        ]
        queries.append(Query(row, float(summary.per_query["map_at_r"][places[at]]), int(ranks[at]), neighbours))
    return queries


def _nearest(
    evaluation: Evaluated, rows: Integers
) -> tuple[Integers, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """(Q, 5) rows, −1 where there are fewer, and their similarities; queries with one gallery are searched together."""
    wanted = evaluation.wanted
    indices = np.full((len(rows), NEIGHBOURS), -1)
    similarities = np.full((len(rows), NEIGHBOURS), -np.inf, np.float32)
    keys = [_gallery_key(evaluation, row) for row in rows.tolist()]
    for key in dict.fromkeys(keys):
        some = np.array([at for at, each in enumerate(keys) if each == key])
        gallery = allowed(evaluation, int(rows[some[0]]))
        place = np.full(len(wanted.frame), -1)
        place[gallery] = np.arange(len(gallery))
        everything = len(gallery) == len(wanted.frame) and bool((gallery == np.arange(len(gallery))).all())
        embeddings = evaluation.embeddings if everything else evaluation.embeddings[gallery]
        answer = nearest(evaluation.embeddings[rows[some]], embeddings, NEIGHBOURS, itself=place[rows[some]])
        indices[some] = np.where(answer.indices < 0, -1, gallery[answer.indices])
        similarities[some] = answer.similarities
    return indices, similarities


def _gallery_key(evaluation: Evaluated, row: int) -> tuple[int, ...]:
    """Rows of the same key are compared with the same images."""
    wanted = evaluation.wanted
    within = () if wanted.within is None else (int(wanted.within[row]),)
    if wanted.groups is None or wanted.groups[row] < 0:
        return within
    return (*within, int(wanted.labels[row]), int(wanted.groups[row]))


def allowed(evaluation: Evaluated, row: int) -> Integers:
    """Rows of the gallery that a query is compared with, itself among them."""
    wanted = evaluation.wanted
    counts = np.ones(len(wanted.gallery), bool)
    if wanted.within is not None:
        counts &= wanted.within[wanted.gallery] == wanted.within[row]
    if wanted.groups is not None and wanted.groups[row] >= 0:
        same = wanted.labels[wanted.gallery] == wanted.labels[row]
        counts &= ~(same & (wanted.groups[wanted.gallery] == wanted.groups[row]))
    return wanted.gallery[counts]
