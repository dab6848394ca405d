"""Whether texts tell classes apart."""

import numpy as np
import pytest

from eml.texts import meaning
from eml.texts.embed_texts import text_vectors
from eml.texts.encoders import find_encoder
from eml.texts.meaning import labels_without_words, meaning_warning, similarities_of
from eml.texts.vectors import TextVectors


@pytest.mark.parametrize(
    ("labels", "without"),
    [
        (["1f600", "u1f469_200d", "0042", "n02084071", "A", "-"], 6),  # code points, numbers, ids
        (["person_1", "person_2", "person_3", "person_4"], 4),  # a word of all of them tells nothing
        (["Red_Apple_01", "pear", "Süßkirsche", "りんご", "木", "Äpfel"], 0),
        (["apple 1", "apple 2", "pear 3"], 0),  # of few labels no word is common
    ],
)
def test_labels_without_a_word_of_their_own_are_found(labels: list[str], without: int) -> None:
    assert len(labels_without_words(labels)) == without


def test_only_labels_that_mostly_say_nothing_are_warned_of() -> None:
    assert meaning_warning(["1f600", "1f601", "apple", "pear"]) is None
    assert meaning_warning(["1f600", "1f601", "1f602", "1f603", "apple"]) == (
        "4 of 5 labels have no word of their own ('1f600', '1f601', '1f602' …), so as texts they say nothing about the "
        "images"
    )


def vectors_of(texts: list[str]) -> TextVectors:
    labels = [f"c{row}" for row in range(len(texts))]
    return text_vectors(labels, [(text,) for text in texts], find_encoder("words:a"))


def test_the_nearest_pairs_the_means_and_the_equal_texts_are_those_of_a_plain_loop() -> None:
    texts = ["red mug", "a red mug", "bowl", "red mug", "deep bowl", "cup of tea"]
    vectors = vectors_of(texts)
    cosines = vectors.vectors.astype(np.float64) @ vectors.vectors.T
    pairs = [(cosines[i, j], i, j) for i in range(6) for j in range(i + 1, 6)]
    similar = similarities_of(vectors, 3)
    assert similar is not None
    assert similar.mean == pytest.approx(np.mean([cosine for cosine, _, _ in pairs]), abs=1e-6)
    np.fill_diagonal(cosines, -1)
    assert similar.mean_nearest == pytest.approx(cosines.max(axis=1).mean(), abs=1e-6)
    assert similar.equal == (("c0", "c3"),)
    assert [(pair.first, pair.second) for pair in similar.nearest[:1]] == [("c0", "c1")]
    assert similar.nearest[0].cosine == pytest.approx(cosines[0, 1], abs=1e-6)
    assert all({pair.first, pair.second} != {"c0", "c3"} for pair in similar.nearest)


def test_of_very_many_classes_some_are_compared_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = vectors_of([f"word{number} shared" for number in range(20)])
    monkeypatch.setattr(meaning, "MOST_PAIRS", 100)
    monkeypatch.setattr(meaning, "AT_ONCE", 40)
    similar = similarities_of(vectors, 99)
    assert similar is not None
    assert similar.compared == 5
    cosines = vectors.vectors @ vectors.vectors.T - 2 * np.eye(20)
    assert similar.mean_nearest == pytest.approx(cosines.max(axis=1)[[0, 4, 9, 14, 19]].mean(), abs=1e-6)


def test_a_single_class_has_no_similarities() -> None:
    assert similarities_of(vectors_of(["bowl"]), 3) is None
