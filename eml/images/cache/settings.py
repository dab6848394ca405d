"""The settings of a cache: everything, besides the images themselves, that determines its bytes."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import PIL
from PIL import Image, features

from eml.files import text_digest
from eml.images.decode import decode_rgb
from eml.images.flatten import Background
from eml.images.image_size import Size, height_width, size_text
from eml.images.preprocess import Fit, Interpolation, Pixels, Preprocess, Resize, reduced

CacheKind = Literal["images", "squares"]
StoredFormat = Literal["raw", "jpeg"]

CACHE_VERSION = 3
"""Raised whenever the same file would be stored with other bytes, or the header changes."""


@dataclass(frozen=True)
class CacheSettings:
    """The settings of one cache.

    Args:
        kind: images: the aspect ratio is kept and the image reduced to the smallest that is as high and as wide as
            `side`; for training, which crops them. squares: images of `side` pixels, bit for bit the input of an
            evaluation, which is a square where `side` is a number.
        side: Side in pixels, or (height, width).
        interpolation: The resampling.
        format: Raw RGB, or JPEG.
        quality: The quality of JPEG.
        fit: How squares are fitted; squares are raw.
        background: What transparency is put on.
        resize: Whose code resizes.
    """

    kind: CacheKind
    side: Size
    interpolation: Interpolation
    format: StoredFormat = "raw"
    quality: int | None = None
    fit: Fit | None = None
    background: Background = "contrast"
    resize: Resize = "torch"

    def __post_init__(self) -> None:
        assert (self.kind == "squares") == (self.fit is not None)
        assert self.kind == "images" or self.format == "raw"
        assert (self.format == "jpeg") == (self.quality is not None)

    def header(self) -> dict[str, Any]:
        """Return the cache's header: the settings, and the versions of the code that turns files into pixels."""
        jpeg = features.version("libjpeg_turbo") or features.version("jpg")
        side = self.side if isinstance(self.side, int) else list(self.side)  # as JSON reads it
        return asdict(self) | {"side": side, "version": CACHE_VERSION, "pillow": PIL.__version__, "libjpeg": jpeg}

    @property
    def name(self) -> str:
        """The name of the cache's folder, different for different settings."""
        text = ", ".join(f"{key}={value}" for key, value in sorted(self.header().items()))
        return f"{self.kind}-{text_digest(text)[:16]}"

    def __str__(self) -> str:
        return describe_header(self.header())

    def decode(self, data: bytes, path: Path, box: tuple[int, int, int, int] | None) -> Pixels:
        """Return (H, W, 3) pixels of the bytes of a file. Raises DataError, which names it, when it is unusable."""
        image = decode_rgb(data, path, at_least=height_width(self.side)[::-1], box=box, background=self.background)
        if self.fit is not None:
            settings = Preprocess(size=self.side, fit=self.fit, interpolation=self.interpolation, resize=self.resize)
            return settings(image)
        return reduced(image, self.side, self.interpolation, self.resize)

    def encode(self, pixels: Pixels) -> bytes:
        """Return the bytes that the cache stores."""
        if self.quality is None:
            return pixels.tobytes()
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality)
        return file.getvalue()


def describe_header(header: dict[str, Any]) -> str:
    """Describe a header for people: `images, side 192, bicubic, jpeg of quality 95`."""
    stored = f"jpeg of quality {header.get('quality')}" if header.get("format") == "jpeg" else str(header.get("format"))
    parts = [_side_text(header.get("side")), header.get("fit"), header.get("interpolation"), stored]
    parts += ["transparency on white"] if header.get("background") == "white" else []
    parts += ["resized by Pillow"] if header.get("resize") != "torch" else []
    is_square = header.get("kind") != "squares" or isinstance(header.get("side"), int)
    return ", ".join(
        [str(header.get("kind")) if is_square else "fitted images", *(str(part) for part in parts if part)]
    )


def _side_text(side: Any) -> str:
    """Return `side 192`, or `256×128`."""
    is_pair = isinstance(side, list) and len(side) == 2
    return size_text((side[0], side[1])) if is_pair else f"side {side}"
