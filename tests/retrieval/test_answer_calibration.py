"""What a calibration of answers says of answers that are none."""

import numpy as np

from eml.retrieval.class_answers import answer_by_classes
from tests.retrieval.drawn_worlds import draw_world


def test_a_query_without_any_answer_is_unknown_with_probability_0() -> None:
    world = draw_world(8)
    calibration = world.calibrate()
    nothing = answer_by_classes(world.queries[:3], [], len(world.names))
    assert calibration.unknown(nothing).all()
    first, second = calibration.probabilities(nothing)
    assert first.tolist() == second.tolist() == [0, 0, 0]
    alone = answer_by_classes(world.queries[:3], [(world.index[:12], world.codes[:12])], 1)
    assert np.isfinite(calibration.probabilities(alone)[0]).all()
    assert (calibration.probabilities(alone)[1] == 0).all()
    assert calibration.estimate_unknown_share(nothing) > 0.99
