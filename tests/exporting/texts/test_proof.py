from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from eml.errors import CheckpointError
from eml.exporting.proof.record import ProofLimits
from eml.exporting.texts.proof import prove_texts
from eml.exporting.texts.samples import AWKWARD, MOST_LABELS, spread_labels

Vectors = NDArray[np.float32]


class Texts:
    """Embeds texts by their bytes."""

    def embed_text(self, texts: Sequence[str], *, batch_size: int = 256) -> Vectors:
        rows = [np.resize(np.frombuffer(text.encode()[:64] + b"?", np.uint8), 16) for text in texts]
        vectors = np.array(rows, np.float32) - 80
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


MODEL = Texts()
LABELS = [f"class {number}" for number in range(2 * MOST_LABELS + 1)]


def scaled(texts: Sequence[str]) -> Vectors:
    return 1.01 * MODEL.embed_text(texts)


def noisy(texts: Sequence[str]) -> Vectors:
    vectors = MODEL.embed_text(texts)
    vectors[:, 0] += 1e-3
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def wrong_for_long_texts(texts: Sequence[str]) -> Vectors:
    return MODEL.embed_text([text[:10] for text in texts])


def of_its_batch(texts: Sequence[str]) -> Vectors:
    vectors = MODEL.embed_text(texts)
    return vectors if len(texts) != 2 else vectors[::-1]


def none(texts: Sequence[str]) -> Vectors:
    raise CheckpointError("no such operator", code="damaged-file")


def test_a_tower_that_embeds_alike_passes() -> None:
    proof = prove_texts(MODEL, MODEL.embed_text, LABELS, ProofLimits())  # type: ignore[arg-type]
    assert proof.passed, proof.problems
    assert (proof.labels, proof.awkward) == (MOST_LABELS, len(AWKWARD))
    assert proof.least_cosine == pytest.approx(1)
    assert len(set(spread_labels(LABELS))) == MOST_LABELS


def test_texts_that_the_checkpoint_cannot_embed_are_left_out() -> None:
    class WithoutEmpty(Texts):
        def embed_text(self, texts: Sequence[str], *, batch_size: int = 256) -> Vectors:
            vectors = super().embed_text(texts)
            vectors[[not text for text in texts]] = np.nan
            return vectors

    proof = prove_texts(WithoutEmpty(), MODEL.embed_text, [], ProofLimits())  # type: ignore[arg-type]
    assert proof.passed, proof.problems
    assert proof.awkward == len(AWKWARD) - 1


@pytest.mark.parametrize(
    ("embed", "problem"),
    [
        (scaled, "not of unit length"),
        (noisy, "rounding explains"),
        (wrong_for_long_texts, "texts are below it"),
        (of_its_batch, "in a batch of 2"),
        (lambda texts: MODEL.embed_text(texts)[:, :8], "shape"),
        (lambda texts: MODEL.embed_text(texts) * np.nan, "NaN"),
        (none, "cannot be run: no such operator"),
    ],
)
def test_a_tower_that_embeds_otherwise_fails(embed: object, problem: str) -> None:
    proof = prove_texts(MODEL, embed, LABELS[:3], ProofLimits())  # type: ignore[arg-type]
    assert not proof.passed
    assert problem in " ".join(proof.problems)
