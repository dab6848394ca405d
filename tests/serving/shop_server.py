"""The drawn shop's index as it is served, made once, and images of requests."""

import io
import shutil
from functools import cache
from pathlib import Path

from PIL import Image

from eml.indexing.index import Index
from eml.serving.answers import ServedImage
from eml.serving.engine import ServingEngine
from eml.serving.limits import ServingLimits
from eml.serving.served_index import ServedIndex
from tests.indexing.shop import calibration, draw, network, photo


def build_shop(folder: Path) -> Path:
    """Build the index of nine photos of three classes, calibrated, and return its folder."""
    with Index.build(folder / "shop.index", network(), draw(folder / "photos"), with_model=True) as index:
        index.store.calibration = calibration().model_dump(mode="json")
    return folder / "shop.index"


def served_copy(shop: Path, folder: Path, limits: ServingLimits | None = None) -> ServingEngine:
    """Return an engine over a copy of the shop's index, by the network that is loaded already."""
    copy = Path(shutil.copytree(shop, folder / "shop.index"))
    return ServingEngine(network(), ServedIndex(copy, network()), name="shop.index", limits=limits)


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@cache
def photo_png(label: str, number: int) -> bytes:
    """Return a photo of the shop as a PNG."""
    return png(photo(label, number))


def served(label: str, number: int) -> ServedImage:
    """Return a photo of the shop as a client sends it."""
    return ServedImage(f"{label}/{number}.png", photo_png(label, number))
