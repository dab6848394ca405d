"""What reading an image costs for training, evaluation and scanning, against the floor of each, in turns.

    python -m pip install simplejpeg
    OMP_NUM_THREADS=1 python tests/benchmarks/reading.py --images grocery160/images [--rounds 7]

The floors do nothing but the work itself, without a check: read the file's bytes, decode them with simplejpeg
(libjpeg-turbo), at 1/2, 1/4 or 1/8 where that is enough, and

- training: cut the same random part, resize it with OpenCV (bicubic, no antialiasing), mirror half of them;
- evaluation: resize it with OpenCV: bicubic, and areas (antialiased) in the second column of ratios;
- scan: decode the brightness alone, resize it to 32 × 32 with OpenCV (bilinear, no antialiasing), and take OpenCV's
  discrete cosine transform.

eml reads as its commands do: ImageDataset of files with the crop and flip of `standard`, ImageDataset as an evaluation
has it, inspect_file with its hashes. One thread, this process, processor time; a ratio is the median over the rounds.
JPEGs: photos of 160 px read at 160 px; 500 × 375, and 1600 × 1200 tiled from enlarged ones, read at 224 px. One more
row reads photos of 160 px at 128.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import simplejpeg
import torch
from PIL import Image
from scan_peer import tile

from eml.allocator import keep_freed_memory
from eml.dataset.scanning.inspect_file import inspect_file
from eml.images.augment import Augmenter
from eml.images.crop import DRAWS, Crop
from eml.images.loading import ImageDataset
from eml.images.preprocess import Preprocess
from eml.images.random import key_of, uniform
from eml.images.source import FileSource

CROP = Crop(0.3, 1.2)
Read = Callable[[list[int]], object]


class Floor:
    """The least work of reading some JPEGs at a size."""

    def __init__(self, paths: list[Path], side: int) -> None:
        self.paths, self.side = paths, side
        self.sizes = []
        for path in paths:
            with Image.open(path) as image:
                self.sizes.append(image.size)

    def decoded(self, row: int, width: float, height: float, side: int, colours: str = "RGB") -> np.ndarray:
        """Decode so that a part of this size keeps `side` pixels."""
        data, (whole_width, whole_height) = self.paths[row].read_bytes(), self.sizes[row]
        scale = next((scale for scale in (8, 4, 2) if min(width, height) // scale >= side), 1)
        least = {} if scale == 1 else {"min_width": -(-whole_width // scale), "min_height": -(-whole_height // scale)}
        return simplejpeg.decode_jpeg(data, colours, **least)

    def train(self, rows: list[int]) -> None:
        batch = np.empty((64, self.side, self.side, 3), np.uint8)
        draws = uniform(key_of(0, 1), np.arange(len(rows)), DRAWS + 1).tolist()
        for at, (row, (*numbers, flip)) in enumerate(zip(rows, draws, strict=True)):
            width, height = self.sizes[row]
            left, top, right, bottom = CROP.part(width, height, Preprocess(size=self.side), numbers)
            image = self.decoded(row, right - left, bottom - top, self.side)
            x, y = image.shape[1] / width, image.shape[0] / height
            part = image[int(top * y) : round(bottom * y), int(left * x) : round(right * x)]
            small = cv2.resize(part, (self.side, self.side), interpolation=cv2.INTER_CUBIC)
            batch[at % 64] = cv2.flip(small, 1) if flip < 0.5 else small

    def evaluate(self, rows: list[int], method: int = cv2.INTER_CUBIC) -> None:
        batch = np.empty((64, self.side, self.side, 3), np.uint8)
        for at, row in enumerate(rows):
            image = self.decoded(row, *self.sizes[row], self.side)
            whole = image.shape[0] == image.shape[1] == self.side
            batch[at % 64] = image if whole else cv2.resize(image, (self.side, self.side), interpolation=method)

    def evaluate_areas(self, rows: list[int]) -> None:
        self.evaluate(rows, cv2.INTER_AREA)

    def scan(self, rows: list[int]) -> None:
        for row in rows:
            grey = self.decoded(row, *self.sizes[row], 256, "GRAY")[..., 0]
            cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_LINEAR).astype(np.float32))


def eml_reader(root: Path, names: list[str], side: int, augmenter: Augmenter | None) -> Read:
    images = ImageDataset(FileSource(root, names), Preprocess(size=side), augmenter=augmenter)

    def read(rows: list[int]) -> None:
        for first in range(0, len(rows), 64):
            images.__getitems__([(1, first + at, row) for at, row in enumerate(rows[first : first + 64])])

    return read


def compare(name: str, root: Path, side: int, count: int, rounds: int) -> None:
    paths = sorted(root.glob("*/*.jpg"))
    names = [path.relative_to(root).as_posix() for path in paths]
    floor, augmenter = Floor(paths, side), Augmenter(crop=CROP, flip=0.5)
    works: dict[str, list[Read]] = {
        "training": [eml_reader(root, names, side, augmenter), floor.train],
        "evaluation": [eml_reader(root, names, side, None), floor.evaluate, floor.evaluate_areas],
        "scan with hashes": [
            lambda rows: [inspect_file(root, names[row], "phash-luma256") for row in rows],
            floor.scan,
        ],
    }
    random = np.random.default_rng(0)
    seconds: dict[str, list[list[float]]] = {work: [] for work in works}
    for turn in range(rounds + 1):
        rows = random.permutation(len(paths))[:count].tolist()
        for work, readers in works.items():
            times = []
            for read in readers:
                started = time.process_time()
                read(rows)
                times.append((time.process_time() - started) / len(rows))
            seconds[work] += [times] if turn else []  # the first round warms up
    for work, turns in seconds.items():
        ratios = [f"{median(times[0] / times[at] for times in turns):.2f}" for at in range(1, len(turns[0]))]
        own, least = (1e6 * median(times[at] for times in turns) for at in (0, 1))
        print(f"| {name} | {work} | {own:,.0f} | {least:,.0f} | {' / '.join(ratios)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="small photos, one folder per class")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()  # as every command does
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    print("| images | read for | eml, µs | floor, µs | ratio |\n|---|---|---|---|---|")
    compare("160 × 160 at 160 px", options.images, 160, 200, options.rounds)
    compare("160 × 160 at 128 px", options.images, 128, 200, options.rounds)
    for size, enlarged, count in (((500, 375), 2, 60), ((1600, 1200), 4, 20)):
        with tempfile.TemporaryDirectory() as folder:
            tile(sorted(options.images.glob("*/*.jpg"))[::7], Path(folder), size, count, enlarged)
            compare(f"{size[0]} × {size[1]} at 224 px", Path(folder), 224, count, options.rounds)


if __name__ == "__main__":
    main()
