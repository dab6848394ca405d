"""The verdict: what a least cosine does not see is seen, and what the images cannot show is said."""

import pytest
import torch

from eml.exporting.proof.agreement import Agreement, compare_embeddings
from eml.exporting.proof.limits import (
    caution_of_batches,
    cautions_of,
    most_difference,
    problems_of_agreement,
    problems_of_batches,
)
from eml.exporting.proof.record import ProofLimits, ProvedBatch
from tests.exporting.proof.test_agreement import RETRIEVAL, embeddings

FLOAT32, INT8 = ProofLimits.of("float32"), ProofLimits.of("int8")
ROUNDING = 3e-7


def shifted(by: float, embedded: torch.Tensor | None = None) -> Agreement:
    before = embeddings() if embedded is None else embedded
    step = torch.randn(before.shape, generator=torch.Generator().manual_seed(5))
    after = before + by * torch.nn.functional.normalize(step)
    return compare_embeddings(before, torch.nn.functional.normalize(after), RETRIEVAL)


def problems(agreement: Agreement, limits: ProofLimits = FLOAT32, rounding: float = ROUNDING) -> list[str]:
    return list(problems_of_agreement(agreement, limits, rounding))


def test_rounding_passes_and_more_than_that_fails_below_what_a_cosine_shows() -> None:
    assert not problems(shifted(3e-6))
    slight = shifted(3e-3)
    assert slight.cosine.min() > 0.9999
    (problem,) = problems(slight)
    assert "rounding explains 0.0001 at most" in problem
    assert not problems(slight, ProofLimits.of("float32", least_cosine=0.999)), "the user accepts it"
    assert not problems(slight, rounding=1e-3), "the network rounds as much itself"
    assert problems(shifted(0.05))[0].startswith(
        "the least cosine between an image's embeddings by both models is 0.99"
    )


def test_nearly_alike_embeddings_are_judged_by_their_distance() -> None:
    alike = torch.nn.functional.normalize(torch.ones(12) + 3e-3 * embeddings())
    agreement = shifted(5e-5, alike)
    assert agreement.cosine.min() > 0.99999999
    assert problems(agreement), "images are 1e-3 apart, so this moves an image by 5 % of that"
    assert not problems(shifted(2e-6, alike))
    assert any("nearly alike" in caution for caution in cautions_of(agreement, FLOAT32, 96, 24))


def test_embeddings_that_are_not_of_unit_length_fail() -> None:
    agreement = compare_embeddings(embeddings(), 1.01 * embeddings(), RETRIEVAL)
    assert problems(agreement) == [
        "the embeddings are not of unit length but 1.01 to 1.01, so dot products of them are no cosines"
    ]


def test_fewer_bits_are_judged_by_the_lower_end_of_the_interval() -> None:
    agreement = shifted(0.3)
    metric = agreement.metrics["map_at_r"]
    assert metric.low is not None
    assert metric.low < metric.difference < 0
    between = ProofLimits.of("int8", most_loss=-(metric.low + metric.difference) / 2)
    assert "these images do not show that the model loses no more" in problems(agreement, between)[0]
    assert not problems(agreement, ProofLimits.of("int8", most_loss=-metric.low * 1.01))
    lost = problems(agreement, ProofLimits.of("int8", most_loss=-metric.difference / 2))
    assert "loses" in lost[0]
    assert not problems(shifted(0), INT8), "no query changed, and the interval of other classes says nothing"


@pytest.mark.parametrize(
    "rounding, distance, most",
    [(1e-7, 1.4, 1e-4), (1e-5, 1.4, 3e-4), (1e-7, 4e-3, 4e-5), (1e-7, 1e-5, 1e-5), (1e-6, 1e-5, 3e-5)],
)
def test_what_rounding_explains(rounding: float, distance: float, most: float) -> None:
    assert most_difference(FLOAT32, rounding, distance) == pytest.approx(most)
    assert most_difference(INT8, rounding, distance) is None


def test_batches_must_run_and_give_the_same() -> None:
    good = ProvedBatch(images=2, least_cosine=1.0, largest_difference=1e-7)
    slight = ProvedBatch(images=7, least_cosine=0.9999999, largest_difference=5e-4)
    other = ProvedBatch(images=7, least_cosine=0.98, largest_difference=0.2)
    fixed = [ProvedBatch(images=count, error="expected 16") for count in (1, 7)]
    assert not list(problems_of_batches([good], FLOAT32, 1e-4))
    assert list(problems_of_batches([good, *fixed], FLOAT32, 1e-4)) == [
        "it takes no batches of 1, 7 images: expected 16"
    ]
    assert "depends on the images beside it" in next(problems_of_batches([good, slight], FLOAT32, 1e-4))
    assert not list(problems_of_batches([slight], INT8, None))
    assert list(problems_of_batches([other], INT8, None))
    assert "0.9800 or more" in next(caution_of_batches([good, other]))


def test_what_the_images_cannot_show_is_said() -> None:
    assert not list(cautions_of(shifted(0), FLOAT32, 96, 24))
    assert len(list(cautions_of(shifted(0), FLOAT32, 12, 3))) == 2
    easy = compare_embeddings(embeddings(0.01), embeddings(0.01), RETRIEVAL)
    assert "so easy" in next(cautions_of(easy, FLOAT32, 96, 24))
    hard = compare_embeddings(embeddings(50), embeddings(50), RETRIEVAL)
    assert "hardly more than chance" in next(cautions_of(hard, FLOAT32, 96, 24))
