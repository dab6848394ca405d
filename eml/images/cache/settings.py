"""What a cache holds: everything that decides its bytes, besides the images themselves."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
from PIL import Image, features

from eml.files import text_digest
from eml.images.decode import decode_bytes
from eml.images.preprocess import Fit, Interpolation, Pixels, Preprocess, reduced

Kind = Literal["images", "squares"]
StoredFormat = Literal["raw", "jpeg"]

_MADE_AS = 1  # raised whenever the same file would be kept with other bytes


@dataclass(frozen=True)
class Settings:
    """Of one cache.

    kind: images, their own aspect ratio, the shorter side brought down to `side` where it is longer, for training,
    which takes parts of them; squares, of `side` pixels, bit for bit what evaluation makes of a file. format: raw RGB,
    or JPEG of a quality. fit: of squares alone, which are raw.
    """

    kind: Kind
    side: int
    interpolation: Interpolation
    format: StoredFormat = "raw"
    quality: int | None = None
    fit: Fit | None = None

    def __post_init__(self) -> None:
        assert (self.kind == "squares") == (self.fit is not None)
        assert self.kind == "images" or self.format == "raw"
        assert (self.format == "jpeg") == (self.quality is not None)

    def header(self) -> dict[str, Any]:
        """As it is written into a cache: with the versions of what makes pixels of files."""
        jpeg = features.version("libjpeg_turbo") or features.version("jpg")
        return asdict(self) | {"made_as": _MADE_AS, "pillow": PIL.__version__, "libjpeg": jpeg}

    @property
    def name(self) -> str:
        """Of the cache's folder: caches of other settings have others."""
        text = ", ".join(f"{key}={value}" for key, value in sorted(self.header().items()))
        return f"{self.kind}-{text_digest(text)[:16]}"

    def __str__(self) -> str:
        return described(self.header())

    def made(self, data: bytes, path: Path, box: tuple[int, int, int, int] | None) -> Pixels:
        """(H, W, 3) of the bytes of a file. Raises DataError, which names it, when it cannot be used."""
        image = decode_bytes(data, path, at_least=(self.side, self.side), box=box)
        if self.fit is not None:
            return Preprocess(size=self.side, fit=self.fit, interpolation=self.interpolation)(image)
        return np.asarray(reduced(image, self.side, self.interpolation))

    def encoded(self, pixels: Pixels) -> bytes:
        """As they are kept."""
        if self.quality is None:
            return pixels.tobytes()
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality)
        return file.getvalue()


def described(header: dict[str, Any]) -> str:
    """A header for people: `images, side 192, bicubic, jpeg of quality 95`."""
    kept = f"jpeg of quality {header.get('quality')}" if header.get("format") == "jpeg" else str(header.get("format"))
    parts = [f"side {header.get('side')}", header.get("fit"), header.get("interpolation"), kept]
    return ", ".join([str(header.get("kind")), *(str(part) for part in parts if part)])
