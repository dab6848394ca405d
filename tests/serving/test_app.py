"""The application: JSON, forms and raw bodies, answers in their dialects, errors with codes, and no path in any."""

import asyncio
import base64
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eml.errors import DataError
from eml.serving.app import guarded, make_app
from eml.serving.engine import ServingEngine
from eml.serving.http_errors import error_reply
from eml.serving.limits import ServingLimits
from eml.serving.refusals import Refusal
from eml.serving.routes import base
from eml.serving.schemas import ClassifyRequest, EmbeddingsRequest, SearchRequest
from eml.serving.thumbnails import ServedThumbnails
from tests.indexing.shop import network
from tests.serving.shop_server import build_shop, photo_png, served_copy


class Client:
    """Sends requests to an application, in this process."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, method: str, path: str, **arguments: Any) -> Any:
        import httpx

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://eml") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())

    def post(self, path: str, **arguments: Any) -> Any:
        return self("POST", path, **arguments)

    def get(self, path: str) -> Any:
        return self("GET", path)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingEngine]:
    shop = build_shop(tmp_path_factory.mktemp("shop"))
    limits = ServingLimits(batch=1, items=4, body_bytes=200_000)
    engine = served_copy(shop, tmp_path_factory.mktemp("copy"), limits)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def client(engine: ServingEngine) -> Client:
    return Client(make_app(engine))


def uri(label: str, number: int) -> str:
    return "data:image/png;base64," + base64.b64encode(photo_png(label, number)).decode()


def form(*labels: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{label}.png", photo_png(label, 7))) for label in labels]


def test_embeddings_are_those_of_the_model_in_both_encodings_and_a_bad_input_fails_alone(client: Client) -> None:
    expected = network().embed([photo_png("mug", 7), photo_png("tea", 7)], batch_size=1)
    body = {"input": [uri("mug", 7), "data:image/png;base64,%", uri("tea", 7)], "model": "shop.index"}
    answer = client.post("/v1/embeddings", json=body).json()
    assert answer["object"] == "list"
    assert answer["fingerprint"] == network().fingerprint.digest
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert (np.array(answer["data"][0]["embedding"], np.float32) == expected[0]).all()
    assert answer["data"][1]["embedding"] is None
    assert answer["data"][1]["error"] == {"code": "not-an-image", "message": "its data URI is no base64"}
    coded = client.post("/v1/embeddings", json=body | {"encoding_format": "base64"}).json()["data"][2]["embedding"]
    assert base64.b64decode(coded) == expected[1].tobytes()


def test_the_image_of_the_examples_is_one(client: Client) -> None:
    for fields in (EmbeddingsRequest, SearchRequest, ClassifyRequest):
        example = fields.model_json_schema()["examples"][0]
        (item,) = client.post("/v1/embeddings", json={"input": example["input"]}).json()["data"]
        assert "error" not in item


def test_the_three_kinds_of_bodies_have_the_same_answers(client: Client) -> None:
    in_json = client.post("/v1/search", json={"input": uri("mug", 7), "k": 2, "where": "label != 'tea'"}).json()
    in_form = client.post("/v1/search", files=form("mug"), data={"k": "2", "where": "label != 'tea'"}).json()
    headers = {"Content-Type": "image/png"}
    raw = client.post("/v1/search?k=2&where=label != 'tea'", content=photo_png("mug", 7), headers=headers).json()
    assert in_form["answers"][0].pop("query") == "mug.png"
    assert in_json["answers"][0].pop("query") == raw["answers"][0].pop("query") == "image 1"
    assert in_json == in_form == raw
    first, second = in_json["answers"][0]["neighbours"]
    assert set(first) == {"rank", "label", "cosine", "probability", "file_name", "id"}
    assert (first["rank"], second["rank"], first["label"]) == (1, 2, "mug")


def test_classes_have_probability_model_and_generation(client: Client, engine: ServingEngine) -> None:
    answer = client.post("/v1/classify", files=[*form("mug", "tea"), ("images", ("x.jpg", b"text"))]).json()
    assert answer["model"] == engine.facts.fingerprint
    assert answer["generation"] == engine.generation
    assert [item["label"] for item in answer["answers"]] == ["mug", "tea", None]
    assert all(0 < item["probability"] <= 1 and item["unknown"] in (True, False) for item in answer["answers"][:2])
    assert answer["answers"][2]["problem"]["code"] == "not-an-image"


def test_the_index_is_changed_where_it_may_be_and_nowhere_else(client: Client, engine: ServingEngine) -> None:
    for path, body in (("/v1/index/add", {"input": uri("x", 1)}), ("/v1/index/remove", {"ids": [1]})):
        refused = client.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not-allowed")
        assert "start it as eml serve INDEX --keys FILE" in refused.json()["error"]["message"]
    owner = Client(make_app(engine, may_change=True))
    added = owner.post("/v1/index/add", files=form("lamp", "mug"), data={"labels": ["lamp", "mug"]}).json()
    assert (added["added"], [item["added"] for item in added["items"]]) == (2, [True, True])
    assert owner.post("/v1/search?k=1", files=form("lamp")).json()["answers"][0]["neighbours"][0]["label"] == "lamp"
    removed = owner.post("/v1/index/remove", json={"ids": [item["id"] for item in added["items"]]}).json()
    assert (removed["removed"], removed["images"]) == (2, 9)
    assert removed["generation"] > added["generation"]
    gone = owner.post("/v1/index/remove", json={"labels": "lamp"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (400, "unknown-image")


def test_images_that_are_added_without_a_label_are_counted_and_warned_of(engine: ServingEngine) -> None:
    owner = Client(make_app(engine, may_change=True))
    files = [*form("lamp", "chair"), ("images", ("x.jpg", b"text"))]
    plain = owner.post("/v1/index/add", files=files).json()
    assert (plain["added"], plain["without_label"]) == (2, 2)
    assert plain["warning"].startswith("2 images have no label: a search finds such images, and no image is classified")
    owner.post("/v1/index/remove", json={"ids": [item["id"] for item in plain["items"] if item["added"]]})
    named = owner.post("/v1/index/add", files=form("lamp"), data={"labels": "lamp"}).json()
    assert (named["without_label"], named["warning"]) == (0, None)
    removed = owner.post("/v1/index/remove", json={"labels": "lamp"}).json()
    assert (removed["images"], removed["warning"]) == (9, None)


def test_an_image_that_is_there_with_another_label_keeps_it_and_its_answer_says_so(engine: ServingEngine) -> None:
    owner = Client(make_app(engine, may_change=True))
    owner.post("/v1/index/add", files=form("lamp", "chair"), data={"labels": ["lamp", ""]})
    files = form("lamp", "lamp", "chair", "cupboard")
    reply = owner.post("/v1/index/add", files=files, data={"labels": ["sofa", "lamp", "chair", "cupboard"]}).json()
    assert [item.get("reason") for item in reply["items"]] == [
        "is in the index already, with the label lamp; remove it first to change that",
        "is in the index already, with the label lamp",
        "is in the index already, without a label; remove it first to change that",
        None,
    ]
    assert (reply["added"], reply["not_relabelled"]) == (1, 2)
    assert reply["warning"].startswith("2 images are in the index already and not relabelled")
    twice = owner.post("/v1/index/add", files=form("rug", "rug"), data={"labels": ["rug", "mat"]}).json()
    reason = "is in this request twice, and was added with the label rug; remove it first to change that"
    assert (twice["items"][1]["reason"], twice["not_relabelled"]) == (reason, 1)
    ids = [item["id"] for item in reply["items"][1:] + twice["items"][:1]]
    assert owner.post("/v1/index/remove", json={"ids": ids}).json()["images"] == 9


def test_a_change_says_whether_the_index_is_calibrated_and_whether_that_was_fitted_again(engine: ServingEngine) -> None:
    owner = Client(make_app(engine, may_change=True))
    added = owner.post("/v1/index/add", files=form("lamp"), data={"labels": "lamp"}).json()
    removed = owner.post("/v1/index/remove", json={"labels": "lamp"}).json()
    assert [(reply["calibrated"], reply["recalibrated"]) for reply in (added, removed)] == [(True, False)] * 2


def test_a_body_whose_parsing_takes_too_long_is_answered_in_time_and_leaves_no_thread(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = ServingEngine(network(), limits=ServingLimits(seconds=0.05))
    codes: list[str] = []
    hurried.observer.refused = codes.append  # type: ignore[method-assign]
    go_on = threading.Event()
    monkeypatch.setattr(base, "_parse_in_thread", lambda *arguments: go_on.wait(10))
    client = Client(make_app(hurried))
    body = {"input": ["x" * 2**16]}
    client.post("/v1/embeddings", json={"input": "x"})
    before = threading.active_count()
    replies = [client.post("/v1/embeddings", json=body) for _ in range(4)]
    assert [(reply.status_code, reply.json()["error"]["code"]) for reply in replies] == [(504, "deadline")] * 4
    assert codes == ["deadline"] * 4
    assert threading.active_count() == before
    assert len(hurried._parsing._waiting) == 0, "what nobody waits for is dropped"
    go_on.set()
    asyncio.run(hurried.close())


def test_errors_of_a_form_are_counted_under_their_code(engine: ServingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[str] = []
    monkeypatch.setattr(engine.observer, "refused", codes.append)
    client = Client(make_app(engine))
    client.post("/v1/search", content=b"x")
    client.post("/v1/search", json={"imput": "x"})
    client.post("/v1/index/remove", json={"ids": [1]})
    client.post("/v1/search", json={"input": "x", "k": 1001})
    assert codes == ["unsupported-format", "unknown-key", "not-allowed", "out-of-range"]


def test_what_is_served_is_named_without_a_folder(client: Client, engine: ServingEngine) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["embedding_size"], model["modalities"]) == ("shop.index", 96, ["image"])
    state = client.get("/v1/index").json()
    assert (state["images"], state["classes"], state["calibrated"]) == (9, 3, True)
    assert "image_root" not in state["columns"]
    health = client.get("/health")
    assert (health.status_code, health.json()["status"], health.json()["generation"]) == (200, "ok", engine.generation)


@pytest.mark.parametrize(
    ("arguments", "status", "code", "message"),
    [
        ({"content": b"{"}, 400, "invalid-value", "Invalid JSON"),
        ({"content": b"[" * 10_000}, 400, "invalid-value", "recursion limit exceeded"),
        ({"json": {}}, 400, "missing-key", "there is no image"),
        ({"json": {"imput": "x"}}, 400, "unknown-key", "imput: there is no such field"),
        ({"json": {"input": "x", "k": "many"}}, 400, "invalid-value", "k: Input should be a valid integer"),
        ({"json": {"input": "x", "k": 1001}}, 400, "out-of-range", "`k` must be 1 to 1,000"),
        ({"json": {"input": ["x"] * 5}}, 400, "out-of-range", "5 images; at most 4 are taken at once"),
        ({"json": {"input": "x", "where": "lable = 'a'"}}, 400, "missing-column", "there is no column 'lable'"),
        ({"json": {"input": "x", "where": "image_root like '/%'"}}, 400, "missing-column", "no column 'image_root'"),
        ({"json": {"text": "a mug"}}, 400, "no-text-tower", "embeds images alone"),
        ({"content": b"x" * 200_001}, 413, "body-too-large", "more than 200,000 bytes"),
        ({"json": {"where": [{}] * 9_000}}, 413, "too-many-values", "more than 18,000 commas and opening brackets"),
        ({"json": {"ids": [1] * 18_001}}, 413, "too-many-values", "send less in a request"),
        ({"content": b"x"}, 415, "unsupported-format", "is not read"),
        ({"files": [("photo", ("a.png", b"x"))]}, 400, "unknown-key", "name the parts of images 'images'"),
        ({"files": form("a", "b", "c", "d", "e")}, 400, "invalid-value", "Too many files"),
    ],
)
def test_a_wrong_request_is_answered_with_its_code(
    client: Client, arguments: dict[str, Any], status: int, code: str, message: str
) -> None:
    if "content" in arguments and status == 400:
        arguments["headers"] = {"Content-Type": "application/json"}
    answer = client.post("/v1/search", **arguments)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert message in error["message"]
    assert set(error) == {"code", "message", "param", "type"}


def test_an_unknown_path_method_and_model_are_errors_of_the_same_dialect(client: Client) -> None:
    assert client.get("/v1/nothing").json()["error"]["code"] == "not-found"
    assert client.get("/v1/nothing").json()["error"]["message"].startswith("GET /v1/nothing: there is no such path; ")
    wrong = client.get("/v1/search")
    assert (wrong.status_code, wrong.json()["error"]["code"], wrong.headers["Allow"]) == (405, "not-allowed", "POST")
    assert wrong.json()["error"]["message"] == "GET /v1/search: use POST; /docs lists what there is"
    other = client.post("/v1/embeddings", json={"input": uri("mug", 7), "model": "gpt"})
    assert (other.status_code, other.json()["error"]["code"]) == (404, "unknown-model")


def test_errors_of_the_door_and_of_the_application_are_written_alike(engine: ServingEngine) -> None:
    door = Client(guarded(make_app(engine), engine, host="localhost"))
    for reply in (door.post("/v1/index/remove"), door.get("/v1/nothing")):
        assert reply.status_code in (404, 421)
        assert reply.text.startswith('{"error":{"code":"')
    text = Refusal(400, "invalid-path", "größer").body().decode()
    assert text == error_reply(400, "invalid-path", "größer").body.decode()


def test_an_error_of_the_server_says_nothing_of_it(client: Client, engine: ServingEngine) -> None:
    assert engine.index is not None
    own = engine.index.search

    def broken(*arguments: Any, **options: Any) -> Any:
        raise DataError("/secret/folder: damaged", code="damaged-index")

    engine.index.search = broken  # type: ignore[method-assign]
    answer = client.post("/v1/search", files=form("mug"))
    engine.index.search = own  # type: ignore[method-assign]
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "damaged-index")
    assert "secret" not in answer.text


def test_addresses_are_fetched_together_where_a_fetcher_is_given(client: Client, engine: ServingEngine) -> None:
    refused = client.post("/v1/embeddings", json={"input": "http://shop.example/a.png"}).json()["data"][0]
    assert refused["error"]["code"] == "url-not-allowed"
    calls: list[list[str]] = []

    async def fetch(addresses: Any) -> list[bytes | DataError]:
        calls.append(list(addresses))
        return [photo_png("mug", 7), DataError("no", code="url-not-allowed")]

    inputs = ["https://a.example/1", uri("tea", 7), "https://b.example/2"]
    fetching = Client(make_app(engine, fetch=fetch))
    data = fetching.post("/v1/embeddings", json={"input": inputs}).json()["data"]
    assert calls == [["https://a.example/1", "https://b.example/2"]]
    assert [item["embedding"] is not None for item in data] == [True, True, False]


def test_the_interface_is_described_with_its_fields_and_shown_without_a_network(
    client: Client, engine: ServingEngine
) -> None:
    description = client.get("/openapi.json").json()
    body = description["paths"]["/v1/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data", "application/octet-stream"}
    assert body["application/json"]["schema"]["properties"]["k"]["default"] == 5
    thumbnails = make_app(engine, thumbnails=ServedThumbnails(engine.index.folder))  # type: ignore[union-attr]
    statuses = {
        (status, reply["content"]["application/json"]["schema"]["$ref"])
        for operations in Client(thumbnails).get("/openapi.json").json()["paths"].values()
        for operation in operations.values()
        for status, reply in operation["responses"].items()
        if status >= "4"
    }
    one = "#/components/schemas/ErrorReply"
    assert statuses == {(str(status), one) for status in base.ERRORS}, "all errors have one schema"
    for path in ("/", "/docs"):
        assert "://" not in client.get(path).text
    assert client.get("/page/facts").json()["limits"]["items"] == 4


def test_the_page_and_the_docs_are_there_each_without_the_other_and_no_message_names_what_is_not(
    engine: ServingEngine,
) -> None:
    for page, docs in ((True, False), (False, True), (False, False)):
        client = Client(make_app(engine, page=page, docs=docs))
        found = [client.get(path).status_code == 200 for path in ("/", "/docs", "/openapi.json", "/page/page.css")]
        assert found == [page, docs, docs, page or docs]
        assert ("/docs" in client.get("/v1/nothing").json()["error"]["message"]) == docs
        if page or docs:
            facts = client.get("/page/facts").json()
            assert (facts["has_page"], facts["has_docs"]) == (page, docs)


def test_a_client_that_goes_away_cancels_its_request(engine: ServingEngine) -> None:
    app = make_app(engine)
    headers = [(b"content-type", b"image/png")]
    scope = {"type": "http", "method": "POST", "path": "/v1/search", "headers": headers, "query_string": b""}
    scope |= {"raw_path": b"", "root_path": "", "scheme": "http", "server": ("eml", 80), "http_version": "1.1"}
    messages = iter([{"type": "http.request", "body": photo_png("mug", 7)}, {"type": "http.disconnect"}])
    statuses: list[int] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    own = engine._batcher.runs["image"]

    def slow(pixels: Any) -> Any:
        import time

        time.sleep(0.2)
        return own(pixels)

    engine._batcher.runs["image"] = slow
    asyncio.run(app(scope, receive, send))
    engine._batcher.runs["image"] = own
    assert statuses[0] == 499
    assert engine.queue_depth == 0


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_the_server(
    engine: ServingEngine, caplog: pytest.LogCaptureFixture
) -> None:
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/search", "query_string": b"", "headers": headers}
    asyncio.run(make_app(engine)(scope, receive, send))
    assert sent[0]["status"] == 499
    assert not caplog.records


@pytest.mark.parametrize("field", ["k", "dimensions"])
def test_true_is_no_number(client: Client, field: str) -> None:
    path = "/v1/search" if field == "k" else "/v1/embeddings"
    error = client.post(path, json={"input": uri("mug", 7), field: True}).json()["error"]
    assert (error["code"], error["param"]) == ("invalid-value", field)


def test_a_path_with_a_value_of_another_type_is_refused_in_the_form_of_all_errors(engine: ServingEngine) -> None:
    app = make_app(engine)

    @app.get("/number/{id}")
    def number(id: int) -> int:
        return id

    reply = Client(app).get("/number/1;DROP")
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "id")
    assert "DROP" not in reply.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": [1] * 10_000}, "input.0: Input should be a valid string"),
        ({"text": [None] * 10_000}, "text.0: Input should be a valid string"),
        ({f"key{number}": 1 for number in range(10_000)}, "key9: there is no such field"),
        ({"input": "x", "k": 10**400}, "k: "),
    ],
)
def test_a_body_with_thousands_of_mistakes_is_answered_with_the_first_of_them(
    client: Client, body: dict[str, Any], message: str
) -> None:
    begun = time.perf_counter()
    answer = client.post("/v1/search", json=body)
    assert time.perf_counter() - begun < 1
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert "key10:" not in answer.text
    assert len(answer.content) < 2000


def test_only_so_many_images_are_removed_at_once(engine: ServingEngine) -> None:
    answer = Client(make_app(engine, may_change=True)).post("/v1/index/remove", json={"ids": list(range(1, 10_002))})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "out-of-range")
    assert "10,001 labels, file names and ids; at most 10,000" in answer.json()["error"]["message"]


@pytest.mark.parametrize("charset", ["undefined", "punycode", "utf-7", "unicode_escape", "x\0"])
def test_a_form_in_another_charset_than_utf8_is_refused(client: Client, charset: str) -> None:
    part = b'--X\r\nContent-Disposition: form-data; name="images"; filename="+2AA-"\r\n\r\nx\r\n--X--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=X; charset={charset}"}
    error = client.post("/v1/search", content=part, headers=headers)
    assert (error.status_code, error.json()["error"]["code"]) == (400, "invalid-value")
    assert "only UTF-8" in error.json()["error"]["message"]
    headers["Content-Type"] = "multipart/form-data; boundary=X; charset=UTF-8"
    assert client.post("/v1/search", content=part, headers=headers).status_code == 200


def test_an_index_that_is_gone_or_replaced_while_it_is_served_is_a_503_and_no_change_is_lost_in_it(
    tmp_path: Path, engine: ServingEngine
) -> None:
    assert engine.index is not None
    served, away = engine.index.folder, tmp_path / "away"
    client = Client(make_app(engine, may_change=True))

    def replies() -> list[tuple[int, str]]:
        answers = [client.get("/v1/index"), client.post("/v1/search", files=form("mug"))]
        answers += [client.post(f"/v1/index/{change}", **what) for change, what in changes.items()]
        assert client.get("/health").json()["status"] == "failing"
        assert client.get("/health").status_code == 503
        assert not any(str(served.parent) in answer.text for answer in answers)
        return [(answer.status_code, answer.json()["error"]["code"]) for answer in answers]

    changes = {"add": {"files": form("tea"), "data": {"labels": "tea"}}, "remove": {"json": {"ids": [1]}}}
    served.rename(away)
    try:
        assert replies() == [(503, "index-is-gone")] * 4
        shutil.copytree(away, served)
        assert replies() == [(503, "index-was-replaced")] * 4
        shutil.rmtree(served)
    finally:
        away.rename(served)
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/v1/index").json()["images"] == 9
