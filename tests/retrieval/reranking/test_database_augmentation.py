"""Gallery images are augmented as the formula says, and never with the query that is compared with them."""

import numpy as np
import pytest
import torch

from eml.retrieval.reranking import AugmentedDatabase, augment_database
from eml.retrieval.search import nearest


def augmented(unit: np.ndarray, place: int, count: int, alpha: float, left_out: int = -1) -> np.ndarray:
    cosines = {other: float(unit[place] @ unit[other]) for other in range(len(unit)) if other not in (place, left_out)}
    total = unit[place].copy()
    for other in sorted(cosines, key=lambda other: -cosines[other])[:count]:
        total += max(cosines[other], 0) ** alpha * unit[other]
    return total / np.linalg.norm(total)


def test_augmented_images_are_the_weighted_means_of_the_formula() -> None:
    gallery = np.random.default_rng(2).standard_normal((20, 6))
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    result = augment_database(gallery, nearest(gallery, gallery, 4, itself=np.arange(20)), alpha=2)
    expected = [augmented(unit, place, 4, 2) for place in range(20)]
    assert result.numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_an_image_is_not_augmented_with_the_query_that_it_is_compared_with() -> None:
    gallery = np.random.default_rng(3).standard_normal((20, 6))
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    database = AugmentedDatabase(gallery, 4, np.arange(20), alpha=2)
    queries = torch.from_numpy(unit).float()
    corrections = database.corrections(queries)
    assert corrections is not None
    scores = (queries @ database.embeddings.T + torch.from_numpy(corrections(np.arange(20)).toarray())).numpy()
    for query in range(20):
        for place in set(range(20)) - {query}:
            expected = unit[query] @ augmented(unit, place, 4, 2, left_out=query)
            assert scores[query, place] == pytest.approx(expected, abs=1e-6)


def test_queries_outside_the_gallery_need_no_correction() -> None:
    database = AugmentedDatabase(np.eye(3), 1, np.full(2, -1))
    assert database.corrections(torch.eye(3)[:2]) is None
