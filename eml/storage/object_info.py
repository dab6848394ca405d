"""The facts of an object in a remote place."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_MD5 = re.compile(r"[0-9a-f]{32}")
_TOKENS = ("ETag", "etag", "md5Hash", "md5", "generation", "version_id", "content_md5", "blob_id", "xet_hash", "sha256")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "created", "last_commit")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """The facts of an object, or of a folder: of all that lies below it."""

    bytes: int
    token: str
    """Another one means another version; empty where the place tells neither a checksum nor a time.

    A line `name=value` for each checksum that the place tells, else one for the time.
    """
    md5: str = ""
    """The MD5 of the bytes, where the place seems to tell it."""
    modified: int = 0
    """Time of the last change (ns), 0 where it is not known."""
    is_folder: bool = False

    @property
    def version(self) -> int:
        """The version as a whole number in [0, 2^63), as a table of files keeps it in place of a time."""
        return int.from_bytes(hashlib.blake2b(self.token.encode(), digest_size=8).digest()) >> 1

    @property
    def tag(self) -> str:
        """The ETag, "" where there is none."""
        return self._values().get("etag", "")

    @property
    def is_exact(self) -> bool:
        """Return whether the version tells one byte from another, so that parts of it may be put together.

        An ETag that is weak (`W/"1"`) does not. RFC 9110, sections 8.8.1 and 13.1.5.
        """
        return any(not value.startswith(("W/", "w/")) for value in self._values().values())

    def is_same_version(self, info: "ObjectInfo") -> bool:
        """Return whether two facts of one object are of one version, though one may be of a listing that tells less."""
        if self.bytes != info.bytes or not self.token or not info.token:
            return False
        own, others = self._values(), info._values()
        if shared := own.keys() & others.keys():
            return all(own[name] == others[name] for name in shared)
        return self.modified == info.modified != 0

    def _values(self) -> dict[str, str]:
        pairs = (line.partition("=") for line in self.token.splitlines())
        return {name: value for name, _, value in pairs}


def info_of(facts: dict[str, Any]) -> ObjectInfo:
    """Return the facts of an object as fsspec tells them."""
    if facts.get("type") == "directory":
        return ObjectInfo(0, "", is_folder=True)
    size = facts.get("size")
    modified = _modified(facts)
    sums = {name.lower(): str(facts[name]).strip('"') for name in _TOKENS if facts.get(name)}
    token = "\n".join(
        f"{name}={value}" for name, value in (sums or ({"time": str(modified)} if modified else {})).items()
    )
    tag = str(facts.get("ETag") or facts.get("etag") or "").strip('"')
    md5 = tag if _MD5.fullmatch(tag) else ""
    return ObjectInfo(-1 if size is None else int(size), token, md5, modified)


def _modified(facts: dict[str, Any]) -> int:
    """Return the time of the last change in nanoseconds, 0 where it is not told."""
    value = next((facts[name] for name in _TIMES if facts.get(name)), None)
    try:
        if isinstance(value, str):
            is_of_web = value[:3].isalpha()  # Mon, 30 Nov 2026 18:00:00 GMT
            value = parsedate_to_datetime(value) if is_of_web else datetime.fromisoformat(value)
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        return round(value * 1e9) if isinstance(value, int | float) else 0
    except (ValueError, OverflowError):
        return 0
