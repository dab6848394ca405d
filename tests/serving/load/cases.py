"""Requests of every kind, each with what the right answer to it is."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.serving.load.truths import Truth
from tests.serving.load.wire import Reply, Wire, cut, data_uri, json_request, multipart, request, slowly

Check = Callable[[Reply], str]
UNKNOWN_VERSION = 505
"""The status of a request in another version of HTTP, which alone of those above 500 is the client's doing."""
KNOWN = "label == '{}' or label == '{}'"


@dataclass(frozen=True)
class Case:
    """A request and how its answer is judged. check: returns what is wrong with the answer; empty: nothing."""

    name: str
    wire: Wire
    check: Check


def problem_of(case: Case, reply: Reply, secrets: Sequence[str]) -> str:
    """Return what is wrong with an answer; empty: nothing. secrets: texts that no answer may hold."""
    if reply.status >= 500 and reply.status != UNKNOWN_VERSION:
        return f"{case.name}: status {reply.status}: {reply.body[:200]!r}"
    text = reply.body.decode("utf-8", "replace")
    if told := [secret for secret in (*secrets, "Traceback") if secret in text]:
        return f"{case.name}: the answer holds {told}: {text[:200]}"
    if reply.status >= 400 and (why := error_problem(reply)):
        return f"{case.name}: {why}"
    why = case.check(reply)
    return f"{case.name}: {why}: {reply.status} {text[:300]}" if why else ""


def error_problem(reply: Reply) -> str:
    """Return what is wrong with the form of an error; empty: nothing."""
    if not reply.headers.get("content-type", "").startswith("application/json"):
        return "" if b"{" not in reply.body else "an error is not sent as JSON"
    error = reply.json.get("error")
    if not isinstance(error, dict) or not {"code", "message", "param", "type"} <= error.keys():
        return f"an error has not the form of the others: {reply.body[:200]!r}"
    return "" if error["code"] and error["message"] else "an error says nothing"


def refused(*statuses: int) -> Check:
    """Return the check of a request that is refused as a whole."""
    return lambda reply: "" if reply.status in statuses else f"has not one of the statuses {statuses}"


def fine(check: Callable[[Any], str]) -> Check:
    """Return the check of a good request. check: of the JSON of the answer."""
    return lambda reply: check(reply.json) if reply.status == 200 else "was refused"


class GoodCases:
    """Draws good requests.

    Args:
        truths: The right answers, by the query's name.
        queries: The bytes, by name.
        labels: Classes of the index.
        headers: Of each request, such as the key.
        seed: Of the draws.
    """

    def __init__(
        self,
        truths: dict[str, Truth],
        queries: dict[str, bytes],
        labels: Sequence[str],
        headers: dict[str, str],
        seed: int,
    ) -> None:
        self.truths, self.queries, self.labels, self.headers = truths, queries, labels, headers
        self.random, self.names = random.Random(seed), sorted(queries)

    def draw(self) -> Case:
        """Return any of them."""
        return self.random.choice([self.embed, self.embed_whole, self.search, self.search_whole, self.classify])()

    def chosen(self, most: int = 3) -> list[str]:
        return self.random.sample(self.names, self.random.randint(1, most))

    def uris(self, names: Sequence[str]) -> list[str] | str:
        uris = [data_uri(self.queries[name]) for name in names]
        return uris[0] if len(uris) == 1 and self.random.random() < 0.5 else uris

    def embed(self) -> Case:
        names, encoding = self.chosen(), self.random.choice(["float", "base64"])
        content: dict[str, Any] = {"input": self.uris(names), "modality": "image", "encoding_format": encoding}
        return Case(f"embed {encoding}", json_request("/v1/embeddings", content, self.headers), self.embedded(names))

    def embed_whole(self) -> Case:
        """Return embeddings asked for with a form, or with the bytes of an image alone."""
        if self.random.random() < 0.5:
            names = self.chosen()
            files = [(name, self.queries[name]) for name in names]
            return Case("embed form", multipart("/v1/embeddings", files, headers=self.headers), self.embedded(names))
        (name,) = self.chosen(1)
        wire = request("/v1/embeddings", self.queries[name], content_type="image/jpeg", headers=self.headers)
        return Case("embed raw", wire, self.embedded([name]))

    def embedded(self, names: Sequence[str]) -> Check:
        def check(answer: Any) -> str:
            if [item["index"] for item in answer["data"]] != list(range(len(names))):
                return "has not the order of the request"
            pairs = zip(names, answer["data"], strict=True)
            return next(
                (why for name, item in pairs if (why := self.truths[name].embedding_problem(item["embedding"]))), ""
            )

        return fine(check)

    def search(self) -> Case:
        names, k = self.chosen(), self.random.choice([1, 3, 5, 10, 40])
        content: dict[str, Any] = {"input": self.uris(names), "k": k}
        labels: list[str] = []
        if self.random.random() < 0.3:
            labels = self.random.sample(self.labels, 2)
            content["where"] = KNOWN.format(*labels)
        if per_class := self.random.random() < 0.3:
            content["per_class"] = True
        check = self.searched(names, k, labels, per_class=per_class)
        return Case("search", json_request("/v1/search", content, self.headers), check)

    def search_whole(self) -> Case:
        names, k = self.chosen(), self.random.choice([1, 5, 20])
        if self.random.random() < 0.5:
            files = [(name, self.queries[name]) for name in names]
            wire = multipart("/v1/search", files, {"k": str(k)}, self.headers)
            return Case("search form", wire, self.searched(names, k))
        wire = request(f"/v1/search?k={k}", self.queries[names[0]], content_type="image/jpeg", headers=self.headers)
        return Case("search raw", wire, self.searched(names[:1], k))

    def searched(self, names: Sequence[str], k: int, labels: Sequence[str] = (), *, per_class: bool = False) -> Check:
        def check(answer: Any) -> str:
            if len(answer["answers"]) != len(names):
                return f"has {len(answer['answers'])} answers for {len(names)}"
            for name, item in zip(names, answer["answers"], strict=True):
                if why := self.truths[name].search_problem(item["neighbours"], k, labels, per_class=per_class):
                    return why
            return ""

        return fine(check)

    def classify(self) -> Case:
        names = self.chosen()
        wire = json_request("/v1/classify", {"input": self.uris(names)}, self.headers)

        def check(answer: Any) -> str:
            pairs = zip(names, answer["answers"], strict=True)
            return next((why for name, item in pairs if (why := self.truths[name].class_problem(item))), "")

        return Case("classify", wire, fine(check))

    def beside(self, bad: bytes) -> Case:
        """Return a request of good images and a bad one among them, which fails alone."""
        names = self.chosen()
        place = self.random.randint(0, len(names))
        uris = [data_uri(self.queries[name]) for name in names]
        wire = json_request("/v1/embeddings", {"input": [*uris[:place], data_uri(bad), *uris[place:]]}, self.headers)

        def check(answer: Any) -> str:
            items = list(answer["data"])
            failed = items.pop(place)
            if failed["embedding"] is not None or not failed["error"]["code"] or not failed["error"]["message"]:
                return "does not say what is wrong with the bad image"
            pairs = zip(names, items, strict=True)
            return next(
                (why for name, item in pairs if (why := self.truths[name].embedding_problem(item["embedding"]))), ""
            )

        return Case("a bad image among good ones", wire, fine(check))

    def slow(self) -> Case:
        """Return a good request whose bytes trickle in, within the time limit."""
        case = self.draw()
        return Case(f"slow {case.name}", slowly(case.wire, self.random.randint(3, 8), 0.3), case.check)

    def left(self) -> Case:
        """Return a good request whose client hangs up in the middle of it."""
        case = self.draw()
        return Case(f"hang up in {case.name}", cut(case.wire, self.random.uniform(0.1, 0.95)), lambda reply: "")

    def long(self) -> Case:
        """Return a request whose body is sent in chunks, without a length."""
        names = self.chosen()
        body = json.dumps({"input": [data_uri(self.queries[name]) for name in names]}).encode()
        wire = request("/v1/embeddings", body, chunked=True, headers=self.headers)
        return Case("embed chunked", wire, self.embedded(names))


def bad_images(image: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of what is no image that can be read. image: the bytes of a good one."""
    yield "empty", b""
    yield "text", b"no image at all"
    yield "truncated", image[: len(image) // 2]
    yield "head alone", image[:24]
    yield "zeros", bytes(4096)
    yield "page", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield "flipped", bytes(255 - byte for byte in image)
