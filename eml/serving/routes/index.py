"""`/v1/index`: the state of the index, and changes by clients with a key of write scope."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response

from eml.serving.answers import ChangeReply
from eml.serving.http_errors import json_reply
from eml.serving.routes.answers import inputs_of, problem_facts
from eml.serving.routes.base import ERRORS, Server, body_of
from eml.serving.schemas import AddRequest, ChangeAnswer, IndexAnswer, RemoveRequest


def add_routes(app: FastAPI, server: Server) -> None:
    """Add the routes of the index."""
    engine = server.engine

    @app.get(
        "/v1/index", response_model=IndexAnswer, responses=ERRORS, tags=["index"], summary="Say what the index holds"
    )
    async def state(request: Request) -> Response:
        """Say what the index holds now."""
        state = await engine.index_state()
        return json_reply(
            {
                "name": engine.facts.name,
                "model": engine.facts.fingerprint,
                "generation": state.generation,
                "images": state.images,
                "classes": state.classes,
                "columns": state.columns,
                "calibrated": state.is_calibrated,
            }
        )

    @app.post(
        "/v1/index/add",
        response_model=ChangeAnswer,
        responses=ERRORS,
        openapi_extra=body_of(AddRequest),
        tags=["index"],
        summary="Add images to the index",
    )
    async def add(request: Request) -> Response:
        """Add images, as one change. Those that are there already, or cannot be read, are left out, and say so."""
        async with server.parsed(request, AddRequest, is_change=True) as parsed:
            fields: AddRequest = parsed.fields
            images = await inputs_of(server, parsed, fields.input)
            labels = fields.labels[0] if len(fields.labels) == 1 else fields.labels
            return json_reply(_facts(await engine.add(images, labels, fields.file_names)))

    @app.post(
        "/v1/index/remove",
        response_model=ChangeAnswer,
        responses=ERRORS,
        openapi_extra=body_of(RemoveRequest, raw=False),
        tags=["index"],
        summary="Remove images from the index",
    )
    async def remove(request: Request) -> Response:
        """Remove the images of these labels, file names and ids, as one change, or nothing where one is not there."""
        async with server.parsed(request, RemoveRequest, is_change=True) as parsed:
            fields: RemoveRequest = parsed.fields
            removed = await engine.remove(labels=fields.labels, file_names=fields.file_names, ids=fields.ids)
            return json_reply(_facts(removed))


def _facts(reply: ChangeReply) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(reply).items() if name != "items"}
    items = [
        {"image": item.image, "id": item.id, "added": item.added}
        | ({"reason": item.reason} if item.reason else {})
        | problem_facts(item.problem)
        for item in reply.items
    ]
    kept = sum(item.keeps_label for item in reply.items)
    return facts | {"not_relabelled": kept, "warning": _warning(reply.without_label, kept), "items": items}


def _warning(without_label: int, not_relabelled: int) -> str | None:
    """Return what to know of images that were added without a label, or were there with another one."""
    warnings = []
    if without_label:
        words = "1 image has" if without_label == 1 else f"{without_label:,} images have"
        warnings.append(
            f"{words} no label: a search finds such images, and no image is classified as one; send `labels`"
        )
    if not_relabelled:
        words = "1 image is" if not_relabelled == 1 else f"{not_relabelled:,} images are"
        warnings.append(
            f"{words} in the index already and not relabelled; the reason of an item says which label it has"
        )
    return ". ".join(warnings) or None
