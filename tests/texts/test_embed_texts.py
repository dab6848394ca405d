"""Class texts → text vectors, and the cache of them."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eml.errors import ConfigError, DataError
from eml.images.cache.store import CACHE_FOLDER
from eml.models.text_tower import TextTower
from eml.texts.embed_texts import text_vectors
from eml.texts.encoders import check_encoder, find_encoder
from eml.texts.own_tower import OwnTower
from eml.texts.vector_cache import remove_vector_caches
from tests.texts.words import SIZE, Words

LABELS = ["mug", "bowl", "cup"]
TEXTS = [("a red mug", "a mug"), ("a bowl",), ("a cup",)]


@pytest.fixture(autouse=True)
def encoded() -> list[str]:
    """Return the texts that the encoder embeds in a test."""
    Words.encoded.clear()
    return Words.encoded


def test_a_class_has_the_mean_of_its_texts_unit_vectors_brought_to_unit_length() -> None:
    encoder = find_encoder("words:a")
    vectors = text_vectors(LABELS, TEXTS, encoder, template=["{label}"])
    parts = encoder.embed(["a red mug", "a mug"])
    mean = parts[0] + parts[1]
    np.testing.assert_allclose(vectors.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors.vectors, axis=1), 1, atol=1e-6)
    assert vectors.vectors.shape == (3, SIZE)
    assert vectors.vectors.dtype == np.float32
    assert vectors.encoder.name == "words:a"


def test_texts_that_were_embedded_before_come_from_the_cache(tmp_path: Path, encoded: list[str]) -> None:
    first = text_vectors(LABELS[:2], TEXTS[:2], find_encoder("words:a"), cache=tmp_path)
    assert sorted(encoded) == sorted([*TEXTS[0], *TEXTS[1]])
    encoded.clear()
    second = text_vectors(LABELS[::-1], TEXTS[::-1], find_encoder("words:a"), cache=tmp_path)
    assert encoded == ["a cup"]
    np.testing.assert_array_equal(second.vectors[[2, 1]], first.vectors)
    encoded.clear()
    text_vectors(LABELS, TEXTS, find_encoder("words:b"), cache=tmp_path)
    assert len(encoded) == 4  # another encoder has a file of its own


def test_one_text_with_a_null_character_is_not_taken_for_two(tmp_path: Path) -> None:
    for own in (["a\0b"], ["a", "b"]):
        cached = text_vectors(["x"], [own], find_encoder("words:a"), cache=tmp_path)
        np.testing.assert_array_equal(cached.vectors, text_vectors(["x"], [own], find_encoder("words:a")).vectors)


def test_a_damaged_cache_is_made_again(tmp_path: Path, encoded: list[str]) -> None:
    whole = text_vectors(LABELS, TEXTS, find_encoder("words:a"), cache=tmp_path)
    (file,) = tmp_path.glob("texts-*.safetensors")
    file.write_bytes(file.read_bytes()[:-4])
    encoded.clear()
    again = text_vectors(LABELS, TEXTS, find_encoder("words:a"), cache=tmp_path)
    assert len(encoded) == 4
    np.testing.assert_array_equal(again.vectors, whole.vectors)


def test_the_caches_of_a_folder_can_be_removed(tmp_path: Path) -> None:
    text_vectors(LABELS, TEXTS, find_encoder("words:a"), cache=tmp_path / CACHE_FOLDER)
    text_vectors(LABELS, TEXTS, find_encoder("words:b"), cache=tmp_path / CACHE_FOLDER)
    removed = remove_vector_caches(tmp_path / CACHE_FOLDER)
    assert len(removed) == 2
    assert not (tmp_path / CACHE_FOLDER).exists()
    assert remove_vector_caches(tmp_path / CACHE_FOLDER) == {}


def test_several_at_once_leave_one_whole_cache_with_all_texts(tmp_path: Path, encoded: list[str]) -> None:
    texts = [(f"text {number}",) for number in range(40)]

    def embed(start: int) -> None:
        part = texts[start : start + 20]
        text_vectors([text for (text,) in part], part, find_encoder("words:a"), cache=tmp_path)

    threads = [threading.Thread(target=embed, args=(start,)) for start in (0, 5, 10, 15, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(encoded) == sorted(text for (text,) in texts)  # each one once


def test_a_folder_that_cannot_be_written_costs_only_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    vectors = text_vectors(LABELS, TEXTS, find_encoder("words:a"), cache=tmp_path / "file" / "in", report=lines.append)
    assert len(vectors.vectors) == 3
    assert len(lines) == 1
    assert lines[0].startswith("text vectors are not cached: ")


def test_a_text_without_a_direction_is_refused() -> None:
    with pytest.raises(DataError, match="words:a: the vector of '  ' is zero, NaN or infinite"):
        find_encoder("words:a").embed(["a", "  "])


def test_the_name_of_no_encoder_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"`encoder`: 'word:a' is no text encoder \(did you mean 'words:'\?\); known: "
    ):
        check_encoder("word:a")
    with pytest.raises(ConfigError, match="`encoder`: 'words:' names no encoder; write words:NAME_OR_PATH"):
        find_encoder("words:")


class Letters(nn.Module):
    """The sum of the embeddings of characters; noise in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(256, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.letters(tokens).sum(dim=1) + (torch.randn(len(tokens), 4) if self.training else 0)


def test_a_tower_embeds_without_gradients_in_eval_mode_and_stays_as_it_was() -> None:
    letters = Letters()
    tower = TextTower(letters, lambda texts: torch.tensor([[*text.encode()[:6].ljust(6)] for text in texts]), 2.0)
    encoder = OwnTower(tower.train(), "tower")
    vectors = text_vectors(LABELS, TEXTS, encoder)
    np.testing.assert_array_equal(vectors.vectors, text_vectors(LABELS, TEXTS, encoder).vectors)
    assert tower.training
    assert vectors.encoder.logit_scale == pytest.approx(np.exp(2))
    with torch.no_grad():
        letters.letters.weight[ord("m")] += 1
    assert OwnTower(tower, "tower").digest != vectors.encoder.digest
