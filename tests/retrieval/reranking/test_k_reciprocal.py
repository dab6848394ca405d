"""Re-ranking equals the formulas of Zhong 2017, written out with sets and loops."""

import numpy as np
import pytest

from eml.errors import ConfigError
from eml.retrieval.ranking import rank
from eml.retrieval.reranking import ReciprocalGallery, k_reciprocal, rank_reciprocal
from eml.retrieval.search import Neighbours, nearest
from eml.retrieval.similarity import UnitRows


class ByTheFormulas:
    """Sets of Python for a gallery (N, D) of unit vectors; a query is compared by `distances`."""

    def __init__(self, gallery: np.ndarray, k1: int, k2: int, weight: float) -> None:
        self.gallery, self.k1, self.k2, self.weight = gallery, k1, k2, weight
        self.cosines = gallery @ gallery.T
        self.raw = [self.raw_set(image, place) for place, image in enumerate(gallery)]
        self.sets = [self.mean(self.raw[place], image, place) for place, image in enumerate(gallery)]

    def neighbours(self, image: np.ndarray, own: int | None, k: int) -> list[int]:
        """N(p, k), with p itself first if it is in the gallery."""
        cosines = self.gallery @ image
        others = sorted(set(range(len(self.gallery))) - {own}, key=lambda place: -cosines[place])[:k]
        return others if own is None else [own, *others]

    def reciprocal(self, image: np.ndarray, own: int | None, k: int) -> set[int]:
        """R(p, k): those of N(p, k) that would have p among their own k nearest."""
        members, cosines = set(), self.gallery @ image
        for place in self.neighbours(image, own, k):
            nearer = [
                other
                for other in range(len(self.gallery))
                if other not in (place, own) and self.cosines[place, other] > cosines[place]
            ]
            if place == own or len(nearer) < k:
                members.add(place)
        return members

    def raw_set(self, image: np.ndarray, own: int | None) -> dict[int, float]:
        first = self.reciprocal(image, own, self.k1)
        members = set(first)
        for place in first:
            more = self.reciprocal(self.gallery[place], place, self.k1 // 2)
            if len(first & more) >= 2 / 3 * len(more):
                members |= more
        return {place: float(np.exp(-(2 - 2 * image @ self.gallery[place]))) for place in members}

    def mean(self, raw: dict[int, float], image: np.ndarray, own: int | None) -> dict[int, float]:
        others = [place for place in self.neighbours(image, own, self.k1) if place != own][: self.k2 - 1]
        sets = [raw, *(self.raw[place] for place in others)]
        return {place: sum(one.get(place, 0) for one in sets) / len(sets) for one in sets for place in one}

    def distances(self, image: np.ndarray, own: int | None) -> np.ndarray:
        query = self.mean(self.raw_set(image, own), image, own)
        result = []
        for place, other in enumerate(self.sets):
            union = set(query) | set(other)
            lower = sum(min(query.get(key, 0), other.get(key, 0)) for key in union)
            upper = sum(max(query.get(key, 0), other.get(key, 0)) for key in union)
            distance = 2 - 2 * image @ self.gallery[place]
            result.append((1 - self.weight) * (1 - lower / upper) + self.weight * distance)
        return np.array(result)


def embedded(seed: int, classes: int = 8, images: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    rows = random.standard_normal((classes, 8))[labels] + 0.9 * random.standard_normal((len(labels), 8))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def ranks_by_sort(distances: np.ndarray, positives: np.ndarray, own: int | None) -> list[int]:
    order = [place for place in np.argsort(distances) if place != own]
    return [number for number, place in enumerate(order, 1) if positives[place]]


@pytest.mark.parametrize("k1, k2, weight", [(6, 3, 0.3), (10, 1, 0.7), (4, 5, 1.0)])
def test_ranks_equal_those_of_the_formulas(k1: int, k2: int, weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k_reciprocal, "ROWS", 10)
    monkeypatch.setattr(k_reciprocal, "VALUES", 300)
    rows, labels = embedded(0)
    options = {"k1": k1, "k2": k2, "distance_weight": weight}
    for own in (True, False):  # leave-one-out, and queries that are not in the gallery
        gallery, queries = (rows, rows) if own else (rows[::2], rows[1::2])
        gallery_labels, query_labels = (labels, labels) if own else (labels[::2], labels[1::2])
        itself = np.arange(len(rows)) if own else np.full(len(queries), -1)
        formulas = ByTheFormulas(gallery, k1, k2, weight)
        checked = 0
        for ranking in rank_reciprocal(queries, query_labels, gallery, gallery_labels, itself=itself, **options):
            ends = np.cumsum(ranking.positives)
            for query, ranks in zip(ranking.queries, np.split(ranking.ranks, ends[:-1]), strict=True):
                place = int(query) if own else None
                distances = formulas.distances(queries[query], place)
                assert ranks.tolist() == ranks_by_sort(distances, gallery_labels == query_labels[query], place)
                checked += 1
        assert checked == len(queries)


def test_reranking_helps_where_neighbours_share_neighbours() -> None:
    rows, labels = embedded(4, classes=20, images=10)

    def first_right(rankings) -> float:
        return float(np.concatenate([ranking.nearest_is_positive for ranking in rankings]).mean())

    plain = first_right(rank(rows, labels))
    assert first_right(rank_reciprocal(rows, labels, rows, labels, itself=np.arange(200), k1=9)) > plain


def test_an_answer_does_not_depend_on_the_other_queries() -> None:
    rows, _ = embedded(5)
    gallery, queries = rows[:40], UnitRows(rows[40:], "query").exactly(slice(None))
    sets = ReciprocalGallery(gallery, nearest(gallery, gallery, 6, itself=np.arange(40)), k2=3)
    lists = nearest(rows[40:], gallery, 6)
    together = sets.jaccard(queries, lists).toarray()
    for place in range(len(queries)):
        part = Neighbours(lists.indices[place : place + 1], lists.similarities[place : place + 1])
        assert np.array_equal(sets.jaccard(queries[place : place + 1], part).toarray()[0], together[place])


def test_lists_longer_than_the_gallery_and_copies_are_no_problem() -> None:
    rows = np.repeat(np.eye(3), 3, axis=0)
    labels = np.repeat(np.arange(3), 3)
    rankings = list(rank_reciprocal(rows, labels, rows, labels, itself=np.arange(9), k1=20))
    assert np.concatenate([ranking.ranks for ranking in rankings]).tolist() == [1, 2] * 9


def test_settings_out_of_range_are_an_error() -> None:
    with pytest.raises(ConfigError, match="λ of the distance must be above 0 and at most 1, got 0"):
        list(rank_reciprocal(np.eye(3), [0, 0, 1], np.eye(3), [0, 0, 1], itself=np.arange(3), distance_weight=0))
