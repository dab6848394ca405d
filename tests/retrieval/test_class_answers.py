"""Answers by classes: equal to a plain loop, whatever the tiles, and not decided by the size of a class."""

from collections.abc import Iterator

import numpy as np
import pytest

from eml.errors import ConfigError, DataError
from eml.retrieval import class_answers, class_tiles
from eml.retrieval.class_answers import NEIGHBOURS, Method, answer_by_classes, rank_classes


def drawn(seed: int, classes: int = 12, images: int = 90, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centers, codes = random.normal(size=(classes, size)), random.integers(-1, classes, images)
    embeddings = centers[codes] + 0.6 * random.normal(size=(images, size))
    return embeddings.astype(np.float32), codes


def plain(query: np.ndarray, gallery: np.ndarray, codes: np.ndarray, method: Method, temperature: float) -> list[tuple]:
    """Return (score, class, cosine, row) of every class, best first, by a loop."""
    unit = gallery.astype(np.float64) / np.linalg.norm(gallery.astype(np.float64), axis=1, keepdims=True)
    query = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    found = []
    for code in sorted(set(codes[codes >= 0].tolist())):
        rows = np.flatnonzero(codes == code)
        cosines = unit[rows] @ query
        if method == "nearest":
            score = temperature * np.log(np.mean(np.exp(cosines / temperature)))
        else:
            mean = unit[rows].sum(0)
            score = mean @ query / np.linalg.norm(mean)
        found.append((score, code, cosines.max(), int(rows[cosines.argmax()])))
    return sorted(found, key=lambda answer: (-answer[0], answer[1]))


@pytest.mark.parametrize("method", ["nearest", "centroids"])
def test_answers_are_those_of_a_plain_loop_whatever_the_tiles(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, codes = drawn(1)
    queries = drawn(2, images=20)[0]
    whole = rank_classes(queries, [(gallery, codes)], 12, method, temperature=0.1)
    monkeypatch.setattr(class_tiles, "ROWS", 7)
    monkeypatch.setattr(class_answers, "ENTRIES", 12 * 16)
    parts = [(gallery[:31], codes[:31]), (gallery[31:33], codes[31:33]), (gallery[33:], codes[33:])]
    tiled = rank_classes(queries, lambda: iter(parts), 12, method, temperature=0.1)
    answers = tiled.answers()
    for number, query in enumerate(queries):
        first, second, third = plain(query, gallery, codes, method, 0.1)[:3]
        assert tiled.codes[number].tolist() == [first[1], second[1], third[1]] == whole.codes[number].tolist()
        assert tiled.scores[number] == pytest.approx([first[0], second[0], third[0]], abs=2e-6)
        assert tiled.cosines[number] == pytest.approx([first[2], second[2], third[2]], abs=1e-6)
        assert tiled.rows[number].tolist() == [first[3], second[3], third[3]] == whole.rows[number].tolist()
        assert answers.size[number] == (codes == first[1]).sum()
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    cosines = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ unit[codes >= 0].T
    nearest = codes[codes >= 0][np.argsort(-cosines, axis=1)[:, :NEIGHBOURS]]
    assert np.array_equal(answers.supporters, (nearest == answers.best[:, None]).sum(1))


def test_a_class_that_is_taken_out_is_as_if_it_had_no_images() -> None:
    gallery, codes = drawn(3)
    queries = drawn(4, images=15)[0]
    without = np.random.default_rng(0).integers(-1, 12, len(queries))
    ranked = rank_classes(queries, [(gallery, codes)], 12, without=without)
    for number, code in enumerate(without):
        rest = np.where(codes == code, -1, codes)
        alone = rank_classes(queries[number : number + 1], [(gallery, rest)], 12)
        for field in ("codes", "scores", "cosines", "rows", "sizes", "near_codes", "near_cosines"):
            assert getattr(ranked, field)[number] == pytest.approx(getattr(alone, field)[0], abs=2e-6), field


def recalls(method: Method | None, seed: int) -> tuple[float, float]:
    """Return the recall of a class of 5 images and of one of 500, equally spread; None: a vote of the 10 nearest."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(2, 16))
    sizes = np.array([5, 500])
    codes = np.repeat([0, 1], sizes)
    gallery = centers[codes] + 1.1 * random.normal(size=(505, 16))
    truth = np.repeat([0, 1], 200)
    queries = centers[truth] + 1.1 * random.normal(size=(400, 16))
    if method is None:
        unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
        nearest = codes[np.argsort(-(queries @ unit.T), axis=1)[:, :10]]
        best = (nearest.mean(1) > 0.5).astype(int)
    else:
        best = answer_by_classes(queries, [(gallery, codes)], 2, method).best
    return float((best == truth)[:200].mean()), float((best == truth)[200:].mean())


def test_the_size_of_a_class_does_not_decide() -> None:
    """A class of 5 images is recognised about as often as one of 500; a vote of the nearest hardly ever names it."""
    means = {method: np.mean([recalls(method, seed) for seed in range(12)], 0) for method in ("nearest", "centroids")}
    vote = np.mean([recalls(None, seed) for seed in range(12)], 0)
    assert vote[1] - vote[0] > 0.5
    for method, (small, large) in means.items():
        assert abs(large - small) < 0.15, (method, small, large)


def test_equal_classes_are_told_apart_by_their_order_and_absent_ones_are_none() -> None:
    gallery = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    answers = answer_by_classes(gallery[:1], [(gallery, np.array([2, 1, -1]))], 4)
    assert (answers.best[0], answers.runner_up[0], answers.nearest_row[0]) == (1, 2, 1)
    assert answers.gap[0] == pytest.approx(0, abs=1e-7)
    nothing = answer_by_classes(gallery, [], 4)
    assert set(nothing.best) == set(nothing.runner_up) == set(nothing.nearest_row) == {-1}
    assert nothing.gap.tolist() == nothing.supporters.tolist() == [0, 0, 0]
    assert len(answer_by_classes(gallery[:0], [(gallery, np.arange(3))], 3)) == 0


def test_a_gallery_that_cannot_be_read_again_or_does_not_fit_is_an_error() -> None:
    gallery, codes = drawn(5)

    def tiles() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield gallery, codes

    with pytest.raises(ConfigError, match="can be read only once"):
        answer_by_classes(gallery, tiles(), 12)
    with pytest.raises(ConfigError, match="unknown method 'vote'; there are: nearest, centroids"):
        answer_by_classes(gallery, tiles, 12, "vote")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="must be from −1 to 4"):
        answer_by_classes(gallery, tiles, 5)
    with pytest.raises(DataError, match="of one size, got 4 and 8"):
        answer_by_classes(gallery[:, :4], tiles, 12)
