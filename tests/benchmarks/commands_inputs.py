"""Draw the inputs of commands.py: photos, their table, configs, embeddings, large tables."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]
BACKBONE, SIDE = "mobilenetv2_100", 128
SMALL, MIDDLE, HUGE = "small", "middle", "huge"
EMPTY = "empty"
"""The folder of the empty files that large tables name."""
PHOTOS = {SMALL: (160, 160, 600), MIDDLE: (500, 375, 300), HUGE: (1600, 1200, 40)}
"""Width, height and number of the drawn photos."""
CLASSES = 30
NOISE = 9
EPOCHS, BATCH = 1, 32
SPREAD = 2.2
SIZES = {"file": 1_000, "many": 20_000}
"""Rows of the embeddings files."""
TABLES = (50_000, 200_000)
"""Rows of the tables for audit."""
REPORT = 50_000
"""Images of the folder for report."""


def environment(package: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return the environment of a process that imports the eml of a folder, on one thread."""
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "100"}
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    return os.environ | one | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"} | settings


def drawn(random: np.random.Generator, width: int, height: int) -> Any:
    """Return an image with detail at every scale, as photos have it."""
    import cv2

    total = np.zeros((height, width, 3), np.float32)
    scale = 4
    while scale < 2 * max(width, height):
        grid = random.standard_normal((max(2, height // scale + 2), max(2, width // scale + 2), 3)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * scale**0.7
        scale *= 2
    total = 128 + 50 * (total - total.mean()) / total.std()
    total += NOISE * random.standard_normal(total.shape).astype(np.float32)  # so that a pixel takes .35 bytes, as there
    return np.clip(total, 0, 255).astype(np.uint8)


def make_photos(work: Path) -> None:
    """Write the JPEGs of each size, in classes."""
    from PIL import Image

    random = np.random.default_rng(0)
    for size, (width, height, count) in PHOTOS.items():
        for number in range(count):
            path = work / size / f"class {number % CLASSES:02}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn(random, width, height)).save(path, quality=90)


def clustered(count: int, size: int, classes: int) -> tuple[Any, Any]:
    """Return unit vectors around a centre for each class, (N, D) float32, and their labels (N,)."""
    random = np.random.default_rng(0)
    labels = np.sort(random.integers(0, classes, count))
    centres = random.standard_normal((classes, size), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = centres[labels] + SPREAD / size**0.5 * random.standard_normal((count, size), dtype=np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def make_embeddings(path: Path, count: int, size: int, names: list[str]) -> None:
    """Write an embeddings file with file names and labels."""
    rows, labels = clustered(count, size, count // 10)
    np.savez(path, embeddings=rows, file_name=names[:count], label=[f"class {label}" for label in labels])


def hashes(count: int, copies: float, most_bits: int) -> Any:
    """Return 64-bit hashes, some of which are near-copies of others."""
    random = np.random.default_rng(0)
    values = random.integers(0, 2**64, count, dtype=np.uint64)
    near = random.choice(count, int(count * copies), replace=False)
    bits = np.uint64(1) << random.integers(0, 64, (len(near), most_bits), dtype=np.uint64)
    values[near] = values[random.integers(0, count, len(near))] ^ np.bitwise_or.reduce(bits, axis=1)
    return values


def make_table(work: Path, count: int) -> None:
    """Write a table of so many images, which are empty files, with hashes and folds, as `eml kfold` leaves it."""
    import pandas as pd

    frame = pd.read_csv(work / SMALL / "dataset_info.csv")
    random = np.random.default_rng(1)
    frame = frame.iloc[random.integers(0, len(frame), count)].reset_index(drop=True)
    frame["label"] = [f"class {row // 200}" for row in range(count)]
    frame["file_name"] = [f"{label}/{row}.jpg" for row, label in enumerate(frame["label"])]
    for row, name in enumerate(frame["file_name"]):
        path = work / EMPTY / name
        if row % 200 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    del frame["content"]  # else the files, which are none of these images, are read
    frame["hash"] = [f"{value:016x}" for value in hashes(count, 0.05, 4)]
    frame["fold"] = random.integers(0, 5, count)
    frame.to_csv(work / f"table-{count}.csv", index=False)


def make_many(work: Path, count: int) -> list[str]:
    """Write a folder of so many images, hard links to the small photos, with its table; return their file names.

    A third have look-alikes.
    """
    import pandas as pd

    frame = pd.read_csv(work / SMALL / "dataset_info.csv")
    random, sources = np.random.default_rng(2), frame["file_name"].tolist()
    picks = random.integers(0, len(frame), count)
    many = frame.iloc[picks].reset_index(drop=True)
    many["label"] = [f"class {int(200 * value**2)}" for value in random.random(count)]
    many["file_name"] = [f"{label}/{row}.jpg" for row, label in enumerate(many["label"])]
    many["content"] = [f"{row:032x}" for row in range(count)]
    many["hash"] = [f"{value:016x}" for value in hashes(count, 0.3, 8)]
    root = work / "many"
    for label in set(many["label"]):
        (root / label).mkdir(parents=True, exist_ok=True)
    for name, pick in zip(many["file_name"], picks, strict=True):
        (root / name).hardlink_to(work / SMALL / sources[pick])
    many.to_csv(work / "many.csv", index=False)
    return list(many["file_name"])


def prepare(options: argparse.Namespace) -> None:
    """Draw the inputs, unless an earlier call did: photos, their table, configs, embeddings, large tables."""
    work: Path = options.work
    if (work / "ready").exists():
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    make_photos(work)
    if options.data:
        shutil.rmtree(work / SMALL)
        take_photos(options.data, work / SMALL)
    package = options.package or CHECKOUT  # the older one, whose table both can read
    words = [sys.executable, "-m", "eml", "scan", str(work / SMALL), "--workers", "1"]
    subprocess.run(words, cwd=work, env=environment(package, {}), check=True, stdout=subprocess.DEVNULL)
    write_configs(work)
    for count in TABLES:
        make_table(work, count)
    names = make_many(work, REPORT)
    for name, count in SIZES.items():
        make_embeddings(work / f"{name}.npz", count, 128, names)
    (work / "ready").touch()


def take_photos(folder: Path, target: Path, classes: int = 30, each: int = 20) -> None:
    """Copy photos of the first classes of a folder that have enough."""
    full = [path for path in sorted(folder.iterdir()) if len(list(path.glob("*.jpg"))) >= each]
    for path in full[:classes]:
        (target / path.name).mkdir(parents=True)
        for photo in sorted(path.glob("*.jpg"))[:each]:
            shutil.copyfile(photo, target / path.name / photo.name)


def write_configs(work: Path) -> None:
    """Write configs that every version reads; JSON is YAML."""
    usual: dict[str, Any] = {
        "recipe": "none",
        "data": {"table": str(work / SMALL / "dataset_info.csv"), "fold": None},
        "image": {"size": SIDE},
        "model": {"backbone": BACKBONE, "weights": "none", "neck": {"type": "identity"}},
        "batch_size": BATCH,
        "epochs": EPOCHS,
    }
    small = usual | {"model": {"backbone": "test_resnet", "weights": "none"}, "image": {"size": 64}}
    configs = {"train": usual, "workers": small | {"epochs": 6}, "start": small | {"epochs": 1, "batch_size": 2}}
    table = (work / SMALL / "dataset_info.csv").read_text(encoding="utf-8").splitlines()
    few = [table[0], *table[1:3], *table[-2:]]
    (work / SMALL / "few.csv").write_text("\n".join(few) + "\n", encoding="utf-8")
    configs["start"]["data"] = {"table": str(work / SMALL / "few.csv"), "fold": None}
    for name, config in configs.items():
        config = config | {"output": str(work / "run")}
        (work / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
