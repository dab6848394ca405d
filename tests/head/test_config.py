"""Schedules, and settings that do not fit together."""

import math

import pytest

from eml.errors import ConfigError
from eml.head.class_margins import Power
from eml.head.config import MarginSchedule
from eml.margins import Margin
from eml.margins.adacos import AdaCos
from eml.margins.arcface import ArcFace
from eml.margins.combined import Combined
from eml.margins.cosface import CosFace
from eml.margins.normface import NormFace
from eml.margins.proxy_anchor import ProxyAnchor
from eml.margins.softmax import Softmax
from eml.margins.sphereface import SphereFace
from eml.margins.subcenter_arcface import SubcenterArcFace
from eml.margins.vpl import VPL
from tests.head.heads import FOUR_COUNTS, batch_of_four, head_of_four


@pytest.mark.parametrize(
    "shape, middle", [("linear", 0.55), ("cosine", 0.55), ("log", math.sqrt(0.1))], ids=["linear", "cosine", "log"]
)
def test_a_schedule_goes_from_its_start_to_the_whole_margin(shape: str, middle: float) -> None:
    schedule = MarginSchedule.model_validate({"shape": shape, "start": 0.1, "until": 0.5})
    assert schedule.factor(0) == pytest.approx(0.1)
    assert schedule.factor(0.25) == pytest.approx(middle)
    assert schedule.factor(0.5) == schedule.factor(1) == pytest.approx(1)


def test_a_schedule_scales_one_margin_and_class_margins_alike() -> None:
    x, labels = batch_of_four()
    for counts, whole in ((None, [0.35] * 4), (FOUR_COUNTS, Power().margins(FOUR_COUNTS))):
        margins = {"class_margins": Power()} if counts else {}
        head = head_of_four(CosFace(), counts, margin_schedule=MarginSchedule(start=0.2), **margins)
        head.progress = 0.5
        lowered = (head_of_four(NormFace()).logits(x, labels) - head.logits(x, labels)).diagonal() / 8
        assert lowered.tolist() == pytest.approx([0.6 * m for m in whole])


@pytest.mark.parametrize(
    "margin, config, counts, message",
    [
        (Combined(), {"class_margins": Power()}, FOUR_COUNTS, "needs a margin with a field m, and combined has none"),
        (NormFace(), {"margin_schedule": MarginSchedule()}, None, "needs a margin with a field m, and normface has"),
        (ArcFace(), {"class_margins": Power()}, None, "needs the number of images of each class"),
        (ArcFace(), {"class_margins": Power()}, [3, 0, 1, 1], "class 1 has no image"),
        (ArcFace(), {"class_margins": Power(a=4)}, FOUR_COUNTS, "makes margin.m 4.05, which arcface does not allow"),
        (
            SphereFace(),
            {"class_margins": Power()},
            FOUR_COUNTS,
            "makes margin.m 0.2167, which sphereface",
        ),
        (SphereFace(), {"margin_schedule": MarginSchedule(start=0.2)}, None, "makes margin.m 0.8, which sphereface"),
        (AdaCos(), {"scale": "learned"}, None, "cannot be learned, adacos has its own"),
        (SubcenterArcFace(), {"centers": 2}, None, "subcenter_arcface has centres of its own"),
        (VPL(), {"prototypes": "vpl"}, None, "vpl has prototypes of its own"),
        (Softmax(), {"prototypes": "vpl"}, None, "needs normalised class weights"),
        (ProxyAnchor(), {"loss_weight_power": 0.5}, FOUR_COUNTS, "proxy_anchor has no loss per sample"),
    ],
)
def test_settings_that_do_not_fit_together_are_an_error(
    margin: Margin, config: dict[str, object], counts: list[int] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        head_of_four(margin, counts, **config)
    assert error.value.parameter in {f"head.{key}" for key in config}
    assert error.value.code in {"conflicting-settings", "missing-key", "too-few-images", "out-of-range"}
