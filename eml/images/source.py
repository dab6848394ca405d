"""The images of a table's rows, read from their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eml.images.decode import Box, ChoosePart, ImageError, OpenedImage, decode_part, decode_rgb, outside_image, read
from eml.images.flatten import Background
from eml.images.locate import image_path
from eml.images.packed.remote_states import look_at
from eml.images.shared_arrays import SharedArrays
from eml.storage import is_remote
from eml.storage.file_systems import threads_at
from eml.threads import in_order


class ImageSource(Protocol):
    """Images by row."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def whole(self, row: int, at_least: tuple[int, int]) -> OpenedImage:
        """Return a row's image, or its box, not below `at_least` (width, height) unless the image itself is smaller.

        Raises DataError, naming the file, when it cannot be read.
        """

    def part(self, row: int, at_least: tuple[int, int], choose: ChoosePart) -> tuple[OpenedImage, Box]:
        """Return an image and the box in it that `choose` picks from the (width, height) of the row's image or box.

        The part is not below `at_least` (width, height) unless the image itself is too small. Raises DataError as
        `whole` does.
        """


class PartialSource:
    """Some rows of a source, as rows 0…N−1.

    Args:
        source: All images.
        rows: (N,) those that are read.
    """

    def __init__(self, source: ImageSource, rows: NDArray[np.int64]) -> None:
        self.source, self.rows = source, rows

    def __len__(self) -> int:
        return len(self.rows)

    def whole(self, row: int, at_least: tuple[int, int]) -> OpenedImage:
        """Implement ImageSource."""
        return self.source.whole(int(self.rows[row]), at_least)

    def part(self, row: int, at_least: tuple[int, int], choose: ChoosePart) -> tuple[OpenedImage, Box]:
        """Implement ImageSource."""
        return self.source.part(int(self.rows[row]), at_least, choose)

    def fetch(self, rows: Sequence[int]) -> None:
        """Read remote files of rows that are needed next, as `FileSource.fetch` does."""
        if isinstance(self.source, FileSource | PartialSource):
            self.source.fetch([int(self.rows[row]) for row in rows])


class FileSource:
    """Images read from their files.

    Paths and boxes are a few arrays, which spawned workers share: a worker's memory does not grow with the number of
    rows. The versions of remote files are looked at when a source is made, and hold as long as it is read.

    Args:
        root: Folder that the file names start from.
        file_names: The N files.
        boxes: (N, 4) left, top, right, bottom in pixels, right and bottom exclusive; negative for the whole image.
        background: What transparency is put on.
        follow_links: Whether links that lead out of the root are read, since their user named each file.
    """

    def __init__(
        self,
        root: Path,
        file_names: Sequence[str],
        boxes: NDArray[np.int64] | None = None,
        *,
        background: Background = "contrast",
        follow_links: bool = False,
    ) -> None:
        encoded = [name.encode() for name in file_names]
        arrays: dict[str, NDArray[Any]] = {
            "offsets": np.cumsum([0, *map(len, encoded)]),
            "names": np.frombuffer(b"".join(encoded), dtype=np.uint8).copy(),
        }
        if boxes is not None:
            arrays["boxes"] = np.ascontiguousarray(boxes)
        self.root, self.background, self.follow_links = root, background, follow_links
        self._shared = SharedArrays(arrays)
        self._view()
        look_at(root, file_names)

    def __getstate__(self) -> dict[str, Any]:
        names = ("root", "background", "follow_links", "_shared")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._view()

    def _view(self) -> None:
        arrays = self._shared.arrays
        self._fetched: dict[Path, bytes | ImageError] = {}
        self.offsets, self.names, self.boxes = arrays["offsets"], arrays["names"], arrays.get("boxes")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def name(self, row: int) -> str:
        """Return the name of a row's image, relative to the root."""
        return self.names[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()

    def path(self, row: int) -> Path:
        """Return the path of a row's image. Raises ImageError for one outside the root."""
        name = self.name(row)
        return self.root / name if self.follow_links else image_path(self.root, name)

    def fetch(self, rows: Sequence[int]) -> None:
        """Read remote files of rows that are needed next, many at once, since waiting for them takes the time.

        `data` returns their bytes, once; what was fetched before and not asked for is forgotten.
        """
        self._fetched = {}
        if not is_remote(self.root) or len(rows) < 2:
            return

        def fetched(path: Path) -> bytes | ImageError:
            try:
                return read(path)
            except ImageError as error:
                return error

        paths = [self.root / self.name(row) for row in dict.fromkeys(rows)]
        self._fetched = dict(zip(paths, in_order(fetched, paths, threads_at(self.root)), strict=True))

    def data(self, path: Path) -> bytes:
        """Return the bytes of a file. Raises ImageError as `read` does."""
        fetched = self._fetched.pop(path, None) if self._fetched else None
        if isinstance(fetched, ImageError):
            raise fetched
        return read(path) if fetched is None else fetched

    def box(self, row: int) -> tuple[int, int, int, int] | None:
        """Return the row's box, or None for the whole image."""
        if self.boxes is None:
            return None
        left, top, right, bottom = self.boxes[row].tolist()
        return None if left < 0 else (left, top, right, bottom)

    def whole(self, row: int, at_least: tuple[int, int]) -> OpenedImage:
        """Implement ImageSource."""
        path = self.path(row)
        return decode_rgb(self.data(path), path, at_least=at_least, box=self.box(row), background=self.background)

    def part(self, row: int, at_least: tuple[int, int], choose: ChoosePart) -> tuple[OpenedImage, Box]:
        """Implement ImageSource."""
        path, box = self.path(row), self.box(row)
        if box is None:
            return decode_part(path, choose, at_least=at_least, background=self.background, data=self.data(path))
        left, top, right, bottom = box
        inner = choose(right - left, bottom - top)

        def choose_in_image(width: int, height: int) -> Box:
            if not (left < right <= width and 0 <= top < bottom <= height):
                raise outside_image(path, box, width, height)
            return inner[0] + left, inner[1] + top, inner[2] + left, inner[3] + top

        return decode_part(path, choose_in_image, at_least=at_least, background=self.background, data=self.data(path))
