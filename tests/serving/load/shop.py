"""The images, the network and the index that the load tests serve: photos of groceries, or drawings without them."""

import io
import os
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import eml
from eml.inference.any_model import AnyModel
from eml.retrieval.answers.maps import FittedMap
from tests.indexing.shop import calibration as drawn_calibration

WEIGHTS = "mobilenetv2_100.imagenet.fp16.safetensors"
CLASSES, PER_CLASS, QUERIES_PER_CLASS = 20, 15, 4


def data_folder() -> Path:
    """Return where real images would be."""
    return Path(os.environ.get("EML_TEST_DATA") or Path(__file__).parents[3].with_name("shared") / "data")


@dataclass(frozen=True)
class Shop:
    """A folder of images per class, another of queries of these classes, and the network that embeds them.

    Attributes:
        images: The folder that is indexed.
        queries: Query images, by name.
        backbone: For `timm:`.
        weights: A file, or `none`.
        side: Of the images, in pixels.
    """

    images: Path
    queries: dict[str, bytes]
    backbone: str
    weights: str
    side: int

    @property
    def source(self) -> str:
        return f"timm:{self.backbone}"

    @cached_property
    def model(self) -> AnyModel:
        return eml.load(self.source, weights=self.weights, image_size=self.side, device="cpu")


def make_shop(folder: Path) -> Shop:
    """Return a shop of real photos, or of drawn ones where the archives are not there."""
    archive, weights = data_folder() / "grocery160.tar", data_folder() / WEIGHTS
    if archive.is_file() and weights.is_file():
        return Shop(*_photos(archive, folder), "mobilenetv2_100", str(weights), 96)
    return Shop(*_drawings(folder), "test_resnet", "none", 32)


def _photos(archive: Path, folder: Path) -> tuple[Path, dict[str, bytes]]:
    """Unpack some photos of the first classes, spread over each of them."""
    images, queries = folder / "images", dict[str, bytes]()
    with tarfile.open(archive) as tar:
        files = {member.name: member for member in tar if member.isfile() and member.name.endswith(".jpg")}
        by_class: dict[str, list[str]] = {}
        for name in sorted(files):
            by_class.setdefault(Path(name).parent.name, []).append(name)
        for label in sorted(by_class)[:CLASSES]:
            names = by_class[label]
            places = np.linspace(0, len(names) - 1, PER_CLASS + QUERIES_PER_CLASS).astype(int)
            (images / label).mkdir(parents=True)
            for number, name in enumerate(names[place] for place in places):
                stream = tar.extractfile(files[name])
                assert stream is not None
                data = stream.read()
                if number < PER_CLASS:
                    (images / label / Path(name).name).write_bytes(data)
                else:
                    queries[f"{label}/{Path(name).name}"] = data
    return images, queries


def _drawings(folder: Path) -> tuple[Path, dict[str, bytes]]:
    """Draw blots of colours: those of a class differ by noise."""
    images, queries = folder / "images", dict[str, bytes]()
    for code in range(CLASSES):
        own = np.random.default_rng(code).uniform(0, 255, (4, 4, 3))
        (images / f"class {code}").mkdir(parents=True)
        for number in range(PER_CLASS + QUERIES_PER_CLASS):
            noise = np.random.default_rng([code, number]).normal(0, 40, own.shape)
            blots = Image.fromarray((own + noise).clip(0, 255).astype(np.uint8))
            data = io.BytesIO()
            blots.resize((40, 40), Image.Resampling.BICUBIC).save(data, "PNG")
            if number < PER_CLASS:
                (images / f"class {code}" / f"{number}.png").write_bytes(data.getvalue())
            else:
                queries[f"class {code}/{number}.png"] = data.getvalue()
    return images, queries


def calibration() -> dict[str, Any]:
    """Return a calibration by which some answers are known and others are not, as the index keeps it."""
    map_ = FittedMap(kind="logistic", weights={"cosine": 12.0}, bias=-8.0, limit=6)
    return drawn_calibration().model_copy(update={"known": map_, "right": map_, "pair": map_}).model_dump(mode="json")
