"""The images of a proof are the same ones each time, of many classes, and each finds another one of its class."""

from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.table import Table
from eml.errors import ConfigError, DataError
from eml.exporting.proof.images import choose_images


def table(sizes: list[int], unknown_label: str | None = None) -> Table:
    rows = [(f"c{label:03}", f"c{label:03}/{n:03}.png") for label, size in enumerate(sizes) for n in range(size)]
    return Table(pd.DataFrame(rows, columns=["label", "file_name"]), Path("/nowhere"), unknown_label=unknown_label)


@pytest.mark.parametrize(
    "sizes, count, classes, most",
    [
        ([10] * 100, 200, 50, 4),
        ([2] * 150, 200, 100, 2),
        ([30] * 5, 100, 5, 20),
        ([500, 3, 3], 60, 3, 54),
        ([3] * 7, 200, 7, 3),
        ([5] * 10, 4, 2, 2),
    ],
)
def test_images_are_spread_over_classes(sizes: list[int], count: int, classes: int, most: int) -> None:
    images = choose_images(table(sizes), count=count)
    per_class = images.frame["label"].value_counts()
    assert len(images) == min(count, sum(sizes))
    assert (images.classes, per_class.max()) == (classes, most)
    assert per_class.min() >= 2
    assert images.frame["file_name"].is_unique


def test_an_image_that_would_be_alone_in_its_class_is_left_out() -> None:
    images = choose_images(table([4] * 10), count=9)
    assert images.frame["label"].value_counts().tolist() == [4, 4]


def test_the_choice_depends_on_the_images_and_not_on_their_order() -> None:
    whole = table([9] * 80)
    shuffled = Table(whole.frame.sample(frac=1, random_state=1), whole.root)
    first, second = choose_images(whole), choose_images(shuffled)
    pd.testing.assert_frame_equal(first.frame, second.frame)
    assert not first.frame.equals(choose_images(whole, seed=1).frame)


def test_images_of_unknown_identity_and_lone_ones_are_not_chosen() -> None:
    images = choose_images(table([5, 4, 1, 3], unknown_label="c000"))
    assert sorted(images.frame["label"].unique()) == ["c001", "c003"]


def test_too_few_classes_or_images_are_an_error() -> None:
    with pytest.raises(DataError) as error:
        choose_images(table([5, 1, 1]))
    assert (error.value.code, error.value.parameter) == ("too-few-classes", "prove_on")
    with pytest.raises(ConfigError) as refused:
        choose_images(table([5, 5]), count=3)
    assert (refused.value.code, refused.value.parameter) == ("out-of-range", "prove_images")
