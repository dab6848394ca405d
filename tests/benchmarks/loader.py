"""Training images per second on one core: eml from files and from its caches, against torchvision, in turns.

    python3 -m pip install torchvision
    python tests/benchmarks/loader.py --images grocery160/images [--large 400 --rounds 5]

torchvision reads with ImageFolder and v2's RandomResizedCrop (antialiased, bilinear or bicubic), RandomHorizontalFlip
and PILToTensor, and stacks batches. eml reads with ImageDataset, with the crop (same range of area and aspect ratio)
and the flip of augment.standard. Both give uint8 batches of 64, in one thread of this process, without workers, with
the same resampling. The benchmark compares processor time, which other work on the machine affects less. Small images
are read at 160 px; large ones are JPEGs of 1600 × 1200 and quality 90, tiled from the small ones enlarged four times,
and read at 224 px.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from scan_peer import tile
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from eml.images.augment import Augmenter
from eml.images.cache import fill
from eml.images.crop import Crop
from eml.images.loading import ImageDataset
from eml.images.preprocess import Preprocess
from eml.images.source import FileSource
from eml.training.caches import training_settings
from eml.training.config import CacheConfig

BATCH, CUT, ASPECT = 64, 0.3, 1.2

Read = Callable[[list[int]], None]
"""Read the rows in batches."""


def torchvision_reader(folder: Path, side: int, interpolation: str) -> Read:
    spec = v2.InterpolationMode(interpolation)
    crop = v2.RandomResizedCrop(side, (1 - CUT, 1), (1 / ASPECT, ASPECT), interpolation=spec, antialias=True)
    data = ImageFolder(folder, v2.Compose([crop, v2.RandomHorizontalFlip(), v2.PILToTensor()]))

    def read(rows: list[int]) -> None:
        for first in range(0, len(rows), BATCH):
            torch.stack([data[row][0] for row in rows[first : first + BATCH]])

    return read


def eml_reader(photos: ImageDataset) -> Read:
    def read(rows: list[int]) -> None:
        for first in range(0, len(rows), BATCH):
            pixels, _ = photos.__getitems__(
                [(1, first + at, row) for at, row in enumerate(rows[first : first + BATCH])]
            )
            assert isinstance(pixels, torch.Tensor), pixels

    return read


def readers(folder: Path, caches: Path, side: int, interpolation: str) -> dict[str, Read]:
    preprocess = Preprocess(size=side, interpolation=interpolation)
    augmenter = Augmenter(crop=Crop(CUT, ASPECT), flip=0.5)
    files = FileSource(folder, [path.relative_to(folder).as_posix() for path in sorted(folder.glob("*/*.jpg"))])
    sources = {"eml, files": files}
    for name in ("jpeg", "raw"):
        settings = training_settings(CacheConfig(format=name), preprocess, augmenter)
        filled = fill(caches, settings, files)
        sources[f"eml, {name} cache"] = filled.source
        print(f"  {settings}: {filled.bytes / 2**20:,.0f} MiB, filled in {filled.seconds:.1f} s")
    return {"torchvision": torchvision_reader(folder, side, interpolation)} | {
        name: eml_reader(ImageDataset(source, preprocess, augmenter=augmenter)) for name, source in sources.items()
    }


def compare(folder: Path, side: int, count: int, rounds: int) -> None:
    random, total = np.random.default_rng(0), len(list(folder.glob("*/*.jpg")))
    with tempfile.TemporaryDirectory() as caches:
        all_readers = {
            (spec, name): read
            for spec in ("bilinear", "bicubic")
            for name, read in readers(folder, Path(caches), side, spec).items()
        }
        seconds: dict[tuple[str, str], list[float]] = {key: [] for key in all_readers}
        for turn in range(rounds + 1):
            rows = random.permutation(total)[:count].tolist()
            for key, read in all_readers.items():
                started = time.process_time()
                read(rows)
                if turn:  # the first round warms up
                    seconds[key].append((time.process_time() - started) / len(rows))
    print("| | resampling | images/s | µs | times torchvision's rate |\n|---|---|---|---|---|")
    for (spec, name), times in seconds.items():
        ratio = median(a / b for a, b in zip(seconds[spec, "torchvision"], times, strict=True))
        print(f"| {name} | {spec} | {1 / median(times):,.0f} | {1e6 * median(times):,.0f} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="small photos, one folder per class")
    parser.add_argument("--large", type=int, default=400, help="number of large images")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    print("small images, 160 px")
    compare(options.images, 160, 1000, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        tile(sorted(options.images.glob("*/*.jpg"))[::7], Path(folder), (1600, 1200), options.large, 4)
        print(f"\n{options.large} images of 1600 × 1200, 224 px")
        compare(Path(folder), 224, min(200, options.large), options.rounds)


if __name__ == "__main__":
    main()
