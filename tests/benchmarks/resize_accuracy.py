"""What R@1 and MAP@R depend on who resizes: an untouched network on images of some classes.

    OMP_NUM_THREADS=1 python tests/benchmarks/resize_accuracy.py --data DIR --weights FILE [--count 600]

The same decoded images are resized by Pillow (`image.resize: pillow`), by torch (the default), and as a training image
that is not cropped. mobilenetv2_100 with ImageNet's weights, 96 px, classes of up to 30 images until there are --count,
leave-one-out by cosine. A difference from Pillow has its 95 % interval over the classes.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import eml
from eml.images.decode import decode_rgb
from eml.images.opening import size_of
from eml.images.preprocess import Preprocess
from eml.retrieval.statistics.jackknife import paired

SETS = {"grocery160": "grocery160/images", "caltech101": "caltech101/images", "omniglot": "omniglot/images"}
SIDE = 96


def choose(folder: Path, count: int) -> tuple[list[Path], np.ndarray]:
    """Return images of classes in a random order, and the number of each image's class."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    paths: list[Path] = []
    labels: list[int] = []
    for number in np.random.default_rng(0).permutation(len(classes)):
        if len(paths) < count:
            images = sorted(classes[number].iterdir())[:30]
            paths, labels = paths + images, labels + [int(number)] * len(images)
    return paths, np.array(labels)


def resized(paths: list[Path]) -> dict[str, np.ndarray]:
    by_torch, by_pillow = Preprocess(size=SIDE), Preprocess(size=SIDE, resize="pillow")
    ways = {
        "pillow": by_pillow,
        "torch": by_torch,
        "training": lambda image: by_torch.resized(image, (0, 0, *size_of(image))),
    }
    pixels = {name: np.empty((len(paths), SIDE, SIDE, 3), np.uint8) for name in ways}
    for number, path in enumerate(paths):
        image = decode_rgb(path.read_bytes(), path, at_least=(SIDE, SIDE))
        for name, way in ways.items():
            pixels[name][number] = way(image)
    return pixels


def metrics(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return R@1 and MAP@R of each image, (2, N), by sorting all cosines."""
    cosines = embeddings @ embeddings.T
    np.fill_diagonal(cosines, -np.inf)
    hits = labels[np.argsort(-cosines, axis=1, kind="stable")] == labels[:, None]
    positives = (labels == labels[:, None]).sum(1) - 1
    within = np.arange(1, len(labels) + 1) <= positives[:, None]
    precision = np.cumsum(hits, axis=1) / np.arange(1, len(labels) + 1)
    return np.array([hits[:, 0], (precision * hits * within).sum(1) / positives])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--count", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = eml.load("timm:mobilenetv2_100", weights=options.weights, image_size=SIDE, device="cpu")
    print("| data | images | resized by | values that differ | mean difference | R@1 | MAP@R |")
    print("|---|---|---|---|---|---|---|")
    for name, folder in SETS.items():
        paths, labels = choose(next(options.data.glob(f"**/{folder}")), options.count)
        usual = None
        for way, pixels in (images := resized(paths)).items():
            tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            values = metrics(np.concatenate([model.embed_pixels(part).numpy() for part in tensor.split(64)]), labels)
            words = [f"{row.mean():.4f}" for row in values]
            if usual is not None:
                for place, (own, other) in enumerate(zip(values, usual, strict=True)):
                    difference = paired({"": other}, {"": own}, labels)[""]
                    low, high = difference.interval.low, difference.interval.high
                    interval = "all equal" if (own == other).all() else f"{low:+.4f} to {high:+.4f}"
                    words[place] += f", {own.mean() - other.mean():+.4f} ({interval})"
            usual = values if usual is None else usual
            change = np.abs(pixels.astype(int) - images["pillow"])
            print(f"| {name} | {len(paths)} | {way} | {np.mean(change > 0):.2%} | {change.mean():.3f} | "
                  f"{' | '.join(words)} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
