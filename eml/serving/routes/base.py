"""Read requests for the routes, and end those whose client went away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from eml.errors import EmlError
from eml.serving.batching import ClosingError, late
from eml.serving.gate import NO_KEYS
from eml.serving.http_errors import ClientGoneError
from eml.serving.requests import ParsedRequest, parse_request
from eml.serving.schemas import ErrorReply

if TYPE_CHECKING:
    from fastapi import Request
    from pydantic import BaseModel

    from eml.serving.engine import ServingEngine
    from eml.serving.metrics import ServingMetrics
    from eml.serving.requests import Bodies, Fetch

Output = TypeVar("Output")
INLINE = 2**16
"""Bytes of a body up to which it is parsed at once; a larger one is parsed in a thread."""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": text}
    for status, text in (
        (400, "The request is wrong"),
        (401, "A key is needed"),
        (403, "The key may not do it"),
        (404, "There is no index, or no such model, image or path"),
        (413, "The body is too large"),
        (415, "The type of the body is unknown"),
        (429, "The queue is full; Retry-After says when to come again"),
        (503, "The server ends"),
        (504, "It took too long"),
    )
}
"""The errors that any route may answer with, for the description of the interface."""


@dataclass(frozen=True)
class Server:
    """The parts of a server.

    Attributes:
        engine: What answers.
        bodies: Reads requests.
        may_change: Whether the index may be changed: what stands before the application lets only those in who may.
        fetch: Fetches images by their addresses; None: none is fetched.
        metrics: Counts for Prometheus; None: nothing is counted.
    """

    engine: ServingEngine
    bodies: Bodies
    may_change: bool = False
    fetch: Fetch | None = None
    metrics: ServingMetrics | None = None

    @asynccontextmanager
    async def parsed(
        self, request: Request, fields: type[BaseModel], *, is_change: bool = False
    ) -> AsyncIterator[ParsedRequest[Any]]:
        """Yield the fields and images of a request; the memory of its body counts in the block.

        Parsing and the block together have the time of a request, whose body has come by then.

        Raises:
            EmlError: It is a change, and none may be made; or the request is wrong.
            DeadlineError: It took too long.
        """
        async with AsyncExitStack() as stack:
            with self._refusals_counted():
                if is_change and not self.may_change:
                    text = f"the index is changed by clients with a key of scope write, {NO_KEYS}"
                    raise EmlError(text, code="not-allowed")
                if self.engine.is_closing:  # before a large body is read
                    raise ClosingError
                body = await stack.enter_async_context(self.bodies.read(request))
                await stack.enter_async_context(self._in_time())
                parsed = await self._parse(request, body, fields)
            yield parsed

    async def _parse(self, request: Request, body: bytes, fields: type[BaseModel]) -> ParsedRequest[Any]:
        limits = self.engine.limits
        if len(body) <= INLINE:
            return await parse_request(request, body, fields, limits)
        return await self.engine.parse(partial(_parse_in_thread, request, body, fields, limits))

    @contextmanager
    def _refusals_counted(self) -> Iterator[None]:
        """Tell the engine's observer of requests that end before the engine has them."""
        try:
            yield
        except EmlError as error:
            self.engine.observer.refused(error.code)
            raise

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        seconds = self.engine.limits.seconds
        try:
            async with asyncio.timeout(seconds) as timer:
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            self.engine.observer.refused("deadline")
            raise late(seconds) from None


def _parse_in_thread(request: Request, body: bytes, fields: type[BaseModel], limits: Any) -> ParsedRequest[Any]:
    return asyncio.run(parse_request(request, body, fields, limits))


async def unless_gone(request: Request, answer: Coroutine[Any, Any, Output]) -> Output:
    """Return an answer, or cancel it when its client goes away.

    Raises:
        ClientGoneError: It did.
    """
    working, gone = asyncio.ensure_future(answer), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await working


async def _disconnected(request: Request) -> None:
    """Return when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def body_of(fields: type[BaseModel], *, raw: bool = True) -> dict[str, Any]:
    """Return how the interface describes a body that is JSON, a form, or one raw image."""
    schema = fields.model_json_schema()
    form = {name: value for name, value in schema["properties"].items() if name != "input"}
    images = {"type": "array", "items": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if raw:
        properties = {"images": images} | form
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": properties}}
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}}
