"""The size of a JPEG XL by its header: the package that decodes it decodes all of it to say its size.

ISO/IEC 18181-1, "SizeHeader": bits from the lowest on, in the codestream after FF 0A. A container holds the codestream
in a box `jxlc`, or the parts of it in boxes `jxlp` (ISO/IEC 18181-2).
"""

from collections.abc import Iterator

_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height
_BITS = (9, 13, 18, 30)
HEADER = 2**16
"""Bytes of a file in which the size is looked for."""


def jxl_size(start: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as stored; None where the beginning of a file does not say it."""
    stream = start if start.startswith(_CODESTREAM) else next(_codestreams(start), b"")
    if not stream.startswith(_CODESTREAM) or len(stream) < 14:
        stream += bytes(14)
    if not stream.startswith(_CODESTREAM):
        return None
    bits = _Bits(int.from_bytes(stream[2:14], "little"))
    is_small = bits.take(1)
    height = _side(bits, is_small)
    ratio = bits.take(3)
    if ratio:
        wide, high = _RATIOS[ratio - 1]
        return height * wide // high, height
    return _side(bits, is_small), height


def _side(bits: "_Bits", is_small: int) -> int:
    return 8 * (bits.take(5) + 1) if is_small else bits.take(_BITS[bits.take(2)]) + 1


class _Bits:
    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        number = self._value & ((1 << count) - 1)
        self._value >>= count
        return number


def _codestreams(start: bytes) -> Iterator[bytes]:
    """Yield what boxes of the codestream hold."""
    place = 0
    while place + 8 <= len(start):
        size, kind, head = int.from_bytes(start[place : place + 4], "big"), start[place + 4 : place + 8], 8
        if size == 1:
            size, head = int.from_bytes(start[place + 8 : place + 16], "big"), 16
        end = place + size if size else len(start)
        if kind == b"jxlc":
            yield start[place + head : end]
        elif kind == b"jxlp":
            yield start[place + head + 4 : end]
        if end < place + head:
            return
        place = end
