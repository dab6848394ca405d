"""Image files in remote places."""

from eml.images.identify import check_bytes, not_empty, readable
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
    with readable(path):
        info = known_info(path) or object_info(path)
        check_bytes(path, info.bytes, at_most)
        data = cached_bytes(path, info)
    return not_empty(path, data)
