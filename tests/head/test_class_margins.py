import pytest

from eml.head.class_margins import MinMax, Power
from eml.margins.cosface import CosFace
from eml.margins.normface import NormFace
from tests.head.heads import FOUR_COUNTS, batch_of_four, head_of_four


def test_class_margins_fall_with_the_count() -> None:
    assert Power().margins(FOUR_COUNTS) == pytest.approx(
        [0.55, 0.3, 0.5 / 3 + 0.05, 0.5 / 3 + 0.05]
    )  # n^(−1/4): 1, 1/2, 1/3
    assert MinMax().margins(FOUR_COUNTS) == pytest.approx([0.5, 0.05 + 0.45 * (1 / 2 - 1 / 3) / (2 / 3), 0.05, 0.05])
    assert MinMax().margins([7, 7]) == [0.5, 0.5]


def test_class_margins_replace_m_row_by_row() -> None:
    x, labels = batch_of_four()
    head = head_of_four(CosFace(m=0.35), FOUR_COUNTS, class_margins=Power())
    plain = head_of_four(NormFace())
    lowered = (plain.logits(x, labels) - head.logits(x, labels)).diagonal() / 8
    assert lowered.tolist() == pytest.approx(Power().margins(FOUR_COUNTS))
