"""Persons that are drawn, as several cameras see them: a re-identification set with Market-1501's names and folders.

An identity is the colours and the patterns of its clothes, hair and bag. Images of it differ by pose, place in the
image, background, and by the light and the colour of the camera.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
PATTERNS = ("plain", "stripes", "bars", "dots")
SCALE = 2  # drawn larger and reduced, so that edges are smooth


def draw_market(root: Path, *, train: int, test: int, cameras: int = 3, per_camera: int = 2, height: int = 128) -> Path:
    """Write a set in the layout of Market-1501: one query of each camera, the other images in the gallery."""
    for identity in range(train + test):
        label = f"{identity + 2:04d}"
        for camera, number, image in _images(identity, cameras, per_camera, height):
            folder = "bounding_box_train" if identity < train else "query" if number == 0 else "bounding_box_test"
            (root / folder).mkdir(parents=True, exist_ok=True)
            image.save(root / folder / f"{label}_c{camera + 1}s1_{number:06d}_00.jpg", quality=92)
    return root


def draw_folders(root: Path, *, identities: int, cameras: int = 2, per_camera: int = 2, height: int = 64) -> Path:
    """Write a folder for each identity."""
    for identity in range(identities):
        folder = root / f"{identity + 2:04d}"
        folder.mkdir(parents=True)
        for camera, number, image in _images(identity, cameras, per_camera, height):
            image.save(folder / f"{folder.name}_c{camera + 1}s1_{number:06d}_00.jpg", quality=92)
    return root


def _images(identity: int, cameras: int, per_camera: int, height: int) -> Iterator[tuple[int, int, Image.Image]]:
    """Yield camera, number and image; an identity looks the same whatever else is drawn."""
    clothes = _Clothes(np.random.default_rng([1, identity]))
    for camera in range(cameras):
        for number in range(per_camera):
            random = np.random.default_rng([2, identity, camera, number])
            yield camera, number, _seen(clothes.draw(height, random), camera, random)


class _Clothes:
    """What an identity wears."""

    def __init__(self, random: np.random.Generator) -> None:
        share = random.uniform(0.5, 1)
        self.skin = int(235 * share), int(195 * share), int(165 * share)
        self.hair, self.top, self.second, self.legs, self.shoes, self.bag = (_colour(random) for _ in range(6))
        self.pattern, self.legs_pattern = random.choice(PATTERNS), random.choice(PATTERNS[:3])
        self.has_bag, self.has_long_hair = random.random() < 0.5, random.random() < 0.5

    def draw(self, height: int, random: np.random.Generator) -> Image.Image:
        """Return the person in a pose of its own before a background, twice as high as wide."""
        tall, wide = SCALE * height, SCALE * height // 2
        image = _background(wide, tall, random)
        pen = ImageDraw.Draw(image)
        size, middle = tall * random.uniform(0.8, 0.95), wide * random.uniform(0.42, 0.58)
        top, step = tall * random.uniform(0.02, 0.06), size * random.uniform(0, 0.06)
        half = size * random.uniform(0.11, 0.14)
        chest, hip, feet = top + 0.17 * size, top + 0.52 * size, top + size
        if self.has_long_hair:
            pen.rectangle((middle - 0.07 * size, top + 0.05 * size, middle + 0.07 * size, top + 0.22 * size), self.hair)
        pen.ellipse((middle - 0.06 * size, top, middle + 0.06 * size, top + 0.16 * size), self.skin)
        pen.chord(
            (middle - 0.07 * size, top - 0.01 * size, middle + 0.07 * size, top + 0.13 * size), 180, 360, self.hair
        )
        for side, offset in ((-1, step), (1, -step)):
            leg = middle + side * 0.45 * half + offset
            box = (leg - 0.42 * half, hip, leg + 0.42 * half, feet)
            self._fill(image, box, self.legs, self.legs_pattern)
            pen.rectangle((box[0], feet - 0.04 * size, box[2] + 0.02 * size, feet), self.shoes)
            arm = middle + side * 1.15 * half
            pen.line((middle + side * 0.9 * half, chest, arm + offset, hip), self.top, max(2, int(0.35 * half)))
        self._fill(image, (middle - half, chest, middle + half, hip), self.top, self.pattern)
        if self.has_bag:
            pen.rectangle((middle - 1.2 * half, chest + 0.1 * size, middle - 0.5 * half, chest + 0.24 * size), self.bag)
        return image.resize((wide // SCALE, tall // SCALE), Image.Resampling.BOX)

    def _fill(self, image: Image.Image, box: tuple[float, ...], colour: Colour, pattern: str) -> None:
        left, top, right, bottom = map(int, box)
        pen, step = ImageDraw.Draw(image), max(4, (bottom - top) // 5)
        pen.rectangle((left, top, right, bottom), colour)
        if pattern == "stripes":
            for y in range(top, bottom, step):
                pen.rectangle((left, y, right, min(bottom, y + step // 2)), self.second)
        elif pattern == "bars":
            for x in range(left, right, step):
                pen.rectangle((x, top, min(right, x + step // 3), bottom), self.second)
        elif pattern == "dots":
            for y in range(top + step // 2, bottom - step // 4, step):
                for x in range(left + step // 2, right - step // 4, step):
                    pen.ellipse((x - step // 4, y - step // 4, x + step // 4, y + step // 4), self.second)


def _seen(image: Image.Image, camera: int, random: np.random.Generator) -> Image.Image:
    """Return an image in the light and colours of a camera, with its noise."""
    own = np.random.default_rng([3, camera])
    light, tint, noise = own.uniform(0.45, 1.15), own.uniform(0.8, 1.2, 3), own.uniform(2, 14)
    pixels = np.asarray(image, float) * light * random.uniform(0.9, 1.1) * tint
    return Image.fromarray((pixels + random.normal(0, noise, pixels.shape)).clip(0, 255).astype(np.uint8))


def _background(width: int, height: int, random: np.random.Generator) -> Image.Image:
    blocks = random.integers(60, 200, (5, 3, 1)) + random.integers(-25, 25, (5, 3, 3))
    return Image.fromarray(blocks.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def _colour(random: np.random.Generator) -> Colour:
    red, green, blue = random.integers(10, 246, 3).tolist()
    return red, green, blue
