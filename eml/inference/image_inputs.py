"""Images as Python has them, in files or in memory → pixels for a network, one after the other."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eml.config.text import listed
from eml.dataset.table_names import is_csv, is_parquet
from eml.errors import DataError
from eml.images.decode import MAX_BYTES, ImageError, OpenedImage, decode_rgb, from_pil, read
from eml.images.preprocess import Pixels, Preprocess
from eml.imported import is_imported

if TYPE_CHECKING:
    from torch import Tensor

    from eml.inference.image_list import ImageList


class ImageFile(Protocol):
    """An open file of an image's bytes, as `open(path, "rb")` or io.BytesIO returns it."""

    def read(self, size: int = ..., /) -> bytes:
        """Return at most so many of the bytes that follow; none at the end."""


ImageLike: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | NDArray[np.uint8] | Tensor | bytes | bytearray | memoryview | ImageFile"
)
"""An image, or with a path of a folder or a table several of them."""
Images: TypeAlias = "ImageLike | Iterable[ImageLike]"

_ALLOWED = (
    "a path of an image, a folder or a table; a PIL image; an array (H, W, 3), (H, W, 4) or (H, W) of uint8; a tensor "
    "(C, H, W) of uint8, or of floats in [0, 1]; the bytes of an image file; an open file"
)
_SHOWN = 3  # files of a folder that are named in one message
_CHANNELS = (1, 3, 4)
_CHUNK = 2**20  # bytes that are read from an open file at once
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def load_pixels(images: Images, preprocess: Preprocess) -> Iterator[Pixels]:
    """Yield (size, size, 3) uint8 of each image in order. Each is read when its turn comes.

    Args:
        images: An image, or any iterable of images, such as a list, a pandas Series or a generator. A folder stands
            for all images in it, a table for its rows, an array or tensor of four dimensions for its first one.
        preprocess: The preprocessing.

    Raises:
        DataError: An image cannot be read, or is nothing that stands for an image. The message says which one.
    """
    several = _several(images)
    if several is None:
        yield from _load_item(images, "", preprocess)
        return
    for position, item in enumerate(several):
        yield from _load_item(item, f"images[{position}]", preprocess)


def _several(images: Any) -> Iterable[Any] | None:
    """Return an iterable of images, None for a single one. Raises a DataError for one without an order."""
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike | Image.Image) or _is_tensor(images):
        return None
    if _is_file(images):
        return None
    if isinstance(images, np.ndarray):
        return images.tolist() if images.dtype.kind in "OU" and images.ndim == 1 else None  # paths, as of pandas
    is_frame = hasattr(images, "iloc") and hasattr(images, "columns")
    if is_frame or isinstance(images, Mapping | Set):
        kind = type(images).__name__
        advice = "the column with the paths, frame['file_name']" if is_frame else "a list"
        raise _no_image("images", f"a {kind} is not read, since it is no sequence of images; give {advice}")
    return images if isinstance(images, Iterable) else None


def _is_file(item: Any) -> bool:
    return callable(getattr(item, "read", None))


def _is_tensor(item: Any) -> bool:
    """Return whether an object is a tensor of torch, without importing torch, which has made it if it is one."""
    return is_imported("torch") and isinstance(item, sys.modules["torch"].Tensor)


def _load_item(item: Any, name: str, preprocess: Preprocess) -> Iterator[Pixels]:
    """Yield the pixels of one item. name: in messages; empty for an item that is alone."""
    if isinstance(item, str | os.PathLike):
        yield from _load_path(os.fsdecode(item), name, preprocess)
    elif (isinstance(item, np.ndarray) or _is_tensor(item)) and item.ndim == 4:
        for number, image in enumerate(item):
            yield preprocess(_in_memory(image, f"{name or 'images'}[{number}]", preprocess))
    elif isinstance(item, bytes | bytearray | memoryview) or _is_file(item):
        yield preprocess(_encoded(item, name or "the image", preprocess))
    else:
        yield preprocess(_in_memory(item, name or "the image", preprocess))


def _load_path(text: str, name: str, preprocess: Preprocess) -> Iterator[Pixels]:
    """Yield the pixels of an image file, of all images of a folder, or of the rows of a table."""
    if _ADDRESS.match(text):
        raise _no_image(name or "the image", f"{text} is an address; download it, and give its bytes")
    path, size, prefix = Path(text), preprocess.at_least, f"{name}: " if name else ""
    try:
        if path.is_dir() or ((is_csv(path) or is_parquet(path)) and path.is_file()):
            source = _listed(path).files(preprocess.background)
            for row in range(len(source)):
                yield preprocess(source.whole(row, size))
        else:
            yield preprocess(decode_rgb(read(path), path, at_least=size, background=preprocess.background))
    except ImageError as error:
        raise ImageError(f"{prefix}{error.path}", error.reason, error.detail) from error


def _listed(path: Path) -> "ImageList":
    """Return the images of a folder or a table.

    Raises:
        DataError: Files are left out, so that rows and files would not match, or pandas is not installed.
    """
    try:
        from eml.inference.image_list import list_images
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        text = f"{path}: a folder or a table is listed with pandas: pip install pandas, or give the paths of the images"
        raise DataError(text, code="missing-package", parameter="images") from error
    images = list_images(path)
    if len(images.unusable):
        lines = [f"{row.file_name} ({row.reason}): {row.detail}" for row in images.unusable.itertuples()]
        more = f", and {len(lines) - _SHOWN:,} more" if len(lines) > _SHOWN else ""
        text = f"{images.name}: {listed(lines[:_SHOWN])}{more}. Give a list of the images to embed"
        raise DataError(text, code="unreadable-image", parameter="images")
    return images


def _encoded(item: "bytes | bytearray | memoryview | IO[bytes]", name: str, preprocess: Preprocess) -> OpenedImage:
    """Return the image of a file's bytes."""
    data = _read(item, name) if _is_file(item) else bytes(item)  # type: ignore[arg-type]
    if not data:
        advice = "; read from its beginning: seek(0)" if _is_file(item) else ""
        raise ImageError(name, "empty", f"0 bytes{advice}")
    return decode_rgb(data, name, at_least=preprocess.at_least, background=preprocess.background)


def _read(file: Any, name: str) -> bytes:
    """Return the bytes of an open file from where it stands."""
    parts, size = [], 0
    while part := file.read(_CHUNK):
        if not isinstance(part, bytes | bytearray):
            raise _no_image(name, f"its read() returns {type(part).__name__}, not bytes; open the file as 'rb'")
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise ImageError(name, "too_large", f"at most {MAX_BYTES:,} bytes are read")
    return b"".join(parts)


def _in_memory(item: Any, name: str, preprocess: Preprocess) -> Image.Image:
    """Return the image that an object in memory stands for."""
    if isinstance(item, Image.Image):
        return from_pil(item, preprocess.background)
    if _is_tensor(item):
        item = _of_tensor(item, name)
    elif not isinstance(item, np.ndarray):
        raise _no_image(name, f"is of type {type(item).__name__}; an image is {_ALLOWED}")
    elif item.dtype != np.uint8 or not _has_channels_last(item.shape):
        raise _no_image(name, _array_problem(item))
    if 0 in item.shape:
        raise _no_image(name, f"has no pixels, {item.shape}")
    image = Image.fromarray(item[..., 0] if item.shape[2:] == (1,) else item)
    return image if image.mode == "RGB" else from_pil(image, preprocess.background)


def _has_channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS)


def _array_problem(array: NDArray[Any]) -> str:
    text = f"an array must be (H, W, 3), (H, W, 4) or (H, W) of uint8, got {array.shape} {array.dtype}"
    if not _has_channels_last(array.shape) and array.ndim == 3 and array.shape[0] in _CHANNELS:
        text += "; its channels come first: image.transpose(1, 2, 0)"
    if array.dtype.kind == "f":
        text += "; of values in [0, 1] make (255 * image).round().astype('uint8')"
    return text


def _of_tensor(tensor: "Tensor", name: str) -> NDArray[np.uint8]:
    """Return a tensor (C, H, W) as an array (H, W, C) of uint8."""
    shape = tuple(tensor.shape)
    is_uint8 = str(tensor.dtype) == "torch.uint8"
    has_channels = len(shape) == 3 and shape[0] in _CHANNELS
    if not (has_channels and (is_uint8 or tensor.is_floating_point())) and not (is_uint8 and len(shape) == 2):
        text = f"a tensor must be (C, H, W) of uint8, or of floats in [0, 1], got {shape} {tensor.dtype}"
        last = not has_channels and len(shape) == 3 and shape[2] in _CHANNELS
        raise _no_image(name, f"{text}{'; its channels come last: image.permute(2, 0, 1)' if last else ''}")
    values: NDArray[Any] = (tensor if is_uint8 else tensor.detach().float()).cpu().numpy()
    if not is_uint8:
        if values.size and not (values.min() >= 0 and values.max() <= 1):  # false for NaN
            advice = "give it before it is normalised, or as uint8"
            span = f"{values.min():.4g} to {values.max():.4g}"
            raise _no_image(name, f"a tensor of floats must be in [0, 1], got {span}; {advice}")
        values = (255 * values).round().astype(np.uint8)
    return np.ascontiguousarray(values if values.ndim == 2 else values.transpose(1, 2, 0))


def _no_image(name: str, problem: str) -> DataError:
    return DataError(f"{name}: {problem}", code="not-an-image", parameter="images")
