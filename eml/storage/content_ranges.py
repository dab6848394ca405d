"""The range that an answer says that it holds, compared with the one that was asked for."""

import errno
import re

from eml.storage.failures import RefusedAnswerError

_RANGE = re.compile(r"\s*bytes\s+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\s*", re.IGNORECASE)


def check_range(header: str, start: int, end: int | None, size: int | None) -> None:
    """Raise a RefusedAnswerError where an answer holds other bytes than were asked for. RFC 9110, section 14.4.

    Args:
        header: Its Content-Range, "" where it has none, as an answer of several ranges has.
        start: The first byte that was asked for.
        end: The byte after the last one; None: all that follow.
        size: The bytes of the object; None: they are not known.
    """
    match = _RANGE.fullmatch(header)
    if match is not None:
        first, last = int(match[1]), int(match[2])
        total = size if match[3] == "*" else int(match[3])
        ends = [place for place in (end, total) if place is not None]
        if first == start and (size is None or total == size) and (not ends or last == min(ends) - 1):
            return
    request = f"bytes {start}-{'' if end is None else end - 1}" + ("" if size is None else f"/{size}")
    reason = f"the server answers with Content-Range {header[:60]!r}, though {request} was asked for"
    raise RefusedAnswerError(errno.EIO, f"{reason}. Have it answer requests of ranges as they are made")
