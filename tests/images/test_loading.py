import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eml.errors import DataError
from eml.images.augment import Augment, Augmenter
from eml.images.augment.none import NoAugment
from eml.images.augment.standard import Standard
from eml.images.crop import Crop
from eml.images.loading import EpochBatches, ImageDataset, InOrder, batches, normalise
from eml.images.preprocess import Fit, Preprocess
from eml.images.random import key_of, uniform
from eml.images.samplers import Classes
from eml.images.samplers.shuffle import Shuffle
from eml.images.source import FileSource

PREPROCESS = Preprocess(size=24)
EVERYTHING = Standard(rotate=20, shift=0.1, zoom=0.1, hue=0.1, erase=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(folder / f"{number} é.png")
    return folder


def photos(root: Path, augment: Augment | None = None, seed: int = 0) -> ImageDataset:
    names = [f"{number} é.png" for number in range(10)]
    return ImageDataset(
        FileSource(root, names), PREPROCESS, augmenter=(augment or NoAugment()).build(PREPROCESS), seed=seed
    )


def epoch(
    source: ImageDataset, number: int, workers: int = 0, first_step: int = 0
) -> list[tuple[torch.Tensor, list[int]]]:
    order = Shuffle().epoch(Classes(np.arange(10)), 3, seed=5, epoch=number)
    return [
        (pixels, rows.tolist()) for pixels, rows in batches(source, EpochBatches(order, number, first_step), workers)
    ]


def test_pixels_and_order_depend_on_seed_epoch_and_position_alone(root: Path) -> None:
    source = photos(root, EVERYTHING)
    expected = epoch(source, 1)
    for workers, first_step in ((0, 0), (1, 0), (2, 1)):
        again = epoch(source, 1, workers, first_step)
        assert [rows for _, rows in again] == [rows for _, rows in expected[first_step:]]
        for (pixels, _), (other, _) in zip(again, expected[first_step:], strict=True):
            torch.testing.assert_close(pixels, other, rtol=0, atol=0)


def test_a_image_drawn_again_gets_other_pixels(root: Path) -> None:
    source = photos(root, EVERYTHING)
    seen = [source[(1, 0, 3)], source[(1, 1, 3)], source[(2, 0, 3)], photos(root, EVERYTHING, seed=9)[(1, 0, 3)]]
    for first in range(4):
        for second in range(first):
            assert not torch.equal(seen[first][0], seen[second][0])


def test_an_epoch_holds_each_image_at_most_once_and_leaves_others_out_each_time(root: Path) -> None:
    source = photos(root)
    left_out = set()
    for number in range(1, 9):
        rows = [row for _, batch in epoch(source, number) for row in batch]
        assert len(rows) == len(set(rows)) == 9
        left_out |= set(range(10)) - set(rows)
    assert len(left_out) > 1


def test_evaluation_goes_over_every_image_in_order(root: Path) -> None:
    rows = [row for _, batch in batches(photos(root), InOrder(10, 4)) for row in batch.tolist()]
    assert rows == list(range(10))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_image_is_named_without_a_traceback_in_the_message(root: Path, workers: int) -> None:
    source = ImageDataset(FileSource(root, ["gone.png"]), PREPROCESS)
    with pytest.raises(DataError, match=r"gone\.png") as caught:
        list(batches(source, InOrder(1, 1), workers))
    assert "Traceback" not in str(caught.value)


def test_boxes_are_cut_out_and_a_blank_one_is_the_whole_image(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[5:15, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "p.png")
    boxes = np.array([[10, 5, 20, 15], [-1, -1, -1, -1]])
    source = ImageDataset(FileSource(tmp_path, ["p.png", "p.png"], boxes), Preprocess(size=10))
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
    image = Image.fromarray(stripes)
    squashed, cropped, padded = (Preprocess(size=30, fit=fit)(image) for fit in ("squash", "crop", "pad"))
    assert squashed[15, 2].tolist() == [255, 0, 0]
    assert cropped[15, 2].tolist() == cropped[15, 27].tolist() == [0, 255, 0]
    assert padded[15, 2].tolist() == [255, 0, 0]
    assert padded[2, 15].tolist() == padded[27, 15].tolist() == [124, 116, 104]
    assert {squashed.shape, cropped.shape, padded.shape} == {(30, 30, 3)}


@pytest.mark.wide
def test_images_can_be_sent_to_spawned_workers_and_give_the_same_pixels(root: Path) -> None:
    source, order = photos(root, EVERYTHING), EpochBatches(np.array([[3, 4]]), epoch=1)
    ((pixels, rows),) = batches(source, order, 1, multiprocessing.get_context("spawn"))
    torch.testing.assert_close(pixels, source.__getitems__([(1, 0, 3), (1, 1, 4)])[0], rtol=0, atol=0)
    assert rows.tolist() == [3, 4]


def test_a_training_crop_is_cut_from_the_full_image(tmp_path: Path) -> None:
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[:, ::2] = 255  # grey once it was brought to 16 pixels; still lines in a crop of a quarter of the side
    Image.fromarray(lines).save(tmp_path / "p.png")
    preprocess = Preprocess(size=16, interpolation="bilinear")
    source = ImageDataset(
        FileSource(tmp_path, ["p.png"]), preprocess, augmenter=Augmenter(crop=Crop(cut=15 / 16, aspect=1))
    )
    contrast = [int(np.ptp(source[(1, position, 0)][0][0].numpy())) for position in range(60)]
    assert np.ptp(preprocess(Image.fromarray(lines))[4:12, 4:12]) < 20
    assert max(contrast) > 150


def test_a_crop_stays_in_the_image_and_keeps_its_share_of_the_area() -> None:
    random = np.random.default_rng(0)
    fits: tuple[Fit, ...] = ("squash", "crop", "pad")
    for fit, size in [*((fit, 8) for fit in fits), ("crop", (16, 8)), ("crop", (8, 32))]:
        preprocess = Preprocess(size=size, fit=fit)
        for width, height in ((100, 100), (1000, 10), (7, 400)):
            base_width, base_height = preprocess.visible_size(width, height)
            base = base_width * base_height
            shares, ratios = [], []
            for _ in range(500):
                left, top, right, bottom = Crop(0.6, 2).part(width, height, preprocess, random.random(4).tolist())
                assert 0 <= left < right <= width + 1e-9
                assert 0 <= top < bottom <= height + 1e-9
                shares.append((right - left) * (bottom - top) / base)
                ratios.append((right - left) / (bottom - top) * base_height / base_width)
            assert 0.4 <= min(shares) < 0.41
            assert 0.95 < max(shares) <= 1 + 1e-9
            assert 0.5 <= min(ratios) < 0.6
            assert 1.7 < max(ratios) <= 2


def test_without_a_cut_the_crop_is_what_evaluation_sees_but_for_where_its_square_lies() -> None:
    draws = [0.3, 0.9, 0.5, 0.5]
    for fit in ("squash", "crop", "pad"):
        preprocess = Preprocess(size=8, fit=fit)
        assert Crop(0, 1).part(90, 60, preprocess, draws) == preprocess.visible_box(90, 60)


def test_draws_are_uniform_and_depend_on_key_position_and_column_alone() -> None:
    drawn = uniform(key_of(7, 3), np.arange(20_000), 6)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(6), atol=0.03)
    np.testing.assert_array_equal(uniform(key_of(7, 3), np.array([19_999, 5]), 4), drawn[[19_999, 5], :4])
    assert (uniform(key_of(7, 4), np.arange(9), 6) != drawn[:9]).all()
    assert (uniform(key_of(3, 7), np.arange(9), 6) != drawn[:9]).all()
