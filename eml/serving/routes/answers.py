"""`/v1/embeddings`, `/v1/search` and `/v1/classify`."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response

from eml.errors import ConfigError, EmlError
from eml.serving.http_errors import json_reply
from eml.serving.requests import images_of, is_image_input
from eml.serving.routes.base import ERRORS, Server, body_of, unless_gone
from eml.serving.schemas import (
    ClassifyAnswer,
    ClassifyRequest,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    SearchAnswer,
    SearchRequest,
)

if TYPE_CHECKING:
    from eml.serving.answers import ClassItem, EmbeddedItem, ServedImage
    from eml.serving.requests import ParsedRequest


def add_routes(app: FastAPI, server: Server) -> None:
    """Add the routes that answer."""
    engine = server.engine

    @app.post(
        "/v1/embeddings",
        response_model=EmbeddingsAnswer,
        responses=ERRORS,
        openapi_extra=body_of(EmbeddingsRequest),
        tags=["answers"],
        summary="Embed images or texts",
    )
    async def embeddings(request: Request) -> Response:
        """Embed images or texts, as OpenAI's embeddings endpoint does. An input that cannot be read fails alone."""
        async with server.parsed(request, EmbeddingsRequest) as parsed:
            fields: EmbeddingsRequest = parsed.fields
            _check_model(server, fields.model)
            has_images = not engine.facts.takes_text or all(map(is_image_input, fields.input))
            modality = fields.modality or ("image" if has_images else "text")
            images = await inputs_of(server, parsed, fields.input if modality == "image" else [])
            texts = fields.input if modality == "text" else []
            reply = await unless_gone(request, engine.embed(images, texts, dimensions=fields.dimensions))
        data = [_embedding(number, item, fields.encoding_format) for number, item in enumerate(reply.items)]
        return json_reply(
            {
                "object": "list",
                "id": f"emb-{secrets.token_hex(8)}",
                "created": int(time.time()),
                "model": engine.facts.name,
                "fingerprint": reply.model,
                "data": data,
                "usage": {"prompt_tokens": 0, "total_tokens": 0},
            }
        )

    @app.post(
        "/v1/search",
        response_model=SearchAnswer,
        responses=ERRORS,
        openapi_extra=body_of(SearchRequest),
        tags=["answers"],
        summary="Find the nearest images of the index",
    )
    async def search(request: Request) -> Response:
        """Find the nearest images of the index for each image, then for each text."""
        async with server.parsed(request, SearchRequest) as parsed:
            fields: SearchRequest = parsed.fields
            images = await inputs_of(server, parsed, fields.input)
            answering = engine.search(
                images,
                fields.text,
                k=fields.k,
                where=fields.where,
                per_class=fields.per_class,
                classify=fields.classify,
            )
            reply = await unless_gone(request, answering)
        answers = [
            {"query": item.query}
            | ({"is_text": True} if item.is_text else {})
            | {"neighbours": [asdict(neighbour) for neighbour in item.neighbours]}
            | ({} if item.classified is None else {"classified": _class_facts(item.classified)})
            | problem_facts(item.problem)
            for item in reply.items
        ]
        return json_reply({"model": reply.model, "generation": reply.generation, "answers": answers})

    @app.post(
        "/v1/classify",
        response_model=ClassifyAnswer,
        responses=ERRORS,
        openapi_extra=body_of(ClassifyRequest),
        tags=["answers"],
        summary="Find the class of images",
    )
    async def classify(request: Request) -> Response:
        """Find the class of each image, its probability, and whether the image counts as unknown."""
        async with server.parsed(request, ClassifyRequest) as parsed:
            fields: ClassifyRequest = parsed.fields
            images = await inputs_of(server, parsed, fields.input)
            reply = await unless_gone(request, engine.classify(images, unknown_share=fields.unknown_share))
        answers = [_class_facts(item) for item in reply.items]
        return json_reply({"model": reply.model, "generation": reply.generation, "answers": answers})


async def inputs_of(server: Server, parsed: ParsedRequest[Any], inputs: list[str]) -> list[ServedImage]:
    """Return the images of a request: those of a form or of the body, then those that JSON names."""
    count, limit = len(inputs) + len(parsed.images), server.engine.limits.items
    if count > limit:  # before any address is fetched
        raise ConfigError(
            f"{count:,} images; at most {limit:,} are taken at once", code="out-of-range", parameter="input"
        )
    return [*parsed.images, *await images_of(inputs, server.fetch, first=len(parsed.images))]


def _class_facts(item: ClassItem) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(item).items() if name != "problem"}
    return facts | problem_facts(item.problem)


def _check_model(server: Server, name: str | None) -> None:
    """Raise an EmlError where a request names another model than the one that is served."""
    facts = server.engine.facts
    if name not in (None, "", facts.name, facts.fingerprint):
        raise EmlError(f"the model that is served is {facts.name!r}", code="unknown-model", parameter="model")


def _embedding(number: int, item: EmbeddedItem, encoding: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"object": "embedding", "index": number, "embedding": None}
    if item.embedding is None:
        return facts | problem_facts(item.problem, "error")
    if encoding == "base64":
        return facts | {"embedding": base64.b64encode(item.embedding.astype("<f4").tobytes()).decode()}
    return facts | {"embedding": item.embedding.tolist()}


def problem_facts(problem: Any, name: str = "problem") -> dict[str, Any]:
    """Return why an item has no answer, under a name; nothing where it has one."""
    return {} if problem is None else {name: {"code": problem.code, "message": problem.message}}
