"""Small copies of the images of an index, made when a client asks for one and kept while there is room."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eml.errors import DataError
from eml.images.decode import ImageError, decode
from eml.images.locate import image_path
from eml.images.thumbnails import small_webp
from eml.indexing.rows import rows_of
from eml.indexing.store import IndexStore
from eml.serving.batching import QueueFullError
from eml.serving.work_threads import WorkThreads
from eml.units import MIB

if TYPE_CHECKING:
    from eml.indexing.answers import ImagePlace

SIDE = 240  # pixels of the longer side: the page shows about 120, and larger when it is enlarged
KEPT = 16 * MIB
"""Bytes of the thumbnails that are kept."""
MOST_WAITING = 512
"""Thumbnails that wait; a page asks for at most a thousand neighbours of a query, some at a time."""

Key = tuple[object, ...]


class ServedThumbnails:
    """Makes thumbnails in two threads of its own, so that answers never wait for them.

    Args:
        folder: The index.
        kept: Bytes of those that are kept.
        most_waiting: Those that wait.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT, most_waiting: int = MOST_WAITING) -> None:
        self._store = IndexStore.open(folder)
        self._threads = WorkThreads("thumbnail", 2)
        self._kept, self._most_waiting = kept, most_waiting
        self._images: OrderedDict[Key, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting = 0

    async def get(self, id_: int) -> bytes | None:
        """Return the thumbnail of an image of the index as WebP; None where there is no such image, or no file of it.

        Raises:
            QueueFullError: Too many wait.
        """
        if self._waiting >= self._most_waiting:
            raise QueueFullError("too many thumbnails are waited for", 1.0)
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._threads.submit(partial(self._make, id_)))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads and close the index."""
        self._threads.close()
        self._store.close()

    def _make(self, id_: int) -> bytes | None:
        try:
            row = rows_of(self._store, np.array([id_], np.int64))[id_]
            path = _checked(row.place, row.file_name)
            state = path.stat()
            key = (path, row.place.box, state.st_mtime_ns, state.st_size)
            image = self._known(key)
            if image is None:
                image = small_webp(decode(path, at_least=(SIDE, SIDE), box=row.place.box), SIDE)
                self._keep(key, image)
        except (DataError, ImageError, OSError):  # no such image, or its file is gone, broken or out of its folder
            return None
        return image

    def _known(self, key: Key) -> bytes | None:
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
            return self._images.get(key)

    def _keep(self, key: Key, image: bytes) -> None:
        with self._lock:
            self._images[key] = image
            while sum(map(len, self._images.values())) > self._kept:
                self._images.popitem(last=False)


def _checked(place: ImagePlace, name: str) -> Path:
    """Return the file of an image. Raises an ImageError where a link leads out of the folder of the images."""
    if place.path is None:
        raise ImageError(name, "missing", "the index does not say where the image is")
    root = place.path.parents[len(Path(name).parts) - 1]
    return image_path(root, name)
