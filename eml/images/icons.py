"""The sizes of the images inside an icon (ICO, ICNS): its own header need not tell the truth about them."""

import re
import struct
from collections.abc import Iterator

ICONS = (b"\0\0\1\0", b"icns")
"""The first bytes of such files."""
MAX_ICON_PIXELS = 2**24
"""Icons with a larger image are refused; they are used at up to 1024 × 1024 pixels."""

_NESTED = re.compile(
    rb"\x89PNG\r\n\x1a\n....IHDR(?P<png>.{8})"
    rb"|ihdr(?P<jp2>.{8})"
    rb"|\xff\x4f\xff\x51....(?P<j2k>.{16})"
    rb"|[\x28\x34\x38\x40\x6c\x7c]\0\0\0(?P<bitmap>.{8})\x01\0"
    rb"|\x0c\0\0\0(?P<old_bitmap>.{4})\x01\0",
    re.DOTALL,
)


def nested_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (width, height) of each PNG, JPEG 2000 and bitmap header in the bytes of an icon."""
    for match in _NESTED.finditer(data):
        if match["png"]:
            yield struct.unpack(">II", match["png"])
        elif match["jp2"]:
            yield struct.unpack(">II", match["jp2"])
        elif match["j2k"]:
            right, bottom, left, top = struct.unpack(">IIII", match["j2k"])
            yield max(0, right - left), max(0, bottom - top)
        elif match["bitmap"]:
            width, height = struct.unpack("<ii", match["bitmap"])
            yield abs(width), abs(height)
        else:
            yield struct.unpack("<HH", match["old_bitmap"])
