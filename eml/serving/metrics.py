"""Figures of a serving process for Prometheus: queue, batches, latency, requests, refusals, unknown images, the index.

Each server has a registry of its own, so that two in one process never count together. The values of every label come
from a list that is fixed here: no client can make a new time series by what it sends.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from eml.errors import EmlError
from eml.versions import eml_version

if TYPE_CHECKING:
    from eml.serving.answers import EngineFacts, ServedIndexState

OTHER = "other"
"""The label of what is in none of the lists."""

WORK = ("embed", "search", "classify", "add", "remove")
"""The kinds of work of the engine."""

REASONS = (
    "body-too-large",
    "busy",
    "closing",
    "deadline",
    "index-is-gone",
    "index-is-locked",
    "index-was-replaced",
    "invalid-path",
    "invalid-request",
    "invalid-value",
    "key-lacks-scope",
    "missing-column",
    "missing-key",
    "needs-key",
    "no-text-tower",
    "not-a-condition",
    "not-allowed",
    "not-an-index",
    "out-of-range",
    "packed-body",
    "queue-full",
    "too-many-connections",
    "too-many-headers",
    "too-many-requests",
    "too-many-values",
    "too-many-wrong-keys",
    "too-slow",
    "unknown-image",
    "unknown-key",
    "unsupported-format",
    "wrong-host",
    "wrong-key",
    "wrong-method",
    "wrong-origin",
    "wrong-shape",
)
"""Why a request is refused: codes of errors of the engine, of a request's form, and of all that stands before them."""

ROUTES = {
    "/v1/embeddings": "embeddings",
    "/v1/search": "search",
    "/v1/classify": "classify",
    "/v1/index/add": "index_add",
    "/v1/index/remove": "index_remove",
    "/v1/index": "index",
    "/v1/models": "models",
    "/health": "health",
    "/metrics": "metrics",
    "/docs": "docs",
    "/": "page",
}
"""Kinds of requests by their path; that of `/v1/images/…` is `thumbnail`."""

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
NETWORK_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
NOT_ANSWERED = 499
"""Stands for the status of a request whose client left before its answer began, as nginx has it."""

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class MeasuredIndex(Protocol):
    """An index whose size is shown."""

    @property
    def generation(self) -> int:
        """The number of changes since it was made."""

    def state(self) -> ServedIndexState:
        """Return its facts, of one generation."""


class ServingMetrics:
    """Counts what a server does. It is the observer of its engine, and counts the requests of its door.

    Args:
        facts: Of the model that answers.
        queue_depth: Returns the images and texts that wait or are computed, at each scrape.
        index: Read at each scrape, in the thread that asks; None: there is none.
    """

    def __init__(self, facts: EngineFacts, queue_depth: Callable[[], int], index: MeasuredIndex | None = None) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"namespace": "eml", "subsystem": "serve", "registry": self.registry}
        queue = Gauge("queue_items", "Images and texts that wait or are computed.", **own)
        queue.set_function(queue_depth)
        self._batches = Histogram("batch_items", "Items of a batch of the network.", buckets=BATCH_SIZES, **own)
        self._network = Histogram(
            "network_duration_seconds", "Seconds of the network for a batch.", buckets=NETWORK_SECONDS, **own
        )
        timed: dict[str, Any] = {"labelnames": ["kind"], "buckets": REQUEST_SECONDS} | own
        self._answers = Histogram(
            "answer_duration_seconds", "Seconds of the engine for an answer, waiting in the queue included.", **timed
        )
        self._latency = Histogram(
            "request_duration_seconds", "Seconds from the head of a request to the end of its answer.", **timed
        )
        self._requests = Counter("requests", "Requests, by HTTP status.", ["kind", "status"], **own)
        self.in_progress = Gauge("requests_in_progress", "Requests that are being answered.", **own)
        self._refused = Counter("refused_requests", "Requests that were refused, by the reason.", ["reason"], **own)
        self._classified = Counter("classified_images", "Images that a calibrated index gave a class.", **own)
        self._unknown = Counter("unknown_images", "Classified images that count as of no class.", **own)
        for kind in WORK:
            self._answers.labels(kind)
        for reason in (*REASONS, OTHER):  # a series that begins with its first refusal shows no increase by it
            self._refused.labels(reason)
        Info("engine", "The model that answers.", **own).info(_shown(facts))
        ProcessCollector(registry=self.registry)
        if index is not None:
            self.registry.register(_IndexFigures(index))

    def batch(self, size: int, seconds: float) -> None:
        """Count a batch of `size` items that took the network so many seconds."""
        self._batches.observe(size)
        self._network.observe(seconds)

    def queued(self, depth: int) -> None:
        """Do nothing: the depth is read at each scrape, so that it is that of now."""

    def refused(self, reason: str) -> None:
        """Count a refused request. reason: the error's code."""
        self._refused.labels(reason if reason in REASONS else OTHER).inc()

    def answered(self, kind: str, seconds: float) -> None:
        """Count an answer of the engine."""
        self._answers.labels(kind if kind in WORK else OTHER).observe(seconds)

    def unknown(self, count: int, of: int) -> None:
        """Count classified images, `count` of which are unknown."""
        self._classified.inc(of)
        self._unknown.inc(count)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request of the door. path: without the query; its own text is never a label."""
        kind = "thumbnail" if path.startswith("/v1/images/") else ROUTES.get(path, OTHER)
        self._requests.labels(kind, str(status)).inc()
        self._latency.labels(kind).observe(seconds)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the text of all figures and its content type. accept: the header by which OpenMetrics is chosen."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type


class _IndexFigures(Collector):
    """Shows the generation and the size of an index, both of one generation."""

    def __init__(self, index: MeasuredIndex) -> None:
        self.index, self._state = index, index.state()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the figures; the index is read again where it has changed."""
        with suppress(EmlError, OSError):  # a lost index is told by /health; the other figures are shown still
            if self.index.generation != self._state.generation:
                self._state = self.index.state()
        state = self._state
        yield GaugeMetricFamily("eml_serve_index_generation", "Changes of the index.", state.generation)
        yield GaugeMetricFamily("eml_serve_index_images", "Images in the index.", state.images)
        yield GaugeMetricFamily("eml_serve_index_classes", "Classes of these.", state.classes)


class CountedRequests:
    """Counts every request of an ASGI application, those that other guards refuse too: it stands before all of them.

    Args:
        app: The application.
        metrics: Where they are counted.
    """

    def __init__(self, app: Application, metrics: ServingMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, begun = NOT_ANSWERED, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self.metrics.in_progress.track_inprogress():
                await self.app(scope, receive, noted)
        except Exception:
            status = 500 if status == NOT_ANSWERED else status
            raise
        finally:
            self.metrics.request(scope["path"], status, time.perf_counter() - begun)


def _shown(facts: EngineFacts) -> dict[str, str]:
    return {
        "version": eml_version(),
        "model": facts.fingerprint,
        "backbone": facts.backbone,
        "precision": facts.precision,
        "runtime": facts.runtime,
        "device": facts.device,
        "embedding_size": str(facts.size),
    }
