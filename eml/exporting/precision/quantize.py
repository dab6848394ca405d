"""An ONNX file in float32 → the better of its int8 files."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.exporting.formats.base import FormatSettings
from eml.exporting.precision.choose import BATCH, Int8Way, choose_way, ways_of
from eml.images.preprocess import Pixels, Preprocess
from eml.inference.exported.runtimes.base import normalised

EmbedBatch = Callable[[NDArray[Any]], NDArray[np.float32]]
"""What a graph takes, (B, …) → embeddings (B, D)."""


@dataclass(frozen=True)
class Conversion:
    """A format that int8 ONNX files are converted to before they are measured.

    Attributes:
        suffix: Of its files.
        convert: (ONNX file, file to write).
        open: Opens a file and returns what embeds a batch.
    """

    suffix: str
    convert: Callable[[Path, Path], None]
    open: Callable[[Path], EmbedBatch]


def choose_int8(
    source: Path, preprocess: Preprocess, settings: FormatSettings, conversion: Conversion | None = None
) -> tuple[Path, str]:
    """Write an ONNX file in int8 in several ways, and return the best of them and how it was made.

    Args:
        source: The file in float32; the others are written beside it.
        preprocess: The preprocessing of its images.
        settings: Its input, the images, and what takes the figures.
        conversion: To another format, whose files are measured and kept; then only static ways are tried. None: ONNX.
    """
    assert settings.quantization_images is not None, "int8 has images"
    images = settings.quantization_images()
    ways = ways_of(source, images, settings.input, preprocess, dynamic=conversion is None)
    if conversion is not None:
        ways = [replace(way, write=_then(way, conversion), suffix=conversion.suffix) for way in ways]
    opened = cache(open_onnx if conversion is None else conversion.open)

    def embed(path: Path, pixels: Pixels) -> NDArray[np.float32]:
        run = opened(path)
        parts = np.split(pixels, range(BATCH, len(pixels), BATCH))
        return np.concatenate(
            [run(normalised(part, preprocess) if settings.input == "float" else part) for part in parts]
        )

    return choose_way(source, ways, images, embed, settings.report, settings.limits)


def open_onnx(path: Path) -> EmbedBatch:
    """Return what runs an ONNX file on a batch."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def embed(batch: NDArray[Any]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = session.run(["embedding"], {name: batch})[0]
        return embeddings

    return embed


def _then(way: Int8Way, conversion: Conversion) -> Callable[[Path, Path], None]:
    def write(source: Path, target: Path) -> None:
        quantized = target.with_suffix(".onnx")
        way.write(source, quantized)
        conversion.convert(quantized, target)

    return write
