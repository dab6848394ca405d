import pytest

from eml.errors import ConfigError
from eml.head.class_head import ClassHead
from eml.head.compatibility import check_loss, smoothing_warning
from eml.head.config import HeadConfig
from eml.losses.cross_entropy import CrossEntropy
from eml.losses.focal import Focal
from eml.margins import Margin
from eml.margins.arcface import ArcFace
from eml.margins.proxy_anchor import ProxyAnchor
from eml.margins.sphereface2 import SphereFace2
from eml.margins.uniface import UniFace
from tests.head.heads import batch_of_four, head_of_four


@pytest.mark.parametrize("margin", [SphereFace2(), UniFace(), ProxyAnchor()])
def test_a_margin_with_its_own_loss_allows_neither_smoothing_nor_focal_nor_mixup(margin: Margin) -> None:
    check_loss(margin, CrossEntropy())
    for loss in (CrossEntropy(label_smoothing=0.1), Focal()):
        with pytest.raises(ConfigError, match=f"margin {margin.type} has its own loss"):
            check_loss(margin, loss)
    x, labels = batch_of_four()
    with pytest.raises(ConfigError, match="mixup does not go with"):
        head_of_four(margin).mixed(x, labels, labels, 0.5)


def test_smoothing_that_opposes_the_margin_gives_a_warning() -> None:
    head = ClassHead(ArcFace(), 10_000, 2)
    text = smoothing_warning(head, CrossEntropy(label_smoothing=0.1))
    assert text is not None
    assert "10,000 classes at scale 64" in text
    assert "0.18 above the others" in text  # ln((0.9 + 1e-5)·1e5)/64
    assert "opposes the margin of 0.48" in text  # sin 0.5
    assert smoothing_warning(head, CrossEntropy()) is None
    gentle = ClassHead(ArcFace(m=0.1), 100, 2, HeadConfig(scale=16))
    assert smoothing_warning(gentle, CrossEntropy(label_smoothing=0.1)) is None
