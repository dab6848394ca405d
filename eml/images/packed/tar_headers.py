"""The headers of a tar file: ustar, GNU's and POSIX's (PAX), read without a look at the data between them.

Everything in them is another's word: sizes, names and the length of what extends them are bounded. See POSIX.1-2017,
pax, "ustar Interchange Format", and GNU tar's manual, "Basic Tar Format".
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from eml.images.packed.random_access import RandomFile

BLOCK = 512
"""Bytes of a header; data is padded to whole blocks."""
MOST_EXTENDED = 2**20
"""Bytes of a long name or of PAX records; longer ones end the reading."""
_MOST_IN_ROW = 8  # headers that extend one member

Kind = Literal["file", "folder", "link", "device", "sparse"]
_KINDS: dict[bytes, Kind] = {
    **{b"0": "file", b"\0": "file", b"7": "file", b"1": "link", b"2": "link", b"5": "folder", b"D": "folder"},
    **{b"3": "device", b"4": "device", b"6": "device", b"S": "sparse"},
}
_WITHOUT_DATA = b"1 2 3 4 5 6".split()
_END = bytes(BLOCK)


class TarMember(NamedTuple):
    """A member of a tar file."""

    name: str
    """The stored name, but for a slash at the end of a folder's; bytes that are not UTF-8 as lone surrogates."""
    kind: Kind
    offset: int
    """The place of the data in the file (bytes)."""
    size: int
    """Bytes of the data as the header says, which a file that was cut short may lack."""


class TarEndsError(Exception):
    """The tar file ends where it should not, or goes on with something else.

    Args:
        reason: truncated, or unreadable.
        detail: A text for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def members(file: RandomFile) -> Iterator[TarMember]:
    """Yield the members in the order of the file, up to the first one that is not whole, which is yielded too.

    Raises:
        TarEndsError: After the last member, where the file is cut short or damaged.
    """
    place, extended, in_row = 0, dict[str, str](), 0
    while True:
        header = file.read(place, BLOCK)
        if header == _END:
            return
        if len(header) < BLOCK and place == 0 and header:
            raise TarEndsError("unreadable", "is no tar file")
        if len(header) < BLOCK:
            where = "within a header" if header or extended else "without the mark of its end"
            raise TarEndsError("truncated", f"ends {where}; what is before is used")
        size = _checked_size(header, place)
        kind, data = header[156:157], place + BLOCK
        if kind in b"LKxg" and kind != b"":
            in_row += 1
            if size > MOST_EXTENDED or in_row > _MOST_IN_ROW:
                raise TarEndsError("unreadable", f"has a name or records of {size:,} bytes at byte {place:,}")
            text = file.read(data, size)
            if len(text) < size:
                raise TarEndsError("truncated", "ends within a header; what is before is used")
            extended |= _extension(kind, text, place)
        else:
            size = 0 if kind in _WITHOUT_DATA else _extended_size(extended, size, place)
            data = _after_sparse_map(file, header, data) if kind == b"S" else data
            yield _member(header, kind, data, size, extended)
            extended, in_row = {}, 0
            if data + size > file.size:
                raise TarEndsError("truncated", "ends within a member; what is before is used")
        place = data + -(-size // BLOCK) * BLOCK


def _member(header: bytes, kind: bytes, data: int, size: int, extended: dict[str, str]) -> TarMember:
    name = extended.get("path")
    if name is None:
        name = _text(header[:100])
        if header[257:263] == b"ustar\0" and header[345]:
            name = f"{_text(header[345:500])}/{name}"
    form = _KINDS.get(kind, "device")
    if extended and any(key.startswith("GNU.sparse.") for key in extended):
        form = "sparse"
    if form == "file" and name.endswith("/"):  # the oldest tars have no kind for folders
        form = "folder"
    return TarMember(name.rstrip("/"), form, data, size)


def _after_sparse_map(file: RandomFile, header: bytes, place: int) -> int:
    """Return where the data of a sparse member of GNU's begins: after the blocks that go on with its map."""
    more = header[482]
    while more:
        block = file.read(place, BLOCK)
        if len(block) < BLOCK:
            raise TarEndsError("truncated", "ends within a header; what is before is used")
        more, place = block[504], place + BLOCK
    return place


def _checked_size(header: bytes, place: int) -> int:
    """Return the size that a header says, after its check sum."""
    total = sum(header) - sum(header[148:156]) + 8 * 32
    try:
        if _number(header[148:156]) == total and (size := _number(header[124:136])) >= 0:
            return size
    except ValueError:
        pass
    detail = "is no tar file" if place == 0 else f"is damaged at byte {place:,}; what is before is used"
    raise TarEndsError("unreadable", detail)


def _number(field: bytes) -> int:
    """Return a number in octal digits, or in GNU's base 256."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big") if field[0] != 0xFF else -1
    digits = field.split(b"\0", 1)[0].strip()
    return int(digits, 8) if digits else 0


def _extension(kind: bytes, text: bytes, place: int) -> dict[str, str]:
    """Return what a header says of the next member; what one says of all members is not used."""
    if kind == b"L":
        return {"path": _text(text)}
    return _records(text, place) if kind == b"x" else {}


def _records(text: bytes, place: int) -> dict[str, str]:
    """Return PAX records, `LENGTH KEY=VALUE` and a new line each."""
    records, start = dict[str, str](), 0
    while start < len(text) and text[start]:
        digits = text[start : start + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = text[start + len(digits) + 1 : start + length - 1]
        key, equals, value = record.partition(b"=")
        if length <= len(digits) + 1 or start + length > len(text) or not equals:
            raise TarEndsError("unreadable", f"has broken records at byte {place:,}; what is before is used")
        records[_text(key)] = _text(value)
        start += length
    return records


def _extended_size(extended: dict[str, str], size: int, place: int) -> int:
    text = extended.get("size")
    if text is None:
        return size
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise TarEndsError("unreadable", f"says no size at byte {place:,}; what is before is used")
    return int(text)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
