"""Values of other images are left out."""

from eml.training.comparable import drop_incomparable


def test_the_values_of_a_set_are_left_out_before_its_images_are_those_of_now() -> None:
    line = {"epoch": 1, "step": 5, "map_at_r": 0.5, "w/map_at_r": 0.25}
    assert drop_incomparable(line, {}) == line
    assert drop_incomparable(line, {"": 1, "w": 2}) == {"epoch": 1, "step": 5, "map_at_r": 0.5}
    assert drop_incomparable(line, {"": 2}) == {"epoch": 1, "step": 5, "w/map_at_r": 0.25}
