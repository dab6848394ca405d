"""`/health`, `/v1/models` and `/metrics`."""

from __future__ import annotations

import asyncio
import logging
import time

from fastapi import FastAPI, Request, Response

from eml.errors import EmlError
from eml.serving.http_errors import json_reply
from eml.serving.routes.base import ERRORS, Server
from eml.serving.schemas import HealthAnswer, ModelsAnswer

log = logging.getLogger("eml.serving")


def add_routes(app: FastAPI, server: Server) -> None:
    """Add the routes that say what the server is."""
    engine, opened = server.engine, int(time.time())

    @app.get("/health", response_model=HealthAnswer, tags=["about"], summary="Embed a drawn image")
    async def health() -> Response:
        """Embed a drawn image, and read the index: 200 where that works in time, else 503. Needs no key."""
        is_healthy = await engine.is_healthy()
        status = "ok" if is_healthy else "closing" if engine.is_closing else "failing"
        generation = None
        if is_healthy and engine.index is not None:
            try:
                generation = (await engine.index_state()).generation
            except (EmlError, OSError):
                log.exception("the index cannot be read")
                is_healthy, status = False, "failing"
        facts = {"status": status, "model": engine.facts.fingerprint, "generation": generation}
        return json_reply(facts | {"queue": engine.queue_depth}, 200 if is_healthy else 503)

    @app.get("/v1/models", response_model=ModelsAnswer, responses=ERRORS, tags=["about"], summary="Name the model")
    async def models(request: Request) -> Response:
        """Name the model that is served."""
        facts = engine.facts
        model = {
            "id": facts.name,
            "object": "model",
            "created": opened,
            "owned_by": "eml",
            "fingerprint": facts.fingerprint,
            "embedding_size": facts.size,
            "image_size": list(facts.shape),
            "backbone": facts.backbone,
            "precision": facts.precision,
            "runtime": facts.runtime,
            "modalities": ["image", "text"] if facts.takes_text else ["image"],
        }
        return json_reply({"object": "list", "data": [model]})

    if server.metrics is not None:
        measured = server.metrics

        @app.get("/metrics", response_class=Response, tags=["about"], summary="Give figures to Prometheus")
        async def metrics(request: Request) -> Response:
            """Give the figures of the server, in the format of Prometheus or OpenMetrics."""
            text, kind = await asyncio.to_thread(measured.exposition, request.headers.get("accept", ""))
            return Response(text, headers={"Content-Type": kind})
