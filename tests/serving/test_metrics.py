import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import eml

pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")
from httpx import ASGITransport, AsyncClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from eml.serving.answers import EngineFacts, ServedIndexState
from eml.serving.app import guarded, make_app
from eml.serving.engine import ServingEngine
from eml.serving.keys import KeyRing, add_key
from eml.serving.metrics import OTHER, REASONS, ROUTES, WORK, CountedRequests, ServingMetrics
from tests.indexing.shop import network

FACTS = EngineFacts("shop", "ab12", 8, (32, 32), "test_resnet", "float32", "torch", "cpu", True, False, False)


class ChangingIndex:
    """An index whose figures a test sets. reads: how often its rows were counted."""

    def __init__(self) -> None:
        self.now, self.reads = ServedIndexState(3, 10, 2, {}, is_calibrated=False), 0

    @property
    def generation(self) -> int:
        return self.now.generation

    def state(self) -> ServedIndexState:
        self.reads += 1
        return self.now


def metrics(depth: int = 0, index: ChangingIndex | None = None) -> ServingMetrics:
    return ServingMetrics(FACTS, lambda: depth, index)


def values(served: ServingMetrics) -> dict[str, float]:
    """Return name{labels} → value of everything that is shown."""
    text = served.exposition()[0].decode()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


async def ask(application: Any, path: str = "/v1/search", kind: str = "http") -> list[Any]:
    """Return the messages that an ASGI application sends to a request."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await application({"type": kind, "path": path}, receive, send)
    return sent


def answering(status: int) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return application


def test_batches_answers_and_unknown_images_are_counted() -> None:
    served = metrics(depth=7)
    served.batch(4, 0.03)
    served.batch(1, 0.01)
    served.answered("search", 0.2)
    served.unknown(1, 3)
    served.unknown(0, 2)
    shown = values(served)
    assert shown["eml_serve_queue_items"] == 7
    assert shown["eml_serve_batch_items_count"] == 2
    assert shown["eml_serve_batch_items_sum"] == 5
    assert shown['eml_serve_batch_items_bucket{le="1.0"}'] == 1
    assert shown["eml_serve_network_duration_seconds_sum"] == pytest.approx(0.04)
    assert shown['eml_serve_answer_duration_seconds_bucket{kind="search",le="0.25"}'] == 1
    assert shown['eml_serve_answer_duration_seconds_count{kind="embed"}'] == 0
    assert (shown["eml_serve_unknown_images_total"], shown["eml_serve_classified_images_total"]) == (1, 5)


def test_two_servers_in_a_process_never_count_together() -> None:
    first, second = metrics(), metrics()
    first.batch(1, 0.1)
    assert values(second)["eml_serve_batch_items_count"] == 0


@pytest.mark.parametrize("reason", [*REASONS, "a code of tomorrow"])
def test_a_refusal_counts_under_its_code_or_as_other(reason: str) -> None:
    served = metrics()
    served.refused(reason)
    refused = {
        name: value for name, value in values(served).items() if name.startswith("eml_serve_refused_requests_total")
    }
    label = reason if reason in REASONS else OTHER
    assert refused.pop(f'eml_serve_refused_requests_total{{reason="{label}"}}') == 1
    assert set(refused.values()) == {0}


def test_what_a_client_sends_makes_no_new_series() -> None:
    served = metrics()
    counted = CountedRequests(answering(404), served)

    def send(number: int) -> int:
        for path in (f"/{number}", f"/v1/images/{number}/thumbnail", f"/v1/search/{number}"):
            asyncio.run(ask(counted, path))
        served.answered(f"kind {number}", 0.1)
        served.refused(f"reason {number}")
        return len(values(served))

    assert send(1) == send(2) == send(3)


def test_every_code_with_which_a_request_is_refused_before_the_engine_is_a_reason() -> None:
    sources = Path(eml.__file__).parent.joinpath("serving").rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'Refusal\(\s*[0-9]+, "([a-z-]+)"', text))
    assert {"wrong-key", "too-many-requests", "key-lacks-scope", "body-too-large"} <= codes
    assert codes - {"internal"} <= set(REASONS)


def test_refusals_by_rate_key_and_scope_count_once_under_their_own_code(tmp_path: Path) -> None:
    slow, reader = add_key(tmp_path / "keys.json", "slow", ["read"], 6), add_key(tmp_path / "keys.json", "r", ["read"])
    engine, served = ServingEngine(network()), metrics()
    told: list[str] = []
    door = guarded(
        make_app(engine, may_change=True), engine, host="127.0.0.1", keys=KeyRing.read(tmp_path / "keys.json"),
        address_rate=6, metrics=served, refused=told.append,
    )  # fmt: skip
    requests = [("GET", "/v1/models", key) for key in (slow, slow, "eml_wrong", None)]
    requests += [("POST", "/v1/index/add", reader), ("GET", "/docs", None), ("GET", "/docs", None)]

    async def send() -> list[int]:
        async with AsyncClient(transport=ASGITransport(door), base_url="http://eml") as client:
            keys = [{} if key is None else {"X-API-Key": key} for _, _, key in requests]
            return [
                (await client.request(method, path, headers=headers)).status_code
                for (method, path, _), headers in zip(requests, keys, strict=True)
            ]

    assert asyncio.run(send()) == [200, 429, 401, 401, 403, 200, 429]
    asyncio.run(engine.close())
    codes = ["too-many-requests", "wrong-key", "needs-key", "key-lacks-scope", "too-many-requests"]
    assert told == codes
    start = "eml_serve_refused_requests_total{"
    shown = {name: value for name, value in values(served).items() if name.startswith(start) and value}
    assert shown == {f'{start}reason="{code}"}}': codes.count(code) for code in codes}


def test_requests_count_by_kind_and_status() -> None:
    served = metrics()
    for status in (200, 200, 401, 413, 503):
        asyncio.run(ask(CountedRequests(answering(status), served)))
    shown = values(served)
    assert shown['eml_serve_requests_total{kind="search",status="200"}'] == 2
    assert shown['eml_serve_requests_total{kind="search",status="401"}'] == 1
    assert shown['eml_serve_request_duration_seconds_count{kind="search"}'] == 5
    assert shown["eml_serve_requests_in_progress"] == 0


def test_a_request_is_in_progress_until_it_is_answered() -> None:
    served = metrics()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert values(served)["eml_serve_requests_in_progress"] == 1
        await answering(200)(scope, receive, send)

    assert asyncio.run(ask(CountedRequests(application, served)))[0]["status"] == 200


def test_a_crash_counts_as_500_and_a_client_that_left_as_499() -> None:
    served = metrics()

    async def crash(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask(CountedRequests(crash, served)))
    asyncio.run(ask(CountedRequests(silent, served)))
    asyncio.run(ask(CountedRequests(silent, served), kind="lifespan"))
    shown = values(served)
    assert shown['eml_serve_requests_total{kind="search",status="500"}'] == 1
    assert shown['eml_serve_requests_total{kind="search",status="499"}'] == 1
    assert sum(value for name, value in shown.items() if name.startswith("eml_serve_requests_total{")) == 2


def test_the_index_is_counted_again_only_where_it_has_changed() -> None:
    index = ChangingIndex()
    served = metrics(index=index)
    assert values(served)["eml_serve_index_images"] == 10
    assert index.reads == 1
    index.now = replace(index.now, generation=4, images=12)
    shown = values(served)
    assert (shown["eml_serve_index_generation"], shown["eml_serve_index_images"]) == (4, 12)
    assert index.reads == 2
    assert "eml_serve_index_images" not in values(metrics())


def test_the_text_is_read_by_the_parsers_of_both_formats_and_says_which_model_answers() -> None:
    served = metrics(index=ChangingIndex())
    text, kind = served.exposition()
    assert kind.startswith("text/plain")
    open_text, open_kind = served.exposition("application/openmetrics-text; version=1.0.0")
    assert open_kind.startswith("application/openmetrics-text")
    names = {family.name for family in parse_text(text.decode())}
    assert names >= {"eml_serve_queue_items", "eml_serve_batch_items", "eml_serve_index_generation"}
    (facts,) = [family for family in parse_openmetrics(open_text.decode()) if family.name == "eml_serve_engine"]
    assert facts.samples[0].labels["model"] == "ab12"
    assert facts.samples[0].labels["embedding_size"] == "8"


def test_names_follow_the_conventions_of_prometheus() -> None:
    own = [family for family in parse_text(metrics().exposition()[0].decode()) if family.name.startswith("eml_")]
    assert len(own) > 8
    for family in own:
        assert re.fullmatch(r"eml_serve_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_count", "_sum", "_bucket", "_milliseconds", "_ms"))
        for sample in family.samples if family.type == "counter" else []:
            assert sample.name.endswith(("_total", "_created"))


def test_the_alerts_and_the_page_on_serving_name_figures_and_reasons_that_there_are() -> None:
    root = Path(eml.__file__).parents[1]
    served = metrics(index=ChangingIndex())
    served.request("/v1/search", 200, 0.1)
    shown = served.exposition()[0].decode()
    texts = [root.joinpath(name).read_text(encoding="utf-8") for name in ("configs/serve/alerts.yml", "docs/serve.md")]
    for text in texts:
        named = set(re.findall(r"eml_serve_[a-z_]+", text))
        assert named
        assert not {name for name in named if name not in shown}
    (reasons,) = re.findall(r'refused_requests_total\{reason=~"([^"]+)"', texts[0])
    assert set(reasons.split("|")) <= set(REASONS)


def test_labels_are_words_that_need_no_escape() -> None:
    for word in (*WORK, *REASONS, *ROUTES.values()):
        assert re.fullmatch(r"[a-z]+([_-][a-z]+)*", word)
