"""Bodies of requests: JSON, multipart forms and raw images become fields and images."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from eml.errors import ConfigError, DataError, EmlError, Problem
from eml.serving.answers import ItemProblem, ServedImage
from eml.serving.batching import QueueFullError

if TYPE_CHECKING:
    from fastapi import Request

    from eml.serving.engine import ServingEngine
    from eml.serving.limits import ServingLimits

Fields = TypeVar("Fields", bound=BaseModel)
Fetch = Callable[[Sequence[str]], Awaitable[Sequence[bytes | DataError]]]
"""Returns for each address what it has, or the error why there is nothing."""

IMAGE_PARTS = ("images", "image", "file", "files")
"""Names of a form's parts that are images."""
_DATA_URI = re.compile(r"data:[^,;]*(?:;[^,;]*)*?;base64,", re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_LONGEST_NAME = 200
SIGNS, SIGNS_PER_ITEM = 10_000, 2_000
"""Commas and opening brackets of a JSON body, and of each item that a request may have: its text may hold some."""
MOST_PROBLEMS = 10
"""Problems that an answer names."""


class BodyError(EmlError):
    """A body that is not read: too large, or of a type that no image has. status: of HTTP."""

    def __init__(self, text: str, code: str, status: int) -> None:
        super().__init__(text, code=code)
        self.status = status


@dataclass(frozen=True)
class ParsedRequest(Generic[Fields]):
    """A request that was read.

    Attributes:
        fields: The fields besides images.
        images: The images of a form, or of a raw body.
    """

    fields: Fields
    images: list[ServedImage]


class Bodies:
    """Reads bodies, and bounds the memory that all of them take together.

    Args:
        engine: Says the limits, and when to come again.
    """

    def __init__(self, engine: ServingEngine) -> None:
        self.engine, self.held = engine, 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Yield a body; its memory counts until the block ends.

        Raises:
            BodyError: It is too large.
            QueueFullError: The bodies of all requests together are.
        """
        limits, own = self.engine.limits, 0
        try:
            length = request.headers.get("content-length", "")
            if length.isdecimal() and int(length) > limits.body_bytes:
                raise _too_large(limits)
            parts = []
            async for part in request.stream():
                own, self.held = own + len(part), self.held + len(part)
                if own > limits.body_bytes:
                    raise _too_large(limits)
                if self.held > limits.queue_bytes:
                    seconds = self.engine.retry_after()
                    raise QueueFullError("the requests that are read take all the memory they may", seconds)
                parts.append(part)
            yield b"".join(parts)
        finally:
            self.held -= own


async def parse_request(
    request: Request, body: bytes, fields: type[Fields], limits: ServingLimits
) -> ParsedRequest[Fields]:
    """Return the fields and images of a body.

    Args:
        request: Its headers say the type of the body; a raw image has its fields in the query.
        body: The body.
        fields: The model of the fields.
        limits: Of items.

    Raises:
        ConfigError: A field is wrong, or the body is no JSON or form.
        BodyError: The type of the body is unknown, or its JSON has too many values.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.endswith("+json") and not kind.startswith("image/")):
        check_signs(body, limits)
        return ParsedRequest(validated(fields, body), [])
    if kind == "multipart/form-data":
        values, images = await _form(request, body, limits)
        return ParsedRequest(validated(fields, _as_values(fields, values)), images)
    if kind.startswith("image/") or kind == "application/octet-stream":
        values = list(request.query_params.multi_items())
        return ParsedRequest(validated(fields, _as_values(fields, values)), [ServedImage("image 1", body)])
    text = (
        f"Content-Type {kind[:100] or '(none)'} is not read: send application/json, multipart/form-data with parts "
        "named images, or one image as it is with Content-Type image/jpeg or application/octet-stream"
    )
    raise BodyError(text, "unsupported-format", 415)


def check_signs(body: bytes, limits: ServingLimits) -> None:
    """Raise BodyError for a JSON body of so many values that nothing else would run while they are parsed.

    Commas and opening brackets are counted, also those within texts, which takes milliseconds: there are no more values
    than these. The base64 of an image has none of them.

    Args:
        body: The body.
        limits: Of items.
    """
    most = SIGNS + SIGNS_PER_ITEM * limits.items
    if sum(map(body.count, (b",", b"[", b"{"))) > most:
        text = f"the JSON has more than {most:,} commas and opening brackets; send less in a request"
        raise BodyError(text, "too-many-values", 413)


def validated(fields: type[Fields], values: bytes | dict[str, Any]) -> Fields:
    """Return the fields of JSON or of values. Raises ConfigError with the first problems of those that are wrong."""
    try:
        return fields.model_validate_json(values) if isinstance(values, bytes) else fields.model_validate(values)
    except ValidationError as error:
        if error.error_count() > 2 * len(fields.model_fields) + MOST_PROBLEMS:  # all of them would take seconds
            return validated(fields, _shortened(fields, values))
        details = error.errors(include_url=False, include_input=False)
        raise ConfigError([_problem(detail) for detail in details[:MOST_PROBLEMS]]) from None


def _shortened(fields: type[BaseModel], values: bytes | dict[str, Any]) -> dict[str, Any]:
    """Return the values of the fields, and the first of those that are none."""
    parsed: dict[str, Any] = from_json(values) if isinstance(values, bytes) else values
    known = {name: parsed[name] for name in fields.model_fields if name in parsed}
    unknown = islice((name for name in parsed if name not in known), MOST_PROBLEMS)
    return known | dict.fromkeys(unknown)


def _problem(details: Any) -> Problem:
    """Return what is wrong with a field, without repeating its value, which may be an image."""
    place = ".".join(map(str, details["loc"]))[:200]
    codes = {"missing": "missing-key", "extra_forbidden": "unknown-key"}
    message = "there is no such field" if details["type"] == "extra_forbidden" else details["msg"]
    text = f"{place}: {message}" if place else message
    return Problem(text, codes.get(details["type"], "invalid-value"), place or None)


async def _form(
    request: Request, body: bytes, limits: ServingLimits
) -> tuple[list[tuple[str, str]], list[ServedImage]]:
    """Return the fields of a form and its images."""

    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", b"utf-8")
    if charset.strip().lower() not in (b"utf-8", b"utf8"):
        text = f"the form has the charset {charset.decode('latin-1')[:50]!r}; only UTF-8 is read"
        raise ConfigError(text, code="invalid-value")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _MemoryParser(
        request.headers, stream(), max_files=limits.items, max_fields=4 * limits.items, max_part_size=2**20
    )
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:
        text = getattr(error, "message", "a field is no UTF-8")
        raise ConfigError(f"the form cannot be read: {text}", code="invalid-value") from None
    values, images = list[tuple[str, str]](), list[ServedImage]()
    async with form_closed(form):
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                values.append((name, value))
            elif name in IMAGE_PARTS:
                images.append(ServedImage(_client_name(value.filename, len(images)), await value.read()))
            else:
                text = f"the form has a file in {name[:50]!r}; name the parts of images 'images'"
                raise ConfigError(text, code="unknown-key")
    return values, images


@asynccontextmanager
async def form_closed(form: Any) -> AsyncIterator[None]:
    """Close the files of a form at the end of the block."""
    try:
        yield
    finally:
        await form.close()


class _MemoryParser(MultiPartParser):
    """Keeps parts in memory, which is bounded already, and not in files."""

    spool_max_size = 2**62


def _client_name(name: str | None, number: int) -> str:
    """Return the name of an image of a form: the client's, or its number."""
    return name[:_LONGEST_NAME] if name else f"image {number + 1}"


def _as_values(fields: type[BaseModel], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the fields of a form or a query; one that takes several values as a list of them, as it is repeated."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        field = fields.model_fields.get(name)
        if field is not None and _takes_list(field.annotation):
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return values


def _takes_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_takes_list(part) for part in get_args(annotation))


async def images_of(inputs: list[str], fetch: Fetch | None, *, first: int = 0) -> list[ServedImage]:
    """Return the images that a JSON body names: data URIs, and addresses where these are fetched.

    An input that is neither, or cannot be fetched, is a problem of its own.

    Args:
        inputs: Data URIs and addresses.
        fetch: Fetches addresses; None: none is fetched.
        first: The number of images before these.
    """
    addresses = [text for text in inputs if fetch is not None and _ADDRESS.match(text)]
    fetched = iter(await fetch(addresses) if fetch is not None and addresses else [])
    images = []
    for number, text in enumerate(inputs, first + 1):
        data = next(fetched) if fetch is not None and _ADDRESS.match(text) else _decoded(text)
        name = f"image {number}"
        if isinstance(data, DataError):
            images.append(ServedImage(name, problem=ItemProblem(data.code, str(data.problems[0]))))
        else:
            images.append(ServedImage(name, data))
    return images


def _decoded(text: str) -> bytes | DataError:
    """Return the bytes of a data URI, or why there are none."""
    if match := _DATA_URI.match(text, 0, 500):
        try:
            return base64.b64decode(text[match.end() :], validate=True)
        except (binascii.Error, ValueError):
            return DataError("its data URI is no base64", code="not-an-image")
    if _ADDRESS.match(text):
        return DataError("this server fetches no addresses; send the image itself", code="url-not-allowed")
    hint = "is no data URI of an image; send data:image/jpeg;base64,… or a multipart form"
    return DataError(hint, code="not-an-image")


def is_image_input(text: str) -> bool:
    """Return whether an input is a data URI or an address, and so no text."""
    return text[:5].lower() == "data:" or bool(_ADDRESS.match(text))


def _too_large(limits: ServingLimits) -> BodyError:
    return BodyError(f"the body has more than {limits.body_bytes:,} bytes", "body-too-large", 413)
