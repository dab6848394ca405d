"""`eml serve`: a model, or an index with its model, that answers over HTTP."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from eml.commands.base import (
    Caller,
    Cell,
    CommandConfig,
    CommandResult,
    Names,
    PathField,
    PathText,
    SummaryTable,
    command,
)
from eml.commands.indexing import QueryModel
from eml.commands.options import Device, ImageSize, Plugins, Precision, Weights

if TYPE_CHECKING:
    from pathlib import Path

    from eml.serving.engine import ServingEngine
    from eml.serving.fetching import UrlFetcher
    from eml.serving.keys import KeyRing
    from eml.serving.limits import ServingLimits
    from eml.serving.tally import Tally

PACKAGES = ("fastapi", "httpcore2", "uvicorn", "python_multipart", "prometheus_client")


class ServeConfig(CommandConfig):
    """Answer over HTTP: embeddings, and with an index nearest images and classes.

    POST /v1/embeddings, /v1/search and /v1/classify take images as a form, as the body itself, or as data URIs in JSON;
    the page /docs shows how. Requests of many clients are computed together. The index may change while it is served.
    Without `keys` it listens to this computer alone, and the index cannot be changed over HTTP. Ctrl-C or SIGTERM ends
    it when what is queued is answered, a second one at once. Extra: serve.
    """

    source: Annotated[
        PathText, Field(description="An index, a run, a checkpoint, a file of eml export (model.onnx), or timm:NAME.")
    ]
    host: str = Field("127.0.0.1", description="Address to listen on; any but this computer's own needs `keys`.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 is any that is free.")
    keys: Annotated[
        PathField | None, Field(description="File of the keys of clients, which eml serve-key add makes.")
    ] = None
    allow_urls: Names = Field(
        (), description="A host whose images may be named by URL, such as images.example.com. Repeatable."
    )
    cors: Names = Field((), description="An origin whose pages may ask, such as https://shop.example.com. Repeatable.")
    model: QueryModel = None
    weights: Weights = "pretrained"
    image_size: ImageSize = None
    precision: Precision = "float32"
    runtime: Literal["auto", "onnx", "torch"] = Field(
        "auto",
        description="onnx: model.onnx in the folder of the checkpoint or index, a file of eml export whose embeddings "
        "were compared with the model's; auto: that where it is there.",
    )
    page: bool = Field(True, description="Serve a page to drop a photo on.")
    docs: bool = Field(True, description="Serve /docs, the API in the browser, and /openapi.json.")
    batch: int | None = Field(
        None, ge=1, le=1024, description="Images computed at once. Default: 4 on a CPU, 32 on a GPU."
    )
    wait_ms: float = Field(5.0, ge=0, le=1000, description="Milliseconds that a batch waits for images being decoded.")
    address_rate: float | None = Field(
        None,
        gt=0,
        description="Requests a minute of an address that shows no key; more are refused with 429. Default: any "
        "number.",
    )
    queue: int = Field(256, ge=1, description="Images that wait at most; more are refused with 429.")
    items: int = Field(64, ge=1, description="Images and texts of one request.")
    seconds: float = Field(30.0, gt=0, description="Time of one request.")
    body_mb: float = Field(32.0, gt=0, description="Size of one request (MiB).")
    image_mb: float = Field(16.0, gt=0, description="Size of one image file (MiB).")
    megapixels: float = Field(50.0, gt=0, description="Size of one image (million pixels).")
    device: Device = "auto"
    plugins: Plugins = ()

    @property
    def loading(self) -> dict[str, Any]:
        """Return the arguments of `eml.load` that differ from its defaults."""
        usual = {name: ServeConfig.model_fields[name].default for name in ("weights", "image_size", "precision")}
        return {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ServeResult(CommandResult):
    """The work of a server that was told to stop.

    Attributes:
        address: Where it listened.
        seconds: How long.
        answered: Kind of request → how many were answered: embed, search, classify, add, remove. Pages, /health and
            what else only says what is served are not counted.
        refused: Error code → how many requests it ended.
        images: Images that were computed.
    """

    address: str
    seconds: float
    answered: dict[str, int]
    refused: dict[str, int]
    images: int

    def lines(self) -> list[str]:
        """Return that it ended, and each count with what is counted."""
        answered, refused = sum(self.answered.values()), sum(self.refused.values())
        kinds = "or index request" if answered == 1 else "and index requests"
        return [
            f"the server has stopped after {self.seconds:,.0f} s",
            f"answered: {answered:,} embedding, search, classify {kinds}",
            f"refused: {refused:,} request{'' if refused == 1 else 's'}",
            f"computed: {self.images:,} image{'' if self.images == 1 else 's'}",
        ]

    def summary(self) -> str:
        """Return that it ended, and the counts."""
        return "; ".join(self.lines())

    def summary_table(self) -> SummaryTable:
        """Return a line for each kind of request and error."""
        rows: list[list[Cell]] = [[f"answered: {kind}", count] for kind, count in sorted(self.answered.items())]
        rows += [[f"refused: {code}", count] for code, count in sorted(self.refused.items())]
        return ["", "requests"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the counts."""
        names = ("address", "seconds", "answered", "refused", "images")
        return {name: getattr(self, name) for name in names}


@command(ServeConfig, arguments=("source",))
def serve(config: ServeConfig, caller: Caller) -> ServeResult:
    """Serve until a signal."""
    import asyncio
    import time

    _refuse_missing_packages()
    from eml.serving.connections import ConnectionLimits, server_settings
    from eml.serving.engine import ServingEngine
    from eml.serving.running import bind, graceful_server, run_server, url_of
    from eml.serving.tally import Tally
    from eml.stopping import saving

    _refuse_open_host(config)
    limits = _limits(config)
    parts = _checked_parts(config, limits)
    with bind(config.host, config.port) as bound, ExitStack() as opened:
        onnx = {"auto": None, "onnx": True, "torch": False}[config.runtime]
        engine = ServingEngine.open(
            config.source,
            model=config.model,
            device=config.device,
            limits=limits,
            onnx=onnx,
            loading=config.loading,
        )
        opened.callback(lambda: asyncio.run(engine.close()))
        tally = Tally(engine.observer)
        app = _app(config, engine, tally, parts, opened)
        address, begun = url_of(bound, config.host), time.monotonic()
        settings = server_settings(ConnectionLimits(), tally.refused)
        server = graceful_server(
            app,
            engine,
            settings=settings,
            started=lambda: _tell(config, engine, address, caller),
            note=caller.note,
        )
        with saving():  # a signal is answered by the server itself, which ends in time
            run_server(server, bound)
    return _result(address, time.monotonic() - begun, tally)


@dataclass(frozen=True)
class _Parts:
    """Hold what stands before the engine, checked before a model is loaded."""

    keys: KeyRing | None
    fetcher: UrlFetcher | None


def _checked_parts(config: ServeConfig, limits: ServingLimits) -> _Parts:
    from eml.serving.guards import check_origins
    from eml.serving.keys import KeyRing

    keys = None if config.keys is None else KeyRing.read(config.keys)
    check_origins(config.cors, has_keys=keys is not None)
    fetcher = None
    if config.allow_urls:
        from eml.serving.fetching import AllowedHosts, UrlFetcher

        allowed = AllowedHosts(config.allow_urls)
        fetcher = UrlFetcher(allowed, most_bytes=limits.image_bytes, most_bytes_together=limits.body_bytes)
    return _Parts(keys, fetcher)


def _app(config: ServeConfig, engine: ServingEngine, tally: Tally, parts: _Parts, opened: ExitStack) -> Any:
    """Return the application with all that stands before it; what it opens is closed with `opened`."""
    from eml.serving.app import guarded, make_app
    from eml.serving.metrics import ServingMetrics

    metrics = ServingMetrics(engine.facts, lambda: engine.queue_depth, engine.index)
    tally.inner, engine.observer = metrics, tally
    thumbnails = None
    if engine.index is not None and config.page:
        from eml.serving.thumbnails import ServedThumbnails

        thumbnails = ServedThumbnails(engine.index.folder)
        opened.callback(thumbnails.close)
    app = make_app(
        engine,
        may_change=parts.keys is not None,
        needs_key=parts.keys is not None,
        fetch=None if parts.fetcher is None else parts.fetcher.fetch_many,
        metrics=metrics,
        thumbnails=thumbnails,
        page=config.page,
        docs=config.docs,
    )
    return guarded(
        app,
        engine,
        host=config.host,
        keys=parts.keys,
        cors=config.cors,
        address_rate=config.address_rate,
        metrics=metrics,
        refused=tally.count_refused,
    )


def _result(address: str, seconds: float, tally: Tally) -> ServeResult:
    return ServeResult(
        address=address,
        seconds=round(seconds, 3),
        answered=dict(tally.counts_answered),
        refused=dict(tally.counts_refused),
        images=tally.images,
    )


def _refuse_missing_packages() -> None:
    import importlib.util

    from eml.errors import ConfigError

    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        text = f"serving needs {', '.join(missing)}: pip install 'easy-metric-learning[serve]'"
        raise ConfigError(text, code="missing-package")


def _refuse_open_host(config: ServeConfig) -> None:
    from eml.errors import ConfigError
    from eml.serving.running import is_loopback

    if config.keys is None and not is_loopback(config.host):
        text = (
            f"`host` {config.host}: others can reach it, so it needs `keys`: a file that eml serve-key add makes. "
            "Without keys serve 127.0.0.1"
        )
        raise ConfigError(text, code="needs-key", parameter="host")


def _limits(config: ServeConfig) -> ServingLimits:
    from eml.serving.limits import ServingLimits
    from eml.units import MIB

    body = round(config.body_mb * MIB)
    return ServingLimits(
        body_bytes=body,
        image_bytes=round(config.image_mb * MIB),
        pixels=round(config.megapixels * 1e6),
        items=config.items,
        seconds=config.seconds,
        queue=config.queue,
        queue_bytes=max(ServingLimits.queue_bytes, 4 * body),
        batch=config.batch,
        wait_ms=config.wait_ms,
    )


def _tell(config: ServeConfig, engine: ServingEngine, address: str, caller: Caller) -> None:
    """Tell what is served, where, and how to ask."""
    facts = engine.facts
    for line in facts.notes:
        caller.note(line)
    height, width = facts.shape
    facts_text = [
        f"{facts.backbone}, {width} × {height} pixels to {facts.size:,} numbers, by {facts.runtime} on {facts.device}, "
        f"{engine.limits.batch} images at once"
    ]
    if engine.index is not None:
        state = engine.index.state()
        calibrated = "calibrated" if state.is_calibrated else "not calibrated: no probabilities"
        facts_text.insert(0, f"{state.images:,} images of {state.classes:,} classes, {calibrated}")
    caller.note(f"serving {facts.name}: {'; '.join(facts_text)}")
    who = f"clients with a key of {config.keys}" if config.keys else "this computer alone, and nobody changes the index"
    caller.note(f"listening on {address} to {who}; Ctrl-C ends it")
    pages = [f"{address}/ takes photos"] if config.page else []
    pages += [f"{address}/docs shows how to ask"] if config.docs else []
    if pages:
        caller.note(f"in a browser: {', '.join(pages)}")
    caller.note(f"try: {example_request(engine, address, has_keys=config.keys is not None)}")


def example_request(engine: ServingEngine, address: str, *, has_keys: bool) -> str:
    """Return a command that asks the server: about an image of the index where there is one, else about one pixel."""
    from eml.serving.schemas import TINY

    words = ["curl", "-s", f"{address}/v1/search"]
    image = _example(engine)
    if image is None:
        words = ["curl", "-s", f"{address}/v1/embeddings", "-H", "Content-Type: application/json"]
    key = ' -H "Authorization: Bearer $EML_KEY"' if has_keys else ""
    sent = ["-F", f"images=@{image}", "-F", "k=3"] if image else ["-d", f'{{"input": "{TINY}"}}']
    return f"{shlex.join(words)}{key} {shlex.join(sent)}"


def _example(engine: ServingEngine) -> Path | None:
    """Return a file of the index."""
    return None if engine.index is None else engine.index.example()
