"""Images by row, read from a cache."""

import io
import mmap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eml.errors import DataError
from eml.images.cache.store import Entries
from eml.images.decode import Box, ChoosePart
from eml.images.preprocess import Pixels
from eml.images.shared_arrays import SharedArrays

RELEASE_BYTES = 16 * 2**20
"""Bytes that a process reads before it releases their pages, which would otherwise count as its memory."""


class CachedSource:
    """An ImageSource that reads a cache.

    Rows are a few shared arrays and the images a mapped file, so that a worker's memory does not grow with their
    number.

    Args:
        data: The cache's data.bin.
        entries: (N,) the entry of each row.
        jpeg: Whether the images are stored as JPEG.
    """

    def __init__(self, data: Path, entries: Entries, *, jpeg: bool) -> None:
        self.path, self.jpeg = data, jpeg
        self._needed = int((entries["offset"] + entries["length"]).max(initial=0))
        kinds = {"offset": np.int64, "height": np.int32, "width": np.int32}
        kinds |= {"length": np.int64, "crc": np.int64} if jpeg else {}
        self._shared = SharedArrays({name: entries[name].astype(kind) for name, kind in kinds.items()})
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "jpeg": self.jpeg, "needed": self._needed, "shared": self._shared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.jpeg, self._needed = state["path"], state["jpeg"], state["needed"]
        self._shared = state["shared"]
        self._open()

    def _open(self) -> None:
        self._arrays = self._shared.arrays
        if not len(self):
            return
        try:
            with self.path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path}: cannot be read: {error}. Start the run again, or run eml cache", code="not-readable"
            ) from error
        if len(self._mapped) < self._needed:
            raise DataError(
                f"{self.path}: has {len(self._mapped):,} bytes of at least {self._needed:,}: it was cut short. "
                "Start the run again, or run eml cache, which restores the lost images",
                code="damaged-file",
            )
        self._data, self._bytes_read = np.frombuffer(self._mapped, np.uint8), 0

    def __len__(self) -> int:
        return len(self._arrays["offset"])

    def pixels(self, row: int) -> Pixels:
        """Return (H, W, 3) pixels, which must not be written to."""
        arrays = self._arrays
        offset, height, width = arrays["offset"].item(row), arrays["height"].item(row), arrays["width"].item(row)
        length = arrays["length"].item(row) if self.jpeg else 3 * height * width
        self._bytes_read += length
        if self._bytes_read > RELEASE_BYTES:
            self._release()
        if not self.jpeg:
            return self._data[offset : offset + length].reshape(height, width, 3)
        data = self._data[offset : offset + length].tobytes()
        if zlib.crc32(data) != arrays["crc"].item(row):
            raise DataError(
                f"{self.path}: row {row} is damaged. Run eml cache --check, which restores it",
                code="damaged-file",
            )
        return np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)))

    def _release(self) -> None:
        """Return the pages to the system's page cache, so that they no longer count as memory of this process."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)
        self._bytes_read = 0

    def whole(self, row: int, at_least: tuple[int, int]) -> Pixels:
        """Implement ImageSource."""
        return self.pixels(row)

    def part(self, row: int, at_least: tuple[int, int], choose: ChoosePart) -> tuple[Pixels, Box]:
        """Implement ImageSource."""
        pixels = self.pixels(row)
        return pixels, choose(pixels.shape[1], pixels.shape[0])
