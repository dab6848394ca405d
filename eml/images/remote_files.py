"""Image files in remote places."""

from eml.images.identify import ImageError
from eml.storage import RemotePath
from eml.storage.listing import known_info
from eml.storage.object_cache import cached_bytes
from eml.storage.objects import object_info


def read_remote(path: RemotePath, at_most: int) -> bytes:
    """Return the bytes of an object that may be an image.

    Raises:
        ImageError: It is missing, empty, has more than `at_most` bytes, or cannot be read after retries.
        DataError: The place fails too often, or a package is missing.
    """
    try:
        info = known_info(path) or object_info(path)
        if info.bytes > at_most:
            raise ImageError(path, "too_large", f"{info.bytes:,} bytes; at most {at_most:,} are read")
        data = cached_bytes(path, info)
    except FileNotFoundError as error:
        raise ImageError(path, "missing", "no such file") from error
    except OSError as error:
        raise ImageError(path, "unreadable", error.strerror or str(error)) from error
    if not data:
        raise ImageError(path, "empty", "0 bytes")
    return data
