"""One file → one record. This runs in the worker processes, so it imports no pandas."""

import time
from dataclasses import dataclass
from pathlib import Path

from eml.dataset.scanning.hashing import HashKind, content_hash, decode_size, image_hash
from eml.images.decode import ImageError, open_image, read
from eml.images.flatten import is_blank
from eml.images.memory import JPEG
from eml.images.packed.members import member_state
from eml.images.packed.remote_states import image_info
from eml.storage import RemotePath

UNSETTLED = -1
_UNKNOWN = -1  # bytes of an image inside a packed file that does not say them
_CLOCK_TICK = 2_000_000_000  # ns; the coarsest clock of a file system, FAT's
_MAY_CHANGE_UNSEEN = ("missing", "unreadable")  # mended by chmod or a mount, which leave size and time


@dataclass(slots=True)
class FileRecord:
    """The facts that one reading of a file gives: of an image, or of a file that cannot be used (`reason` is set)."""

    file_name: str
    """POSIX, relative to the root."""
    mtime: int = UNSETTLED
    """Time of the last change (ns), of a remote file a number of its version; UNSETTLED where the same later would not
    prove the file unchanged."""
    bytes: int = 0
    content: str = ""
    """blake2b-128 of the bytes."""
    width: int = 0
    """As shown, after EXIF orientation (pixels)."""
    height: int = 0
    format: str = ""
    mode: str = ""
    hash: str = ""
    """Perceptual hash, "" where none is computed."""
    is_blank: bool = False
    """It shows nothing: all pixels are of one colour."""
    reason: str = ""
    """A `Reason` of eml.images.decode, "" for an image."""
    detail: str = ""


def inspect_file(root: Path, file_name: str, hash_kind: HashKind | None) -> FileRecord:
    """Read a file once, decode it to its end and hash it."""
    record, path = FileRecord(file_name), root / file_name
    settled = _record_state(record, path)
    try:
        data = read(path)
        _record_image(record, data, path, hash_kind)
    except ImageError as error:
        record.reason, record.detail, record.bytes = error.reason, error.detail, max(0, record.bytes)
        settled = settled and error.reason not in _MAY_CHANGE_UNSEEN
    else:
        settled = settled and record.bytes in (len(data), _UNKNOWN)
        record.bytes, record.content = len(data), content_hash(data)
    if not settled:
        record.mtime = UNSETTLED
    return record


def _record_state(record: FileRecord, path: Path) -> bool:
    """Write the file's size and time, by which a later scan need not read it again; return whether they can be used.

    They cannot for a file that was written within two seconds of now: it may be written again within the same tick of
    the clock.
    """
    try:
        if isinstance(path, RemotePath):
            info = image_info(path)
            record.mtime, record.bytes = info.version, info.bytes
            return info.token != "" and abs(time.time_ns() - info.modified) > _CLOCK_TICK
        if (member := member_state(path)) is not None:
            record.mtime, record.bytes = member.mtime, _UNKNOWN if member.size is None else member.size
        else:
            state = path.stat()
            record.mtime, record.bytes = state.st_mtime_ns, state.st_size
    except OSError:
        return False
    return abs(time.time_ns() - record.mtime) > _CLOCK_TICK


def _record_image(record: FileRecord, data: bytes, path: Path, hash_kind: HashKind | None) -> None:
    """Decode the bytes; write size, format, mode, perceptual hash and whether it is blank. Raises ImageError."""
    at_least = decode_size(hash_kind)
    decoded = open_image(data, path, at_least=at_least, luma=at_least is not None)
    record.width, record.height = decoded.width, decoded.height
    record.format, record.mode = decoded.format, decoded.mode
    record.hash = image_hash(decoded.image, hash_kind)
    record.is_blank = is_blank(decoded.image)
    if record.is_blank and decoded.format in JPEG:  # its brightness, perhaps of a reduced image: look again
        del decoded
        record.is_blank = is_blank(open_image(data, path).image)
