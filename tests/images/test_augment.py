"""What must hold of every augmentation; a new member is tested without an edit, unless it has a required setting."""

import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eml.config import Strict, load
from eml.errors import ConfigError, DataError
from eml.images.augment import Augment, Augmenter, PixelTransform
from eml.images.augment._albumentations_adapter import Composed
from eml.images.augment._presets import PhotographicPreset
from eml.images.augment._transform_list import REFUSED, flaws, usable
from eml.images.augment.albumentations import Albumentations
from eml.images.augment.light import Light
from eml.images.augment.randaugment import RandAugment
from eml.images.loading import EpochBatches, ImageDataset, InOrder, batches
from eml.images.preprocess import Pixels, Preprocess
from eml.images.source import FileSource

PREPROCESS = Preprocess(size=48)
LIST = [
    {"RandomResizedCrop": {"scale": [0.6, 1.0]}},
    "HorizontalFlip",
    {"ColorJitter": {"brightness": 0.2, "p": 0.8}},
    {"OneOf": {"p": 0.5, "transforms": [{"GaussianBlur": {"blur_limit": [3, 5]}}, "MotionBlur"]}},
    {"GaussNoise": {"std_range": [0.01, 0.05]}},  # whose numbers are OpenCV's
]
REQUIRED = {"albumentations": {"transforms": LIST}}
MEMBERS = sorted(Augment.members())
CHANGING = [name for name in MEMBERS if name != "none"]
PRESETS = [name for name in MEMBERS if issubclass(Augment.members()[name], PhotographicPreset)]


def member(name: str, **settings: object) -> Augment:
    return Augment.members()[name].model_validate({"type": name} | REQUIRED.get(name, {}) | settings)


def changes(augmenter: Augmenter) -> list[PixelTransform]:
    return [each for each in (augmenter.before_resize, augmenter.after_resize) if each is not None]


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """Smooth, with an edge; neither side is the network's. As Pillow gives it: not writable."""
    y, x = np.mgrid[0:60, 0:80]
    pixels = np.stack([60 + 2 * x, 40 + 2 * y, 200 - x - y], axis=2).clip(0, 255).astype(np.uint8)
    pixels[20:40, 30:55] = (220, 60, 30)
    pixels.flags.writeable = False
    return pixels


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, photo: Pixels) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        Image.fromarray(np.roll(photo, 9 * number, axis=1)).save(folder / f"{number}.png")
    return folder


def source(root: Path, augment: Augment, seed: int = 3) -> ImageDataset:
    names = [f"{number}.png" for number in range(6)]
    return ImageDataset(FileSource(root, names), PREPROCESS, augmenter=augment.build(PREPROCESS), seed=seed)


def drawn(photos: ImageDataset, epoch: int, row: int = 0) -> torch.Tensor:
    pixels, _ = photos[(epoch, row, row)]
    assert isinstance(pixels, torch.Tensor), pixels
    return pixels


@pytest.mark.parametrize("name", MEMBERS)
def test_type_is_the_name_of_its_file(name: str) -> None:
    assert Augment.members()[name].__module__.rpartition(".")[2] == name


@pytest.mark.parametrize("name", MEMBERS)
def test_pixels_depend_on_image_and_seed_alone_not_on_what_was_drawn_before(name: str, photo: Pixels) -> None:
    other = np.ascontiguousarray(photo[::-1, ::-1])
    first, second = changes(member(name).build(PREPROCESS)), changes(member(name).build(PREPROCESS))
    expected = [[change(photo, seed) for seed in range(12)] for change in first]
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    for change, pixels in zip(pickle.loads(pickle.dumps(second)), expected, strict=True):
        for seed in (5, 2**32 - 1, 0, 11, 3):
            change(other, 77 + seed if seed < 100 else seed)
            if seed < 12:
                np.testing.assert_array_equal(change(photo, seed), pixels[seed])


@pytest.mark.parametrize("name", CHANGING)
def test_the_argument_stays_and_pixels_come_out(name: str, photo: Pixels) -> None:
    before = photo.copy()
    for change in changes(member(name).build(PREPROCESS)):
        for seed in range(20):
            made = change(photo, seed)
            assert made.dtype == np.uint8
            assert made.shape[2] == 3
        np.testing.assert_array_equal(photo, before)
        writable = before.copy()
        change(writable, 1)
        np.testing.assert_array_equal(writable, before)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_network_gets_images_of_its_size_with_about_their_mean_colour(name: str, root: Path) -> None:
    plain = drawn(source(root, member("none")), 0).float().mean(dim=(2, 3))
    photos = source(root, member(name))
    made = torch.cat([drawn(photos, epoch) for epoch in range(40)])
    assert made.shape == (40, 3, 48, 48)
    assert made.dtype == torch.uint8
    assert (made.float().mean(dim=(0, 2, 3)) - plain).abs().max() < 30
    assert len({each.numpy().tobytes() for each in made}) >= (30 if name in CHANGING else 1)


@pytest.mark.parametrize("name", CHANGING)
def test_no_other_generator_moves(name: str, root: Path) -> None:
    photos = source(root, member(name))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = (random.random(), float(np.random.rand()), float(torch.rand(())))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    for epoch in range(8):
        drawn(photos, epoch)
    assert (random.random(), float(np.random.rand()), float(torch.rand(()))) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGING)
def test_worker_processes_give_the_same_pixels(name: str, root: Path) -> None:
    photos = source(root, member(name))
    order = np.array([[3, 0], [5, 2], [1, 4]])
    expected = list(batches(photos, EpochBatches(order, epoch=4)))
    for workers in (1, 2):
        for (pixels, rows), (others, again) in zip(
            batches(photos, EpochBatches(order, epoch=4), workers), expected, strict=True
        ):
            assert rows.tolist() == again.tolist()
            torch.testing.assert_close(pixels, others, rtol=0, atol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_with_everything_at_0_is_no_augmentation(name: str, root: Path) -> None:
    settings = {key: 1 if key == "aspect" else 0 for key in PhotographicPreset.model_fields}
    augment = member(name, **settings)
    assert augment.build(PREPROCESS) == Augmenter()
    torch.testing.assert_close(drawn(source(root, augment), 5), drawn(source(root, member("none")), 0), rtol=0, atol=0)


@pytest.mark.parametrize("key", sorted(PhotographicPreset.model_fields.keys() - {"aspect"}))
def test_each_setting_of_a_preset_changes_images_by_itself(key: str, root: Path) -> None:
    settings = {each: 1 if each == "aspect" else 0 for each in PhotographicPreset.model_fields}
    plain = drawn(source(root, member("none")), 0)
    photos = source(root, member("light", **settings | {key: 0.5}))
    assert sum(not torch.equal(drawn(photos, epoch), plain) for epoch in range(10)) >= 2


def test_presets_extend_the_same_settings_and_differ_in_their_defaults() -> None:
    settings = [tuple(getattr(member(name), key) for key in PhotographicPreset.model_fields) for name in PRESETS]
    assert {"light", "standard", "strong", "faces", "products"} <= set(PRESETS)
    assert len(set(settings)) == len(PRESETS)


def test_chances_of_transforms_are_independent_of_each_other() -> None:
    corners = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    change = Composed([{"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}], 2)
    counts: dict[bytes, int] = {}
    for seed in range(1000):
        made = change(corners, seed).tobytes()
        counts[made] = counts.get(made, 0) + 1
    assert len(counts) == 4
    assert min(counts.values()) > 200  # of 250; with a seed for each transform it is two outcomes of 500


def test_randaugment_erases_a_rectangle_of_noise_as_often_as_it_is_told() -> None:
    flat = np.full((48, 48, 3), 128, np.uint8)
    change = RandAugment(policy="rand-m0-n1-p0", erase=0.25).build(PREPROCESS).after_resize
    assert change is not None
    differs = [(change(flat, seed) != 128).any(axis=2) for seed in range(400)]
    erased = [each for each in differs if each.any()]
    assert 60 < len(erased) < 140
    for each in erased:
        rows, columns = np.flatnonzero(each.any(axis=1)), np.flatnonzero(each.any(axis=0))
        block = each[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert block.mean() > 0.9  # filled, but for noise that happens to be 128 in all channels
        assert block.size < 0.36 * each.size


@pytest.mark.parametrize("policy", ["rand-m10-n6-p1-inc1", "rand-m0-n6-p1", "rand-m25-mmax30-n6-p1-mstdinf-inc1"])
def test_randaugment_bears_every_strength_of_every_operation(policy: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    change = RandAugment(policy=policy).build(PREPROCESS).after_resize
    assert change is not None
    assert all(change(image, seed).shape == (16, 16, 3) for seed in range(60))


def test_randaugments_check_asks_timm() -> None:
    RandAugment().check()
    wrong = RandAugment.model_construct(policy="rand-m9-q3")
    with pytest.raises(ConfigError, match=r"augment\.policy: timm does not accept 'rand-m9-q3'"):
        wrong.check()


class Config(Strict):
    augment: Augment = Light()


def problems(tmp_path: Path, text: str) -> str:
    """What `load` says, without the folder."""
    (tmp_path / "run.yaml").write_text("augment:\n" + text)
    with pytest.raises(ConfigError) as caught:
        load(Config, tmp_path / "run.yaml")
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_a_list_of_transforms_is_checked_to_the_last_argument(tmp_path: Path) -> None:
    text = """\
  type: albumentations
  transforms:
    - HorizonalFlip
    - ColorJitter: {brightnes: 0.2, p: 1.8}
    - OneOf:
        transforms:
          - GaussianBlur: {blur_limit: [3, x]}
          - Normalize
    - ToGray: {num_output_channels: 1}
    - ColorJitter:
      brightness: 0.2
    - RandomSizedCrop
    - Mosaic
    - GaussNoise: {std_range: 0.1}
    - SomeOf: {n: 5, transforms: [Blur]}
    - Blur: {blur_limit: 4}
    - Whatever
    - Affine: {interpolation: INTER_FOO}
    - Blur: 7
    - 3
"""
    jitter = "augment.transforms.1.ColorJitter"
    assert problems(tmp_path, text).splitlines() == [
        "run.yaml:4: augment.transforms.0 is not a transform of albumentations: 'HorizonalFlip' "
        "(did you mean 'HorizontalFlip'?).",
        f"run.yaml:5: {jitter}.brightnes is not an argument of ColorJitter (did you mean 'brightness'?); known: "
        "brightness, contrast, saturation, hue, p.",
        f"run.yaml:5: {jitter}.p must be a chance from 0 to 1, got 1.8.",
        "run.yaml:8: augment.transforms.2.OneOf.transforms.0.GaussianBlur.blur_limit must be a valid integer, "
        "got [3, 'x'].",
        "run.yaml:9: augment.transforms.2.OneOf.transforms.1 cannot be used: Normalize does not return "
        "pixels; eml normalises later.",
        "run.yaml:10: augment.transforms.3.ToGray returns uint8 of 64 × 64, not an RGB image of whole numbers from 0 "
        "to 255.",
        "run.yaml:11: augment.transforms.4 must be one transform, got ColorJitter, brightness. Indent the arguments of "
        "ColorJitter further.",
        "run.yaml:13: augment.transforms.5 lacks an argument: RandomSizedCrop needs 'min_max_height'.",
        "run.yaml:14: augment.transforms.6 cannot be used: Mosaic needs several images, and only one is available.",
        "run.yaml:15: augment.transforms.7.GaussNoise.std_range must be a valid tuple, got 0.1.",
        "run.yaml:16: augment.transforms.8.SomeOf.n must be at most 1, the number of transforms, got 5.",
        "run.yaml:17: augment.transforms.9.Blur is refused by albumentations: blur_limit: Non-zero kernel sizes must "
        "be odd. Range (3, 4) automatically adjusted to (3, 5).",
        f"run.yaml:18: augment.transforms.10 is not a transform of albumentations: 'Whatever'; docs/augmentation.md "
        f"lists the {len(usable())} that can be used.",
        "run.yaml:19: augment.transforms.11.Affine.interpolation must be 0, 1, 2, 3 or 4, got 'INTER_FOO'.",
        "run.yaml:20: augment.transforms.12.Blur must be a section with Blur's arguments, got 7.",
        "run.yaml:21: augment.transforms.13 must be the name of a transform or {NAME: {arguments}}, got 3.",
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("  {type: albumentations}", "run.yaml:1: augment.transforms is required."),
        (
            "  {type: albumentations, transforms: []}",
            "run.yaml:2: augment.transforms must contain at least one transform.",
        ),
        ("  {type: albumentations, transforms: Blur}", "run.yaml:2: augment.transforms must be a list, got 'Blur'."),
        (
            "  type: randaugment\n  policy: rand-m9-w0",
            "run.yaml:3: augment.policy must be rand, then sections as in rand-m9-n2-mstd0.5-inc1 (m, n, mmax: whole "
            "numbers; p: 0 to 1; mstd: a number; inc: 0 or 1; tweights, t3a or t3aw), got 'w0' in 'rand-m9-w0'",
        ),
        ("  {type: faces, crop: 1}", "run.yaml:2: augment.crop must be below 1, got 1."),
        (
            "  {type: products, rotate: 200}",
            "run.yaml:2: augment.rotate must be at most 180 (degrees), got 200.",
        ),
    ],
)
def test_other_mistakes_are_told_at_their_line(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text) == expected


@pytest.mark.parametrize("then", ["", pytest.param("import albumentations.pytorch, torch\n", marks=pytest.mark.wide)])
@pytest.mark.slow
def test_a_config_with_transforms_is_checked_without_torch_which_can_still_be_had(tmp_path: Path, then: str) -> None:
    (tmp_path / "run.yaml").write_text("augment: {type: albumentations, transforms: [HorizontalFlip, Blur: ]}")
    code = (
        "import sys\nfrom eml.config import Strict, load\nfrom eml.images.augment import Augment\n"
        "class Config(Strict):\n    augment: Augment\n"
        f"load(Config, {str(tmp_path / 'run.yaml')!r})\n"
        "assert 'albumentations' in sys.modules\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code + then], check=True)


def test_sizes_are_the_networks_where_none_is_given(photo: Pixels) -> None:
    for name, given in (("RandomResizedCrop", {}), ("Resize", {}), ("CenterCrop", {}), ("LongestMaxSize", {})):
        assert max(Composed([{name: given}], 48)(photo, 1).shape) == 48
    assert Composed(["PadIfNeeded"], 70)(photo, 1).shape == (70, 80, 3)
    assert Composed([{"Resize": {"height": 20}}], 48)(photo, 1).shape == (20, 48, 3)


def test_sizes_and_aspect_ratios_are_those_of_a_network_that_sees_no_squares(photo: Pixels) -> None:
    size = (48, 24)
    for name in ("RandomResizedCrop", "Resize", "CenterCrop", "RandomCrop"):
        assert Composed([name], size)(photo, 1).shape == (48, 24, 3)
    assert Composed(["LongestMaxSize"], size)(photo, 1).shape == (18, 24, 3)  # of 60 × 80, within 48 × 24
    assert Composed(["SmallestMaxSize"], size)(photo, 1).shape == (48, 64, 3)
    assert Composed(["PadIfNeeded"], (70, 60))(photo, 1).shape == (70, 80, 3)
    (crop,) = Composed(["RandomResizedCrop"], size).transforms
    assert crop.ratio == (0.375, pytest.approx(2 / 3))
    (crop,) = Composed([{"RandomResizedCrop": {"ratio": [1, 2]}}], size).transforms
    assert crop.ratio == (1, 2)
    again = pickle.loads(pickle.dumps(Composed(["Resize"], size)))
    assert again(photo, 1).shape == (48, 24, 3)


@pytest.mark.parametrize("name", sorted(Augment.members()))
def test_every_augmentation_gives_images_of_the_networks_size(name: str, photo: Pixels) -> None:
    given = {"transforms": ["HorizontalFlip"]} if name == "albumentations" else {}
    preprocess = Preprocess(size=(48, 24))
    augmenter = Augment.members()[name].model_validate({"type": name, **given}).build(preprocess)
    if augmenter.after_resize is not None:
        for seed in range(3):
            assert augmenter.after_resize(preprocess(photo), seed).shape == (48, 24, 3)


def test_transforms_that_cannot_take_the_networks_size_fail_before_the_first_image() -> None:
    augment = Albumentations(transforms=({"RandomCrop": {"height": 64, "width": 64}},))
    message = r"^augment\.transforms: RandomCrop fails on an image of 48 × 48 pixels: Crop size \(height, width\)"
    with pytest.raises(ConfigError, match=message):
        augment.build(PREPROCESS)


def test_a_image_that_is_too_small_for_a_transform_is_told_with_its_size(tmp_path: Path) -> None:
    Image.new("RGB", (20, 30)).save(tmp_path / "small.png")
    augment = Albumentations(transforms=({"RandomCrop": {"height": 40, "width": 40}},))
    photos = ImageDataset(FileSource(tmp_path, ["small.png"]), PREPROCESS, augmenter=augment.build(PREPROCESS))
    with pytest.raises(DataError, match=r"^augment\.transforms: they fail on an image of 20 × 30 pixels: Crop size"):
        next(batches(photos, InOrder(1, 1)))


NEEDED: dict[str, dict[str, object]] = {
    "Crop": {"x_max": 40, "y_max": 40},
    "CropAndPad": {"percent": 0.1},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 10},
    "RandomSizedCrop": {"min_max_height": [30, 44]},
}
COMPOSITIONS = ("OneOf", "OneOrOther", "RandomOrder", "SelectiveChannelTransform", "Sequential", "SomeOf")


def all_transforms() -> Iterator[tuple[str, dict[str, object]]]:
    for name in usable():
        inner = {"transforms": ["RandomBrightnessContrast", "VerticalFlip"]} if name in COMPOSITIONS else {}
        yield name, {"p": 1, **NEEDED.get(name, {}), **inner}


@pytest.mark.wide
def test_every_transform_that_can_be_used_is_a_pure_function_of_pixels_and_seed(photo: Pixels) -> None:
    import cv2

    before, other = photo.copy(), np.ascontiguousarray(photo[::-1])
    for name, arguments in all_transforms():
        assert list(flaws([{name: arguments}])) == [], name
        augment = Albumentations(transforms=({name: arguments},))
        first, second = (
            augment.build(PREPROCESS).before_resize,
            pickle.loads(pickle.dumps(augment.build(PREPROCESS).before_resize)),
        )
        assert first is not None
        expected = [first(photo, seed) for seed in range(4)]
        random.seed(5)
        np.random.seed(6)
        cv2.setRNGSeed(7)
        second(other, 9)
        for seed in (2, 0, 3, 1):
            np.testing.assert_array_equal(second(photo, seed), expected[seed], name)
        np.testing.assert_array_equal(photo, before, name)
        assert all(each.dtype == np.uint8 and each.shape[2] == 3 for each in expected), name


@pytest.mark.wide
def test_every_transform_of_the_library_is_either_usable_or_refused_with_a_reason() -> None:
    import albumentations

    bases = (albumentations.BasicTransform, albumentations.BaseCompose)
    known = {
        name
        for name, each in vars(albumentations).items()
        if isinstance(each, type) and issubclass(each, bases) and name not in {base.__name__ for base in bases}
    }
    of_torch = {"ToTensorV2", "ToTensor3D"}  # which the adapter leaves out
    abstract = {"DualTransform", "ImageOnlyTransform", "Transform3D"}
    assert known - of_torch - abstract == (usable().keys() | REFUSED.keys()) - of_torch
