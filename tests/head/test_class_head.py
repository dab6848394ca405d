import math

import pytest
import torch

from eml.errors import ConfigError
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.margins.arcface import ArcFace
from eml.margins.softmax import Softmax


def test_scale_is_the_papers_or_automatic_or_a_number() -> None:
    assert ClassHead(ArcFace(), 5, 4).scale == 64
    assert ClassHead(ArcFace(), 101, 4, HeadConfig(scale="auto")).scale == pytest.approx(math.sqrt(2) * math.log(100))
    assert ClassHead(ArcFace(), 5, 4, HeadConfig(scale=12)).scale == 12
    assert ClassHead(Softmax(), 5, 4, HeadConfig(scale=12)).scale == 1


def test_automatic_scale_of_two_classes_is_an_error() -> None:
    with pytest.raises(ConfigError, match="0 for 2 classes"):
        ClassHead(ArcFace(), 2, 4, HeadConfig(scale="auto"))


def test_shapes_and_labels_that_do_not_fit_are_named() -> None:
    head = ClassHead(ArcFace(), 5, 4)
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"embeddings must be \(B, 4\), got \(3, 5\)"):
        head(torch.randn(3, 5), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"labels must be \(3,\) int64"):
        head(x, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"labels must be in \[0, 5\), got 0 to 5"):
        head(x, torch.tensor([0, 5, 2]))


def test_correct_counts_samples_whose_class_is_nearest_before_the_margin() -> None:
    head = ClassHead(ArcFace(), 4, 4)
    head.class_weights.data = torch.eye(4)
    terms = head(torch.eye(4)[:3] + 0.4 * torch.eye(4)[[1, 2, 3]], torch.tensor([0, 1, 3]))
    assert terms.correct.tolist() == [True, True, False]


def test_autocast_does_not_lower_the_heads_precision() -> None:
    torch.manual_seed(0)
    head, x, labels = ClassHead(ArcFace(), 50, 16), torch.randn(8, 16), torch.arange(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = head(x, labels)
    assert terms.log_sum_exp.dtype == torch.float32
    torch.testing.assert_close(terms.log_sum_exp, head(x, labels).log_sum_exp)
