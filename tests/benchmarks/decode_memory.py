"""Memory that decoding takes, by format and mode: bytes per pixel, and the largest image that is accepted.

    python tests/benchmarks/decode_memory.py [--pixels 20000000]

Writes images of one size, decodes each in a process of its own (Linux: VmHWM) and prints a table for docs/images.md.
The estimate is that of eml/images/memory.py, by which images are refused.
"""

import argparse
import math
import multiprocessing
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from eml.images import decode
from eml.images.format_plugins import HEIF, JXL, is_there
from eml.images.identify import MAX_JPEG_PIXELS, MAX_PIXELS
from eml.images.memory import JPEG, LIMIT

Image.MAX_IMAGE_PIXELS = None
ALPHA, PLAIN = ("RGBA", "LA"), ("RGB", "L", "P", "1")
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "JPEG, progressive": ("RGB", "L", "CMYK"),
    "PNG": (*PLAIN, *ALPHA, "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "WEBP, lossless": ("RGB", "RGBA"),
    "GIF": ("P",),
    "AVIF": ("RGB", "RGBA"),
    "HEIF": ("RGB", "RGBA"),
    "JXL": ("RGB", "RGBA", "L"),
    "TIFF": (*PLAIN, *ALPHA, "I;16", "I", "F", "CMYK", "LAB", "YCbCr"),
    "TIFF, deflate": (*PLAIN, *ALPHA, "I;16", "I", "F", "CMYK"),
    "JPEG2000": ("RGB", "L", "RGBA", "I;16"),
    "JPEG2000, tiles": ("RGB",),
    "BMP": ("RGB", "P", "RGBA"),
    "PPM": ("RGB", "L", "I"),
    "TGA": ("RGB", "L", "RGBA"),
    "SGI": ("RGB", "L", "RGBA"),
    "PCX": ("RGB", "P"),
}
OPTIONS = {
    "progressive": {"progressive": True, "subsampling": 0},
    "lossless": {"lossless": True, "method": 0},
    "deflate": {"compression": "tiff_adobe_deflate"},
    "tiles": {"tile_size": (512, 512)},
}


def draw_image(mode: str, pixels: int) -> Image.Image:
    """Return an image of coloured squares, which compresses neither well nor badly."""
    side = 8 * math.isqrt(pixels // 64)
    values = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 4), dtype=np.uint8)
    image = Image.fromarray(values).resize((side, side), Image.Resampling.NEAREST)
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray(np.asarray(image.convert("L")).astype(kind) * 100)
    return image if mode == "RGBA" else image.convert("RGB").quantize(64) if mode == "P" else _converted(image, mode)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LA":
        return image.convert("LA")
    from PIL import ImageCms

    rgb = image.convert("RGB")
    if mode != "LAB":
        return rgb.convert(mode)
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(rgb, *profiles, outputMode="LAB") or rgb


def peak() -> int:
    """Return the most memory that this process has held (bytes)."""
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak
    return int(peak[1]) * 1024


def measure(path: Path) -> tuple[int, int, int]:
    """Return the bytes that decoding took, those that were estimated, and the pixels."""
    estimates: list[int] = []

    class Room:
        def of(self, needed: int) -> object:
            estimates.append(needed)
            return real(needed)

    real, decode.room = decode.room.of, Room()  # type: ignore[assignment]
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    image = decode.decode(path)
    return peak() - before, estimates[0], image.width * image.height


def files(folder: Path, pixels: int) -> Iterator[tuple[str, str, Path]]:
    """Write and yield the images one after the other."""
    for plugin in (HEIF, JXL):
        is_there(plugin)
    for name, modes in MODES.items():
        format_, _, option = name.partition(", ")
        for mode in modes if format_ in Image.SAVE else ():
            path = folder / f"{format_}.image"
            draw_image(mode, pixels).save(path, format=format_, **OPTIONS.get(option, {}))
            yield name, mode, path
            path.unlink()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pixels", type=int, default=20_000_000)
    pixels = parser.parse_args().pixels
    context = multiprocessing.get_context("spawn")
    print("| format | mode | measured | estimated | accepted up to |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, mode, path in files(Path(folder), pixels):
            size = path.stat().st_size
            with context.Pool(1) as pool:
                taken, estimated, count = pool.apply(measure, (path,))
            each = (estimated - size) / count
            most = MAX_JPEG_PIXELS if name.split(",")[0] in JPEG else min(MAX_PIXELS, LIMIT / each)
            print(
                f"| {name} | {mode} | {(taken - size) / count:.1f} | {each:.1f} | {most / 1e6:.0f} megapixels |",
                flush=True,
            )


if __name__ == "__main__":
    main()
