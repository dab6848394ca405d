"""Rankings after augmentation and expansion equal loops over the formulas, without the query's own image anywhere."""

import numpy as np
import pytest

from eml.retrieval.reranking import rank_expanded


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def mean(own: np.ndarray, images: list[np.ndarray], count: int) -> np.ndarray:
    """Return own plus its `count` nearest images, each weighted by its cosine cubed."""
    nearest = sorted(images, key=lambda image: -float(own @ image))[:count]
    return unit(own + sum((max(float(own @ image), 0) ** 3 * image for image in nearest), np.zeros_like(own)))


def ranks_of(query: np.ndarray, gallery: list[np.ndarray], positives: list[bool], augment: int, expand: int) -> list:
    """Return the ranks of the positives for one query that is not in the gallery."""
    images = [mean(image, gallery[:place] + gallery[place + 1 :], augment) for place, image in enumerate(gallery)]
    query = mean(query, images, expand)
    order = sorted(range(len(images)), key=lambda place: -float(query @ images[place]))
    return [number for number, place in enumerate(order, 1) if positives[place]]


@pytest.mark.parametrize("augment, expand", [(0, 3), (3, 0), (3, 4), (2, 50)])
@pytest.mark.parametrize("protocol", ["leave-one-out", "query/gallery"])
def test_ranks_equal_those_of_a_gallery_without_the_query(augment: int, expand: int, protocol: str) -> None:
    random = np.random.default_rng(7)
    labels = np.repeat(np.arange(6), 5)
    rows = np.array([unit(row) for row in random.standard_normal((6, 8))[labels] + random.standard_normal((30, 8))])
    if protocol == "leave-one-out":
        queries, gallery, query_labels, gallery_labels, itself = rows, rows, labels, labels, np.arange(30)
    else:
        queries, gallery, query_labels, gallery_labels = (
            rows[::3],
            np.delete(rows, slice(None, None, 3), 0),
            *(
                labels[::3],
                np.delete(labels, slice(None, None, 3)),
            ),
        )
        itself = np.full(len(queries), -1)
    options = {"augment": augment, "expand": expand, "itself": itself}
    checked = 0
    for ranking in rank_expanded(queries, query_labels, gallery, gallery_labels, **options):
        ends = np.cumsum(ranking.positives)
        for query, ranks in zip(ranking.queries, np.split(ranking.ranks, ends[:-1]), strict=True):
            others = [place for place in range(len(gallery)) if place != itself[query]]
            positives = [bool(gallery_labels[place] == query_labels[query]) for place in others]
            expected = ranks_of(queries[query], [gallery[place] for place in others], positives, augment, expand)
            assert ranks.tolist() == expected, query
            checked += 1
    assert checked == len(queries)
