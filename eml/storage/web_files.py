"""The file system of web servers: fsspec's, with answers that are bounded, not decoded, and of the host that was named.

A server is not trusted to keep to what was asked for. The reader of fsspec takes an encoded answer apart at any size,
follows redirects to any host, and calls every failure a missing file.
"""

import errno
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from fsspec.asyn import sync_wrapper
from fsspec.implementations.http import HTTPFileSystem
from yarl import URL

from eml.storage.content_ranges import check_range
from eml.storage.failures import REPLACED, RefusedAnswerError, ReplacedObjectError
from eml.storage.object_info import ObjectInfo, info_of

MOST_UNTOLD = 2**30
"""Bytes that are read of an object whose length is told neither by the server nor by the caller."""
_NO_RANGES = "the server does not answer requests of a range, so it cannot be read in parts; copy it here"
_TICK = 2.0  # seconds
_DEFAULT_PORTS = {"http": 80, "https": 443}


def client_settings(connect: float, read: float) -> dict[str, Any]:
    """Return the arguments of aiohttp's session: seconds without an answer, no encodings, checked redirects."""
    traces = aiohttp.TraceConfig()
    traces.on_request_redirect.append(_check_redirect)
    return {
        "timeout": aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=read),
        "headers": {"Accept-Encoding": "identity"},
        "auto_decompress": False,
        "trace_configs": [traces],
    }


def may_redirect(source: URL, target: URL) -> bool:
    """Return whether a redirect stays on its host and port, or goes from http to https of the host."""
    if source.host != target.host or target.scheme not in _DEFAULT_PORTS:
        return False
    if source.scheme == target.scheme:
        return source.port == target.port
    is_default = (source.port, target.port) == (_DEFAULT_PORTS["http"], _DEFAULT_PORTS["https"])
    return target.scheme == "https" and (is_default or source.port == target.port)


async def _check_redirect(session: Any, context: Any, request: aiohttp.TraceRequestRedirectParams) -> None:
    """Raise a RefusedAnswerError, before the next request, for a redirect to another place."""
    answer = request.response
    text = answer.headers.get("Location") or answer.headers.get("URI")
    if text is None:
        return
    try:
        target = answer.url.join(URL(text))
        allowed = may_redirect(answer.url, target)
        place = f"{target.scheme}://{target.host_port_subcomponent}"
    except ValueError:
        allowed, place = False, "an address that cannot be read"
    if not allowed:
        answer.close()
        own = f"{answer.url.scheme}://{answer.url.host_port_subcomponent}"
        reason = f"{own} redirects to {place}. Redirects are followed within one host alone; give the other address"
        raise RefusedAnswerError(errno.EACCES, reason)


def _check_encoding(answer: aiohttp.ClientResponse) -> None:
    """Raise a RefusedAnswerError for an answer in an encoding, which was not asked for."""
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        answer.close()
        reason = f"the server answers with Content-Encoding {encoding[:40]!r}, though none was asked for"
        raise RefusedAnswerError(errno.EIO, f"{reason}. Have it serve the file as it is")


def _told_version(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """Return what an answer says of the version that it is of.

    A time of the last change within two seconds of the answer is none of a version: it is in whole seconds, and the
    file may be changed once more in the same one.
    """
    version = {name: answer.headers[name] for name in ("ETag", "Last-Modified") if name in answer.headers}
    if "ETag" not in version and "Last-Modified" in version and not _is_settled(answer.headers):
        del version["Last-Modified"]
    return version


def _is_settled(headers: Mapping[str, str]) -> bool:
    """Return whether the last change that an answer tells was at least two seconds before it, by the server's clock."""
    try:
        changed = parsedate_to_datetime(headers["Last-Modified"]).timestamp()
        now = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else time.time()
    except (ValueError, OverflowError):
        return False
    return now - changed >= _TICK


def _check_version(answer: aiohttp.ClientResponse, version: ObjectInfo) -> None:
    """Raise a ReplacedObjectError for an answer that is not of a version."""
    if not info_of({"size": version.bytes} | _told_version(answer)).is_same_version(version):
        answer.close()
        raise ReplacedObjectError(errno.EIO, REPLACED)


def _check_range(answer: aiohttp.ClientResponse, limits: tuple[int, int | None] | None, size: int | None) -> None:
    """Raise a RefusedAnswerError for an answer of another part than was asked for; None: of the whole object."""
    try:
        check_range(answer.headers.get("Content-Range", ""), *(limits or (0, None)), size)
        if limits is None:
            raise RefusedAnswerError(errno.EIO, "the server answers with a range, though the whole was asked for")
    except RefusedAnswerError:
        answer.close()
        raise


async def _bytes_of(answer: aiohttp.ClientResponse, most: int | None) -> bytes:
    """Return the bytes of an answer; of one that is longer, the first `most`.

    None: all are wanted, and more than `MOST_UNTOLD` are refused.
    """
    data = bytearray()
    async for chunk in answer.content.iter_any():
        data += chunk
        if most is None and len(data) > MOST_UNTOLD:
            reason = f"the server tells no length, and more than {MOST_UNTOLD:,} bytes came"
            raise RefusedAnswerError(errno.EFBIG, reason)
        if most is not None and len(data) >= most:
            break
    return bytes(memoryview(data)[:most])


class WebFileSystem(HTTPFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Read what web servers have, by its address."""

    async def _info(self, url: str, **settings: Any) -> dict[str, Any]:
        """Return the facts of an object, by HEAD, or by GET where that tells no size.

        Raises FileNotFoundError where there is none, and the error of aiohttp where nothing answers.
        """
        session = await self.set_session()
        facts: dict[str, Any] = {"name": url, "size": None, "type": "file"}
        for method in ("HEAD", "GET"):
            options = {"allow_redirects": True} | self.kwargs | settings
            async with session.request(method, self.encode_url(url), **options) as answer:
                if method == "HEAD" and answer.status >= 400 and answer.status not in (404, 410):
                    continue
                self._raise_not_found_for_status(answer, url)
                if method == "GET":
                    _check_encoding(answer)
                facts |= _told_version(answer)
                length = answer.headers.get("Content-Length", "")
                if length.isdecimal() and "Content-Encoding" not in answer.headers:
                    return facts | {"size": int(length)}
        return facts

    async def _cat_file(
        self,
        url: str,
        start: int | None = None,
        end: int | None = None,
        most: int | None = None,
        version: ObjectInfo | None = None,
        **settings: Any,
    ) -> bytes:
        """Return the bytes of an object, or of a range; of a whole object at most `most`, of a range as many as asked.

        A range that comes longer than it is comes with one more byte, so that the caller sees it. Raises
        ReplacedObjectError for an answer of another version than `version`, and RefusedAnswerError for one of another
        range.
        """
        if start is not None and start == end:
            return b""
        options = self.kwargs | settings
        is_range = start is not None or end is not None
        if is_range:
            options["headers"] = {"Range": await self._process_limits(url, start, end)}
        session = await self.set_session()
        async with session.get(self.encode_url(url), **options) as answer:
            self._raise_not_found_for_status(answer, url)
            _check_encoding(answer)
            if version is not None:
                _check_version(answer, version)
            is_whole = answer.status != 206
            if not is_whole:
                size = None if version is None else version.bytes
                _check_range(answer, (start or 0, end) if is_range else None, size)
            if is_range and is_whole and start:
                raise RefusedAnswerError(errno.EIO, _NO_RANGES)
            if end is not None:
                most = end - (start or 0) + (not is_whole)
            return await _bytes_of(answer, most)

    async def _get_file(self, url: str, path: str, most: int = MOST_UNTOLD, **settings: Any) -> None:
        """Write an object into a local file as it comes; of one with more bytes than `most` one more."""
        session = await self.set_session()
        async with session.get(self.encode_url(url), **self.kwargs | settings) as answer:
            self._raise_not_found_for_status(answer, url)
            _check_encoding(answer)
            if answer.status == 206:
                _check_range(answer, None, None)
            with open(path, "wb") as file:  # noqa: PTH123 - as fsspec does; the threads wait for it
                async for chunk in answer.content.iter_any():
                    file.write(chunk[: most + 1 - file.tell()])
                    if file.tell() > most:
                        break

    async def _cat_version(self, url: str, most: int | None = None) -> tuple[bytes, dict[str, Any]]:
        """Return the bytes of an object, at most `most`, and its facts as the same answer tells them."""
        session = await self.set_session()
        async with session.get(self.encode_url(url), **self.kwargs) as answer:
            self._raise_not_found_for_status(answer, url)
            _check_encoding(answer)
            if answer.status == 206:
                _check_range(answer, None, None)
            length = answer.headers.get("Content-Length", "")
            size = int(length) if length.isdecimal() else None
            data = await _bytes_of(answer, size + 1 if most is None and size is not None else most)
            return data, {"type": "file", "size": size} | _told_version(answer)

    cat_version = sync_wrapper(_cat_version)
