"""The facts of an object in a remote place."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """The facts of an object, or of a folder: of all that lies below it."""

    bytes: int
    token: str
    """Another one means another version; empty where the place tells neither a checksum nor a time."""
    md5: str = ""
    """The MD5 of the bytes, where the place seems to tell it."""
    modified: int = 0
    """Time of the last change (ns), 0 where it is not known."""
    is_folder: bool = False

    @property
    def version(self) -> int:
        """The version as a whole number in [0, 2^63), as a table of files keeps it in place of a time."""
        return int.from_bytes(hashlib.blake2b(self.token.encode(), digest_size=8).digest()) >> 1
