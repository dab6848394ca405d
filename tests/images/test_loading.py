import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eml.errors import DataError
from eml.images.augment import Augment, NoAugment, Standard
from eml.images.loading import InOrder, Pictures, Shuffled, batches, normalise
from eml.images.preprocess import Preprocess

PREPROCESS = Preprocess(size=24)
EVERYTHING = Standard(rotate=20, shift=0.1, zoom=0.1, hue=0.1, erase=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(folder / f"{number} é.png")
    return folder


def pictures(root: Path, augment: Augment | None = None, seed: int = 0) -> Pictures:
    names = [f"{number} é.png" for number in range(10)]
    return Pictures(root, names, PREPROCESS, augmenter=(augment or NoAugment()).build(24), seed=seed)


def epoch(source: Pictures, number: int, workers: int = 0, first_step: int = 0) -> list[tuple[torch.Tensor, list[int]]]:
    order = Shuffled(10, 3, seed=5, epoch=number, first_step=first_step)
    return [(pixels, rows.tolist()) for pixels, rows in batches(source, order, workers)]


def test_pixels_and_order_depend_on_seed_epoch_and_position_alone(root: Path) -> None:
    source = pictures(root, EVERYTHING)
    expected = epoch(source, 1)
    for workers, first_step in ((0, 0), (1, 0), (2, 1)):
        again = epoch(source, 1, workers, first_step)
        assert [rows for _, rows in again] == [rows for _, rows in expected[first_step:]]
        for (pixels, _), (other, _) in zip(again, expected[first_step:], strict=True):
            torch.testing.assert_close(pixels, other, rtol=0, atol=0)


def test_a_picture_drawn_again_gets_other_pixels(root: Path) -> None:
    source = pictures(root, EVERYTHING)
    seen = [source[(1, 0, 3)], source[(1, 1, 3)], source[(2, 0, 3)], pictures(root, EVERYTHING, seed=9)[(1, 0, 3)]]
    for first in range(4):
        for second in range(first):
            assert not torch.equal(seen[first][0], seen[second][0])  # type: ignore[arg-type]


def test_an_epoch_holds_each_picture_at_most_once_and_leaves_others_out_each_time(root: Path) -> None:
    source = pictures(root)
    left_out = set()
    for number in range(1, 9):
        rows = [row for _, batch in epoch(source, number) for row in batch]
        assert len(rows) == len(set(rows)) == 9
        left_out |= set(range(10)) - set(rows)
    assert len(left_out) > 1


def test_evaluation_goes_over_every_picture_in_order(root: Path) -> None:
    rows = [row for _, batch in batches(pictures(root), InOrder(10, 4)) for row in batch.tolist()]
    assert rows == list(range(10))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_picture_is_named_without_a_traceback_in_the_message(root: Path, workers: int) -> None:
    source = Pictures(root, ["gone.png"], PREPROCESS)
    with pytest.raises(DataError, match=r"gone\.png") as caught:
        list(batches(source, InOrder(1, 1), workers))
    assert "Traceback" not in str(caught.value)


def test_boxes_are_cut_out_and_a_blank_one_is_the_whole_picture(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[5:15, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "p.png")
    boxes = np.array([[10, 5, 20, 15], [-1, -1, -1, -1]])
    source = Pictures(tmp_path, ["p.png", "p.png"], Preprocess(size=10), boxes=boxes)
    inside, whole = source[(0, 0, 0)][0], source[(0, 1, 1)][0]
    assert isinstance(inside, torch.Tensor)
    assert isinstance(whole, torch.Tensor)
    assert inside.min() == 255
    assert whole.min() == 0


def test_normalisation_is_per_channel() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 1).reshape(1, 3, 1, 2)
    images = normalise(pixels, PREPROCESS)
    for channel in range(3):
        mean, std = PREPROCESS.mean[channel], PREPROCESS.std[channel]
        torch.testing.assert_close(images[0, channel, 0], torch.tensor([-mean / std, (1 - mean) / std]))


def test_fit_squashes_crops_or_pads() -> None:
    stripes = np.zeros((20, 60, 3), np.uint8)
    stripes[:, :20], stripes[:, 20:40] = (255, 0, 0), (0, 255, 0)
    picture = Image.fromarray(stripes)
    squashed, cropped, padded = (Preprocess(size=30, fit=fit)(picture) for fit in ("squash", "crop", "pad"))
    assert squashed[15, 2].tolist() == [255, 0, 0]
    assert cropped[15, 2].tolist() == cropped[15, 27].tolist() == [0, 255, 0]
    assert padded[15, 2].tolist() == [255, 0, 0]
    assert padded[2, 15].tolist() == padded[27, 15].tolist() == [124, 116, 104]
    assert {squashed.shape, cropped.shape, padded.shape} == {(30, 30, 3)}


def test_augmentation_can_be_sent_to_spawned_workers() -> None:
    pixels = np.zeros((24, 24, 3), np.uint8) + 99
    for augment in (NoAugment(), EVERYTHING):
        made = augment.build(24)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(made))(pixels, 7), made(pixels, 7))
