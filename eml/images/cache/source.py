"""Images by row, from a cache."""

import io
import mmap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from eml.errors import DataError
from eml.images.cache.store import Entries
from eml.images.decode import Box, Choose
from eml.images.preprocess import Pixels

LET_GO = 16 * 2**20
"""Bytes that a process looks at before it lets go of them: what it has mapped would be counted as its memory."""


class CachedSource:
    """A Source. Rows are a few tensors and the images a mapped file: nothing grows in a worker with their number.

    entries: (N,) of each row, in the cache whose data.bin is `data`. jpeg: whether that is what it holds.
    """

    def __init__(self, data: Path, entries: Entries, *, jpeg: bool) -> None:
        self.path, self.jpeg = data, jpeg
        self._needed = int((entries["offset"] + entries["length"]).max(initial=0))
        kinds = {"offset": np.int64, "height": np.int32, "width": np.int32}
        kinds |= {"length": np.int64, "crc": np.int64} if jpeg else {}
        self._tensors = {name: torch.from_numpy(entries[name].astype(kind)) for name, kind in kinds.items()}
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "jpeg": self.jpeg, "needed": self._needed, "tensors": self._tensors}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.jpeg, self._needed = state["path"], state["jpeg"], state["needed"]
        self._tensors = state["tensors"]
        self._open()

    def _open(self) -> None:
        self._arrays = {name: tensor.numpy() for name, tensor in self._tensors.items()}
        if not len(self):
            return
        try:
            with self.path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read: {error}. Begin the run again, or run eml cache") from error
        if len(self._mapped) < self._needed:
            raise DataError(
                f"{self.path}: has {len(self._mapped):,} bytes of at least {self._needed:,}: it was cut short. "
                "Begin the run again, or run eml cache: what is lost is made again"
            )
        self._data, self._looked_at = np.frombuffer(self._mapped, np.uint8), 0

    def __len__(self) -> int:
        return len(self._tensors["offset"])

    def pixels(self, row: int) -> Pixels:
        """(H, W, 3), not to be written to."""
        arrays = self._arrays
        offset, height, width = arrays["offset"].item(row), arrays["height"].item(row), arrays["width"].item(row)
        length = arrays["length"].item(row) if self.jpeg else 3 * height * width
        self._looked_at += length
        if self._looked_at > LET_GO:
            self._let_go()
        if not self.jpeg:
            return self._data[offset : offset + length].reshape(height, width, 3)
        data = self._data[offset : offset + length].tobytes()
        if zlib.crc32(data) != arrays["crc"].item(row):
            raise DataError(f"{self.path}: row {row} is damaged. Run: eml cache with --check, which makes it again")
        return np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)))

    def _let_go(self) -> None:
        """Pages looked at stay with the system, which drops them when it likes, and are no longer this process's."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)
        self._looked_at = 0

    def whole(self, row: int, side: int) -> Pixels:
        """See Source."""
        return self.pixels(row)

    def part(self, row: int, side: int, choose: Choose) -> tuple[Pixels, Box]:
        """See Source."""
        pixels = self.pixels(row)
        return pixels, choose(pixels.shape[1], pixels.shape[0])
