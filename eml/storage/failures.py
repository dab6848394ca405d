"""Failures of remote places, as the OSErrors that readers of files expect, and without secrets in the text."""

import errno
import re
import socket
from collections.abc import Iterator

from eml.errors import DataError

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 509})
"""Status codes of requests that are worth repeating."""
_REFUSALS = {401: "not signed in", 403: "access denied", 404: "no such object", 410: "no such object"}


class RefusedAnswerError(OSError):
    """An answer that is not taken, and would be no other one the next time; its text is for the user."""


REPLACED = "it was replaced while it was read, so that its parts would be of two versions; run the command again"


class ReplacedObjectError(RefusedAnswerError):
    """An object of which parts were read has another version by now, so that no more of it is read."""


_KINDS = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    RefusedAnswerError,
)
_UNANSWERED = frozenset(
    {
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "ConnectionTimeoutError",
        "EndpointConnectionError",
        "ConnectTimeoutError",
    }
)
"""Errors of aiohttp and botocore of a place where nothing answers."""
_SLOW = frozenset({"SocketTimeoutError", "ServerTimeoutError", "ReadTimeoutError"})
"""Errors of aiohttp and botocore of an answer that does not come in time."""
_CUT = frozenset({"ClientPayloadError", "ContentLengthError", "TransferEncodingError"})
"""Errors of aiohttp of an answer that ends too early, which have a status that no server sent."""
_MODULES = (
    "aiohttp",
    "botocore",
    "aiobotocore",
    "urllib3",
    "requests",
    "httpx",
    "httpcore",
    "azure",
    "gcsfs",
    "huggingface_hub",
)
_NO_KEYS = (
    "NoCredentials",
    "PartialCredentials",
    "CredentialRetrieval",
    "TokenRetrieval",
    "NoAuthToken",
    "DefaultCredentials",
)
_QUERY = re.compile(r"([?&])[^\s'\")>]+")
_SIGNED_IN = re.compile(r"(://)[^/\s'\"@]+@")
_MOST = 300


def plain_text(error: BaseException) -> str:
    """Return an error of another package as one line, without queries and credentials of URLs."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _SIGNED_IN.sub(r"\1***@", _QUERY.sub(r"\1***", text))[:_MOST]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    cause: BaseException | None = error
    for _ in range(6):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def status_of(error: BaseException) -> int | None:
    """Return the status code of the answer that an error is of, None where there was none."""
    for cause in _chain(error):
        if type(cause).__name__ in _CUT:
            continue
        answer = getattr(cause, "response", None)
        if isinstance(answer, dict):  # botocore's
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(cause, "status", None) or getattr(cause, "status_code", None)
            status = status or getattr(cause, "code", None) or getattr(answer, "status_code", None)
        if isinstance(status, str) and status.isdecimal():
            status = int(status)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return None


def lacks_credentials(error: BaseException) -> bool:
    """Return whether no request was made, since the environment has no credentials."""
    return any(name in type(cause).__name__ for cause in _chain(error) for name in _NO_KEYS)


def is_passing(error: BaseException) -> bool:
    """Return whether a request that failed so is worth repeating."""
    if isinstance(error, DataError) or lacks_credentials(error):
        return False
    if (status := status_of(error)) is not None:
        return status in _PASSING
    if isinstance(error, _KINDS):
        return False
    if isinstance(error, OSError | EOFError | TimeoutError):
        return True
    return any(type(cause).__module__.partition(".")[0] in _MODULES for cause in _chain(error))


def is_unanswered(error: BaseException) -> bool:
    """Return whether there was no connection to a place."""
    return any(type(cause).__name__ in _UNANSWERED for cause in _chain(error))


def _why_unanswered(error: BaseException) -> str:
    """Return why there was no connection, in plain words, where they are known."""
    causes = [*_chain(error), *(own for cause in _chain(error) if (own := getattr(cause, "os_error", None)))]
    if any(isinstance(cause, socket.gaierror) or "DNS" in type(cause).__name__ for cause in causes):
        return "no host of this name is known"
    if any("Timeout" in type(cause).__name__ for cause in causes):
        return "no connection in time"
    text = plain_text(error)
    refused = any(getattr(cause, "errno", None) == errno.ECONNREFUSED for cause in causes)
    if refused or f"Errno {errno.ECONNREFUSED}]" in text or "Connect call failed" in text:
        return "the connection is refused"
    reason = next((own for cause in causes if (own := getattr(cause, "strerror", None))), None)
    return plain_text(OSError(reason)) if reason else text


def as_os_error(error: BaseException, name: object) -> OSError:
    """Return an error of a request as an OSError of the kind that the local disk would give; name: what was read."""
    text = str(name)
    if isinstance(error, ReplacedObjectError):
        return ReplacedObjectError(error.errno, error.strerror, text)
    if lacks_credentials(error):
        return PermissionError(errno.EACCES, "no credentials were found in the environment, see docs/remote.md", text)
    status = status_of(error)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return FileNotFoundError(errno.ENOENT, "no such object", text)
    if isinstance(error, PermissionError) or status in (401, 403):
        return PermissionError(errno.EACCES, f"{_REFUSALS.get(status or 403)} ({plain_text(error)})", text)
    if isinstance(error, IsADirectoryError):
        return IsADirectoryError(errno.EISDIR, "it is a folder", text)
    detail = plain_text(error)
    if isinstance(error, OSError) and error.strerror:
        detail = " ".join(_SIGNED_IN.sub(r"\1***@", _QUERY.sub(r"\1***", str(error.strerror))).split())[:_MOST]
    if is_unanswered(error):
        detail = f"nothing answers at this address ({_why_unanswered(error)})"
    elif any(type(cause).__name__ in _SLOW for cause in _chain(error)):
        detail = "no answer came in time"
    if status is not None and str(status) not in detail:
        detail = f"{detail} (status {status})"
    return OSError(errno.EIO, detail, text)
