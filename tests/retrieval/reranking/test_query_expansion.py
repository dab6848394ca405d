"""A query is expanded as the formula says."""

import numpy as np
import pytest

from eml.retrieval.reranking import expand_queries
from eml.retrieval.search import nearest


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
def test_expanded_query_is_the_weighted_mean_of_the_formula(alpha: float) -> None:
    random = np.random.default_rng(1)
    queries, gallery = random.standard_normal((7, 6)), random.standard_normal((20, 6)) * 3
    expanded = expand_queries(queries, gallery, nearest(queries, gallery, 4), alpha=alpha)
    for query, result in zip(queries, expanded.numpy(), strict=True):
        query = query / np.linalg.norm(query)
        cosines = [float(query @ image) / np.linalg.norm(image) for image in gallery]
        total = query.copy()
        for place in sorted(range(20), key=lambda place: -cosines[place])[:4]:
            total += max(cosines[place], 0) ** alpha * gallery[place] / np.linalg.norm(gallery[place])
        assert result == pytest.approx(total / np.linalg.norm(total), abs=1e-6)


def test_a_gallery_with_fewer_images_than_asked_for_gives_all_of_them() -> None:
    queries, gallery = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])
    expanded = expand_queries(queries, gallery, nearest(queries, gallery, 5), alpha=1)
    total = np.array([1 + 0.6 * 0.6, 0.6 * 0.8])
    assert expanded[0].numpy() == pytest.approx(total / np.linalg.norm(total))
