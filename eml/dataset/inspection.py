"""One file → one row. This runs in the worker processes, so it imports no pandas."""

from pathlib import Path
from typing import NamedTuple

from eml.dataset.hashing import HashKind, content_hash, open_and_hash
from eml.images.decode import PictureError, read


class Problem(NamedTuple):
    """A row of dataset_errors.csv."""

    file_name: str
    """POSIX, relative to the root; bytes that are no UTF-8 as \\xNN."""
    reason: str
    """eml.images.decode.Reason, or not_in_a_class, outside_dataset, linked_folder, unusable_name."""
    detail: str


class Row(NamedTuple):
    """What one read of a picture tells."""

    label: str
    file_name: str
    width: int
    height: int
    hash: str
    content: str
    bytes: int
    format: str
    mode: str


def inspect(root: Path, file_name: str, hash_kind: HashKind | None) -> Row | Problem:
    """Reads the file once and decodes it to its end; width and height are as shown, after EXIF orientation."""
    path = root / file_name
    try:
        data = read(path)
        picture, hash_ = open_and_hash(data, path, hash_kind)
    except PictureError as error:
        return Problem(file_name, error.reason, error.detail)
    return Row(
        label=file_name.partition("/")[0],
        file_name=file_name,
        width=picture.width,
        height=picture.height,
        hash=hash_,
        content=content_hash(data),
        bytes=len(data),
        format=picture.format,
        mode=picture.mode,
    )
