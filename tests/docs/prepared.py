"""The folder that a page's blocks run in: drawn images, and what the page says that it needs."""

import csv
import fnmatch
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from eml.cli.app import main
from tests.docs.blocks import Block, Page
from tests.docs.shell import STAND_INS

Colour = npt.NDArray[np.int64]

CLASSES = ("shoes", "bags", "red mug", "blue mug", "tea", "jam", "soap", "hats", "cups", "rings", "keys", "it's")
FOLDERS = {"photos": 5, "others": 5, "products": 2, "new_photos": 2, "test_photos": 2, "queries": 1}
"""Folders of images with a folder for each of CLASSES → images in each of them."""
FLAT = {"camera_roll": ("1", "2", "3"), "new": ("1", "2"), "": ("a", "b", "photo", "new", "mug", "cat")}
"""Folders of images alone → their names; "" is the page's folder itself."""
ALWAYS = f"{', '.join(f'{name}/' for name in [*FOLDERS, *FLAT][:-1])}, {', '.join(f'{name}.jpg' for name in FLAT[''])}"


def draw(folder: Path) -> None:
    """Draw the images that every page's folder has."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (len(CLASSES), 3))
    for name, count in FOLDERS.items():
        for label, colour in zip(CLASSES, colours, strict=True):
            for number in range(1, count + 1):
                _image(random, colour, folder / name / label / f"{number}.jpg")
    for name, stems in FLAT.items():
        for stem in stems:
            _image(random, colours[2], folder / name / f"{stem}.jpg")


def _image(random: np.random.Generator, colour: Colour, file: Path, size: tuple[int, int] = (60, 50)) -> None:
    pixels = (colour + random.normal(0, 60, (6, 6, 3))).clip(0, 255).astype(np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file)


def draw_rows(block: Block) -> None:
    """Draw the images that a table in a page names, those of them that are not there."""
    random = np.random.default_rng(0)
    mark = ";" if ";" in block.text.partition("\n")[0] else ","
    for row in csv.DictReader(block.text.splitlines(), delimiter=mark):
        first, second = list(row.values())[:2]
        name = row.get("file_name") or row.get("path") or f"{second}/{first}.jpg"
        file = Path(block.title).parent / name
        if not file.exists():
            _image(random, random.integers(0, 256, 3), file, (60, 40))


def _eml(*words: str) -> None:
    assert main(words) == 0, f"while the folder was prepared: eml {' '.join(words)}"


class Workshop:
    """Makes what the pages need, each thing once, and copies it into their folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        draw(root)

    def prepare(self, page: Page, folder: Path) -> None:
        """Fill a page's folder.

        Raises:
            AssertionError: The page needs what is not offered.
        """
        shutil.copytree(self.root, folder, dirs_exist_ok=True, ignore=self._all_but_images)
        text = "".join(block.text for block in page.blocks)
        clip = ["tiny_clip"] if any(name in text and "tiny_clip" in STAND_INS[name] for name in STAND_INS) else []
        for name in dict.fromkeys(name for need in [*page.needs, *clip] for name in self.make(need)):
            made, target = self.root / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if made.is_dir():
                shutil.copytree(made, target, dirs_exist_ok=True)
            else:
                for file in made.parent.glob(f"{made.name}*"):  # with its sidecar, by which eml knows that it wrote it
                    shutil.copy2(file, target.with_name(file.name))

    def _all_but_images(self, place: str, names: list[str]) -> list[str]:
        drawn = {*FOLDERS, *FLAT} if Path(place) == self.root else {*CLASSES}
        return [name for name in names if name not in drawn and not name.endswith(".jpg")]

    def make(self, name: str) -> list[str]:
        """Make a thing of OFFERED if it is not there yet, and return its name after those of what it needs."""
        pattern = next((pattern for pattern in OFFERED if fnmatch.fnmatch(name, pattern)), None)
        assert pattern, f"<!-- needs: {name} -->: the tests offer {', '.join(OFFERED)}, and always {ALWAYS}"
        _, maker, *needs = OFFERED[pattern]
        names = [part for need in needs for part in self.make(need)]
        if not (self.root / name).exists():
            with chdir(self.root):
                maker(Path(name))
        return [*names, name]


def _test_table(name: Path) -> None:
    with Path("photos/dataset_test.csv").open(encoding="utf-8", newline="") as file:
        _write(name, [row | {"file_name": f"photos/{row['file_name']}"} for row in csv.DictReader(file)])


def _write(name: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with name.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _own_table(name: Path) -> None:
    folder = "others" if name.stem == "theirs" else "photos"
    files = sorted(Path(folder).glob("*/*.jpg"))
    columns = [
        {"camera": f"c{number % 3}", "caption": f"a photo of {file.parent.name}"} for number, file in enumerate(files)
    ]
    rows = [{"file_name": file.as_posix(), "label": file.parent.name} for file in files]
    _write(name, [row | more for row, more in zip(rows, columns, strict=True)])


def _products(name: Path) -> None:
    rows = []
    for number, label in enumerate(CLASSES):
        own = {"category": "shoes" if label in ("shoes", "hats") else "kitchen", "price": 10 + number}
        rows += [{"file_name": f"{label}/{image}.jpg", "label": label} | own for image in (1, 2)]
    _write(name, rows)


def _index(name: Path) -> None:
    _eml("index", "build", str(name), "runs/shop", "products/dataset_info.csv")


def _tiny_clip(name: Path) -> None:
    from tests.tiny_clip import write_tiny_clip

    write_tiny_clip(name)


def _config(name: Path) -> None:
    _eml("init", "photos", "--backbone", "test_resnet", "--weights", "none")
    text = re.sub(r"^epochs: \d+", "epochs: 1", name.read_text(encoding="utf-8"), flags=re.MULTILINE)
    small = re.sub(r"^(image: *\{?\n? *size: )\d+", r"\g<1>32", text, flags=re.MULTILINE)
    assert "epochs: 1\n" in small
    assert re.search("size: 32", small)
    name.write_text(small, encoding="utf-8")


def _train(name: Path, *words: str) -> None:
    _eml("train", "photos/config.yaml", "--set", f"output={name.absolute()}", *words)


def _calibrated(name: Path) -> None:
    shutil.copytree("photos/run", name)
    _eml("calibrate", str(name), "--data", "photos", "--far", "0.4")


OFFERED: dict[str, tuple[str, Callable[[Path], Any], *tuple[str, ...]]] = {
    "photos/dataset_info.csv": ("of eml scan photos", lambda name: _eml("scan", "photos")),
    "photos/dataset_train.csv": ("of eml split photos", lambda name: _eml("split", "photos", "--by", "alternate")),
    "photos/dataset_test.csv": ("its other half", lambda name: None, "photos/dataset_train.csv"),
    "photos/folds.csv": (
        "of eml kfold photos",
        lambda name: _eml("kfold", "photos", "--k", "3"),
        "photos/dataset_train.csv",
    ),
    "photos/config.yaml": ("of eml init photos, with one epoch of 32 × 32 pixels", _config, "photos/folds.csv"),
    "products/dataset_info.csv": ("a table with columns category and price", _products),
    "photos/run": ("a run of one epoch", _train, "photos/config.yaml"),
    "photos/run-*": (
        "a run that goes on from it with another seed",
        lambda name: _train(name, "--set", "seed=7", "--set", "model.weights=photos/run"),
        "photos/run",
    ),
    "photos/folds": ("a run of each fold", lambda name: _train(name, "--fold", "all"), "photos/config.yaml"),
    "runs/*": ("a run under any name, calibrated", _calibrated, "photos/run"),
    "*.index": (
        "an index of products with columns category and price",
        _index,
        "runs/shop",
        "products/dataset_info.csv",
    ),
    "photos.parquet": (
        "embeddings of photos",
        lambda name: _eml("embed", "runs/shop", "photos", "--out", str(name)),
        "runs/shop",
    ),
    "vectors.npz": (
        "embeddings of test.csv",
        lambda name: _eml("embed", "runs/shop", "test.csv", "--out", str(name)),
        "runs/shop",
        "test.csv",
    ),
    "labelled": ("photos in a folder for each class", lambda name: shutil.copytree("others", name)),
    "photos/text_vectors.safetensors": (
        "of eml text photos",
        lambda name: _eml("text", "photos", "--encoder", "open_clip:local-dir:tiny_clip"),
        "tiny_clip",
    ),
    "*test.csv": ("a table of half of photos", _test_table, "photos/dataset_test.csv"),
    **dict.fromkeys(
        ("mine.csv", "captions.csv", "theirs.csv"),
        ("a table of photos, or of others, with columns camera and caption", _own_table),
    ),
    "names.txt": ("names of classes, a line each", lambda name: name.write_text("\n".join(CLASSES) + "\n") and None),
    "tiny_clip": ("a small CLIP", _tiny_clip),
}
"""Name, or pattern of names, that `<!-- needs: … -->` may have → what it is, what makes it, and what that needs."""
