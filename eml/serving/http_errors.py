"""Errors as HTTP tells them: a status, and a body without any path of the server."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from eml.errors import EmlError
from eml.images.identify import IMAGE_CODES
from eml.serving.batching import ClosingError, DeadlineError, QueueFullError
from eml.serving.requests import MOST_PROBLEMS, BodyError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("eml.serving")

OF_CLIENTS = IMAGE_CODES | {
    *("conflicting-settings", "invalid-value", "missing-key", "no-text-tower", "not-a-condition", "out-of-range"),
    *("unknown-choice", "missing-column", "unknown-image", "unknown-key", "wrong-shape", "wrong-type"),
}
"""Codes of errors that a request causes; their text is about the request. All others are the server's own affair."""
STATUS = {"not-an-index": 404, "unknown-model": 404, "needs-key": 401, "not-allowed": 403, "index-is-locked": 503}
STATUS |= {"index-is-gone": 503, "index-was-replaced": 503}
TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
LONGEST_MESSAGE = 4000
"""Characters of an error's message."""
GONE = 499
"""The status of nginx for a client that went before its answer; nobody reads it."""


class ClientGoneError(Exception):
    """The client went away."""


def json_reply(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a reply in JSON; numbers that are none become null."""
    return Response(to_json(content, inf_nan_mode="null"), status, headers, "application/json")


def error_reply(
    status: int, code: str, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the reply of an error."""
    default = "invalid_request_error" if status < 500 else "server_error"
    kind = "overloaded_error" if status in (429, 503) else TYPES.get(status, default)
    facts = {"code": code, "message": message, "param": param, "type": kind}
    return json_reply({"error": facts}, status, headers)


def message_of(error: EmlError) -> str:
    """Return the first problems of an error, as a text that is never long."""
    more = len(error.problems) - MOST_PROBLEMS
    text = "; ".join(error.problems[:MOST_PROBLEMS]) + (f"; and {more:,} more" if more > 0 else "")
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} …"


def reply_to(error: EmlError) -> Response:
    """Return the reply of an error of eml."""
    message = message_of(error)
    if isinstance(error, QueueFullError):
        seconds = str(max(1, math.ceil(error.retry_after)))
        return error_reply(429, error.code, message, headers={"Retry-After": seconds})
    if isinstance(error, DeadlineError):
        return error_reply(504, error.code, message)
    if isinstance(error, ClosingError):
        return error_reply(503, error.code, message, headers={"Retry-After": "1", "Connection": "close"})
    if isinstance(error, BodyError):
        return error_reply(error.status, error.code, message, headers={"Connection": "close"})
    if error.code in STATUS and error.code != "index-is-locked":
        challenge = {"WWW-Authenticate": "Bearer"} if error.code == "needs-key" else None
        return error_reply(STATUS[error.code], error.code, message, error.parameter, challenge)
    if error.code in OF_CLIENTS:
        return error_reply(400, error.code, message, error.parameter)
    log.error("a request failed: %s", message, exc_info=error)
    if error.code == "index-is-locked":
        text = "another process writes to the index; try again later"
        return error_reply(503, error.code, text, headers={"Retry-After": "5"})
    return error_reply(500, error.code, "the server cannot do it; its log says why")


def answer_errors(app: FastAPI, *, has_docs: bool) -> None:
    """Let an application answer errors in the form of OpenAI's. has_docs: whether it has /docs to look at."""

    async def of_eml(request: Request, error: Exception) -> Response:
        assert isinstance(error, EmlError), "of this type"
        return reply_to(error)

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "of this type"
        status = error.status_code
        code = "not-found" if status == 404 else "not-allowed" if status == 405 else "invalid"
        said = error.detail
        if status == 405:
            said = f"use {' or '.join(dict(error.headers or {}).get('Allow', 'another method').split(', '))}"
        elif status == 404 and said == "Not Found":
            said = "there is no such path"
        lists = "; /docs lists what there is" if has_docs else ""
        text = f"{request.method} {request.url.path[:200]}: {said}{lists}"
        return error_reply(status, code, text, headers=error.headers)

    async def of_values(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError), "of this type"
        details = error.errors()[0]
        name = ".".join(map(str, details["loc"][1:]))
        return error_reply(400, "invalid-value", f"{name}: {details['msg']}", name or None)

    async def of_gone(request: Request, error: Exception) -> Response:
        return Response(status_code=GONE)

    async def of_bug(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path[:200], exc_info=error)
        return error_reply(500, "internal", "the server failed; its log says why")

    app.add_exception_handler(EmlError, of_eml)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_values)
    app.add_exception_handler(ClientGoneError, of_gone)
    app.add_exception_handler(ClientDisconnect, of_gone)  # while its body was read
    app.add_exception_handler(Exception, of_bug)
