"""The application: the one place where the engine, routes, pages, metrics, keys and guards come together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from eml.serving.guards import RequestGuards, allowed_hosts, check_origins, protect
from eml.serving.http_errors import answer_errors
from eml.serving.requests import Bodies, Fetch
from eml.serving.routes import about, answers, index
from eml.serving.routes.base import Server
from eml.serving.routes.page import page_routes
from eml.serving.routes.thumbnails import thumbnail_routes
from eml.versions import eml_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eml.serving.engine import ServingEngine
    from eml.serving.keys import KeyRing
    from eml.serving.metrics import ServingMetrics
    from eml.serving.refusals import ASGIApp
    from eml.serving.thumbnails import ServedThumbnails

DESCRIPTION = (
    "Images in; embeddings, nearest images and classes out. Images are sent as data URIs in JSON, as a multipart form "
    "with parts named images, or one as the body itself, with the other fields in the query."
)


def make_app(
    engine: ServingEngine,
    *,
    may_change: bool = False,
    needs_key: bool = False,
    fetch: Fetch | None = None,
    metrics: ServingMetrics | None = None,
    thumbnails: ServedThumbnails | None = None,
    page: bool = True,
    docs: bool = True,
) -> FastAPI:
    """Return the ASGI application of an engine, to be served, tested in its process, or mounted in another one.

    It closes nothing: whoever made the engine and the other parts does. Nothing stands before it: `guarded` returns it
    behind keys and guards.

        engine = ServingEngine.open("shop.index")
        site.mount("/images", make_app(engine))

    Args:
        engine: What answers.
        may_change: Whether requests may change the index. Whoever says so sees to it that only those come in who may.
        needs_key: Whether the page asks for a key.
        fetch: Fetches images by their addresses, as `UrlFetcher.fetch_many`; None: none is fetched.
        metrics: Counts for Prometheus, at /metrics; None: nothing is counted.
        thumbnails: Makes the images of the page; None: there are none.
        page: Whether there is the page to drop a photo on.
        docs: Whether there are /docs, which shows the API in the browser, and /openapi.json, which describes it.
    """
    app = FastAPI(
        title=f"eml serve: {engine.facts.name}",
        version=eml_version(),
        description=DESCRIPTION,
        openapi_url="/openapi.json" if docs else None,
        docs_url=None,  # FastAPI's own page loads its scripts from a network
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    answer_errors(app, has_docs=docs)
    app.openapi = partial(_described, app, app.openapi)  # type: ignore[method-assign]
    server = Server(engine, Bodies(engine), may_change, fetch, metrics)
    for routes in (answers, index, about):
        routes.add_routes(app, server)
    if thumbnails is not None:
        app.include_router(thumbnail_routes(thumbnails), tags=["index"])
    if page or docs:
        facts = partial(_page_facts, engine, needs_key=needs_key, has_page=page, has_docs=docs)
        app.include_router(page_routes(facts, page=page, docs=docs))
    return app


def _described(app: FastAPI, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the description of the interface without FastAPI's form of an error, which `answer_errors` replaces."""
    if app.openapi_schema is None:
        for operations in describe()["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
    return describe()


def _page_facts(engine: ServingEngine, *, needs_key: bool, has_page: bool, has_docs: bool) -> dict[str, Any]:
    """Return what the page needs to know before it has a key."""
    facts, limits = engine.facts, engine.limits
    return {
        "needs_key": needs_key,
        "has_page": has_page,
        "has_docs": has_docs,
        "has_index": facts.has_index,
        "takes_text": facts.takes_text,
        "limits": {"image_bytes": limits.image_bytes, "pixels": limits.pixels, "k": limits.k, "items": limits.items},
    }


def guarded(
    app: FastAPI,
    engine: ServingEngine,
    *,
    host: str,
    keys: KeyRing | None = None,
    cors: Sequence[str] = (),
    address_rate: float | None = None,
    metrics: ServingMetrics | None = None,
    refused: Callable[[str], None] = lambda reason: None,
) -> ASGIApp:
    """Return an application behind keys and guards, each request counted before all of them.

    Args:
        app: Of `make_app`.
        engine: What answers; its limits are those of bodies.
        host: That the server listens on.
        keys: The keys; None: everybody may ask, by a name of this computer, and nobody may change the index.
        cors: Origins whose pages may ask.
        address_rate: Requests a minute of an address that shows no key; None: any number.
        metrics: Counts requests, and refusals by their codes.
        refused: Is called with the code of each refusal.

    Raises:
        ConfigError: An origin is none.
    """
    has_keys = keys is not None
    guards = RequestGuards(
        body_bytes=engine.limits.body_bytes,
        all_body_bytes=engine.limits.queue_bytes,
        hosts=allowed_hosts(host, has_keys=has_keys),
        origins=check_origins(cors, has_keys=has_keys),
    )
    if metrics is None:
        return protect(app, guards, keys, address_rate=address_rate, refused=refused)
    from eml.serving.metrics import CountedRequests

    def count(code: str) -> None:
        refused(code)
        metrics.refused(code)

    return CountedRequests(protect(app, guards, keys, address_rate=address_rate, refused=count), metrics)
