"""Rankings of texts and images equal a plain loop, with several images of a text and several texts of an image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.errors import DataError
from eml.retrieval import positive_counts, ranking, similarity
from eml.retrieval.metrics import summarise
from eml.retrieval.ranking import Ranking, rank, rank_listed
from tests.examples import examples


def by_loop(queries: np.ndarray, gallery: np.ndarray, pairs: set[tuple[int, int]]) -> list[list[int]]:
    """Return the ranks of each query's positives: sort the gallery by (−cosine, index), walk down the list."""
    ranks = []
    for i, query in enumerate(queries):
        order = sorted(range(len(gallery)), key=lambda j: (-float(query @ gallery[j]), j))
        ranks.append([place for place, j in enumerate(order, 1) if (i, j) in pairs])
    return ranks


def ranks_of(rankings: list[Ranking], count: int) -> list[list[int]]:
    ranks: list[list[int]] = [[] for _ in range(count)]
    for part in rankings:
        for place, value in zip(part.query_of_rank, part.ranks, strict=True):
            ranks[part.queries[place]].append(int(value))
    return ranks


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return texts, images and pairs of both: of some texts many images, of some images no text, with ties."""
    random = np.random.default_rng(seed)
    texts, images = random.integers(1, 30), random.integers(1, 60)
    rows = [random.standard_normal((count, 5)) for count in (texts, images)]
    if seed % 2:
        rows = [np.eye(5)[random.integers(0, 5, count)] for count in (texts, images)]
    rows = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in rows]
    count = random.integers(0, 3 * images)
    return rows[0], rows[1], random.integers(0, texts, count), random.integers(0, images, count)


@pytest.mark.parametrize("seed", range(8))
def test_many_to_many_pairs_are_ranked_as_by_a_loop_in_both_directions(seed, monkeypatch) -> None:
    texts, images, of_text, of_image = drawn(seed)
    pairs = set(zip(of_text.tolist(), of_image.tolist(), strict=True))
    if seed % 3 == 0:
        for module in (ranking, positive_counts, similarity):
            for name, size in (("TILE", 5), ("BLOCK", 8), ("KERNEL", 8), ("OWN_ENTRIES", 9), ("RARE", 2)):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, size)
    forth = list(rank_listed(texts, images, of_text, of_image))
    assert ranks_of(forth, len(texts)) == by_loop(texts, images, pairs)
    back = list(rank_listed(images, texts, of_image, of_text))
    assert ranks_of(back, len(images)) == by_loop(images, texts, {(j, i) for i, j in pairs})
    for part in forth:
        nearest = (texts[part.queries] @ images.T).argmax(1)
        assert part.nearest.tolist() == nearest.tolist()
        assert part.nearest_is_positive.tolist() == [
            (query, image) in pairs for query, image in zip(part.queries.tolist(), nearest.tolist(), strict=True)
        ]


@settings(max_examples=examples(25), deadline=None)
@given(seed=st.integers(0, 10_000), texts=st.integers(1, 9), images=st.integers(1, 25), pairs=st.integers(0, 40))
def test_ranks_keep_what_holds_for_any_texts_and_images(seed: int, texts: int, images: int, pairs: int) -> None:
    """The order of pairs, of queries and the lengths of vectors say nothing; a further image never improves a rank."""
    random = np.random.default_rng(seed)
    queries, gallery = random.standard_normal((texts, 4)), random.standard_normal((images, 4))
    of_text, of_image = random.integers(0, texts, pairs), random.integers(0, images, pairs)
    ranks = ranks_of(list(rank_listed(queries, gallery, of_text, of_image)), texts)
    counts = [len(set(of_image[of_text == text].tolist())) for text in range(texts)]
    assert [len(own) for own in ranks] == counts
    assert all(own == sorted(set(own)) and max(own, default=0) <= images for own in ranks)
    order, shuffled = random.permutation(pairs), random.permutation(texts)
    place = np.argsort(shuffled)
    again = list(rank_listed(queries[shuffled] * 7, gallery / 3, place[of_text[order]], of_image[order]))
    assert [ranks_of(again, texts)[row] for row in place] == ranks
    further = np.concatenate([gallery, random.standard_normal((3, 4))])
    lower = ranks_of(list(rank_listed(queries, further, of_text, of_image)), texts)
    assert all(a <= b for own, worse in zip(ranks, lower, strict=True) for a, b in zip(own, worse, strict=True))
    right = np.argwhere(np.ones((texts, images)))
    everything = ranks_of(list(rank_listed(queries, gallery, right[:, 0], right[:, 1])), texts)
    assert everything == [list(range(1, images + 1))] * texts, "where all are right, each rank is one"


def test_pairs_of_one_class_each_are_ranked_as_labels_are() -> None:
    random = np.random.default_rng(0)
    texts, images = random.standard_normal((7, 4)), random.standard_normal((40, 4))
    labels = random.integers(0, 7, 40)
    pairs = np.argwhere(np.arange(7)[:, None] == labels)
    by_label = summarise(rank(texts, np.arange(7), images, labels))
    by_pairs = summarise(rank_listed(texts, images, pairs[:, 0], pairs[:, 1]))
    assert by_pairs.values == by_label.values
    assert (by_pairs.queries, by_pairs.queries_without_positive) == (
        by_label.queries,
        by_label.queries_without_positive,
    )


def test_images_in_several_lists_are_left_out_on_a_device_too(monkeypatch) -> None:
    """A GPU tells classes apart by one number for each image, which overlapping lists do not have."""
    texts, images, of_text, of_image = drawn(4)
    lists = ranking.PositiveLists.of_pairs(of_text, of_image, len(texts))
    batch = np.arange(len(texts))
    rows = similarity.UnitRows(images, "image")
    listed = ranking.ListedImages(rows, lists, batch, np.full(len(texts), -1), None)
    rows.device = torch.device("meta")
    assert listed._lists_on_device is None
    of_classes = ranking.PositiveLists.of_classes(np.arange(3), np.array([0, 1, 1, 2]))
    assert ranking.ListedImages(rows, of_classes, np.arange(3), np.full(3, -1), None)._lists_on_device is not None


def test_pairs_that_name_what_is_not_there_are_an_error() -> None:
    texts, images = np.eye(2), np.eye(2)
    for queries, positives, message in (
        ([0, 2], [0, 1], "queries of pairs must be from −1 to 1, got 0 to 2"),
        ([0, 1], [0, -1], "2 queries and 2 images of pairs: each pair needs both, from 0 on"),
        ([0, 1], [0], "2 queries and 1 images of pairs"),
    ):
        with pytest.raises(DataError, match=message):
            rank_listed(texts, images, queries, positives)
    with pytest.raises(DataError, match="of one size"):
        rank_listed(texts, np.eye(3), [0], [0])
