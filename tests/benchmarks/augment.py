"""Images per second of each augmentation, one thread, on decoded images, against torchvision v2's equivalents.

    OMP_NUM_THREADS=1 python tests/benchmarks/augment.py --images grocery160/images [--side 128 --count 400]

All augmentations get the same decoded images and return (side, side, 3) or (3, side, side) uint8. They run in turns;
the result is the median of the rounds. torchvision's `standard` has the same crop, flip and colour changes with the
same probabilities, on Pillow images and on tensors. "seeding" is the cost of a list of transforms that do nothing,
with eml's seeding and with albumentations' own.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from eml.images.augment import Augment
from eml.images.augment._albumentations_adapter import Composed, library
from eml.images.decode import Box, OpenedImage
from eml.images.loading import ImageDataset
from eml.images.preprocess import Preprocess

Work = Callable[[int], Any]
LIST = [
    {"RandomResizedCrop": {"scale": [0.7, 1.0], "ratio": [0.833, 1.2]}},
    "HorizontalFlip",
    {"ColorJitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0, "p": 0.8}},
]


class Decoded:
    """A source of images that are in memory."""

    def __init__(self, photos: list[np.ndarray]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def whole(self, row: int, side: int) -> OpenedImage:
        return self.photos[row]

    def part(self, row: int, side: int, choose: Callable[[float, float], Box]) -> tuple[OpenedImage, Box]:
        height, width, _ = self.photos[row].shape
        return self.photos[row], choose(width, height)


def eml_work(source: Decoded, name: str, side: int, batch: int) -> Work:
    settings = {"type": name} | ({"transforms": LIST} if name == "albumentations" else {})
    preprocess = Preprocess(size=side, interpolation="bilinear")
    augmenter = Augment.members()[name].model_validate(settings).build(preprocess)
    photos = ImageDataset(source, preprocess, augmenter=augmenter)

    def work(epoch: int) -> None:
        for first in range(0, len(source), batch):
            rows = range(first, min(first + batch, len(source)))
            photos.__getitems__([(epoch, row, row) for row in rows])

    return work


def torchvision_work(photos: list[Any], side: int, *, randaugment: bool = False) -> Work:
    crop = v2.RandomResizedCrop(side, scale=(0.7, 1), ratio=(1 / 1.2, 1.2))
    colour = v2.RandomApply([v2.ColorJitter(0.2, 0.2, 0.2)], 0.8)
    changed = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.RandAugment() if randaugment else colour, v2.ToImage()])

    def work(epoch: int) -> None:
        for photo in photos:
            changed(photo)

    return work


def seeding(ours: bool) -> float:
    """Return the microseconds of a list of three transforms that do nothing."""
    pixels, module = np.zeros((8, 8, 3), np.uint8), library()
    compose = module.Compose([module.NoOp(p=1) for _ in range(3)])
    composed = Composed(["NoOp"] * 3, 8)
    started = time.perf_counter()
    for seed in range(1000):
        if ours:
            composed(pixels, seed)
        else:
            compose.set_random_seed(seed)
            compose(image=pixels)
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)

    files = sorted(options.images.rglob("*.jpg"))
    files = files[:: max(1, len(files) // options.count)][: options.count]
    photos = [np.array(Image.open(file).convert("RGB")) for file in files]
    tensors = [torch.from_numpy(pixels).permute(2, 0, 1).contiguous() for pixels in photos]
    pillow = [Image.fromarray(pixels) for pixels in photos]
    source = Decoded(photos)
    works = {f"eml {name}": eml_work(source, name, options.side, options.batch) for name in sorted(Augment.members())}
    works["torchvision, as standard, Pillow"] = torchvision_work(pillow, options.side)
    works["torchvision, as standard, tensors"] = torchvision_work(tensors, options.side)
    works["torchvision, crop, flip, RandAugment, Pillow"] = torchvision_work(pillow, options.side, randaugment=True)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(options.rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work(turn)
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    reference = seconds["torchvision, as standard, Pillow"]
    print(f"{len(files)} images to {options.side} pixels, medians of {options.rounds} rounds in turns")
    print("| | images per second | times torchvision's rate |\n|---|---|---|")
    for name, times in seconds.items():
        ratio = median(theirs / ours for theirs, ours in zip(reference, times, strict=True))
        print(f"| {name} | {len(files) / median(times):,.0f} | {ratio:.2f} |")
    ours, own = (median(seeding(which) for _ in range(5)) for which in (True, False))
    print(f"seeding and calling three transforms that do nothing: {ours:.0f} µs, with albumentations' own {own:.0f} µs")


if __name__ == "__main__":
    main()
