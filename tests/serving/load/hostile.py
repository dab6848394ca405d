"""Requests that mean harm or nonsense: bombs, sizes, paths, keys, conditions, JSON, HTTP itself."""

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from tests.serving.load.cases import Case, Check, bad_images, refused
from tests.serving.load.wire import BOUNDARY, Reply, Wire, data_uri, json_request, multipart, request

Headers = dict[str, str]
INJECTIONS = (
    "label == 'x'; DROP TABLE images",
    "1=1",
    "label == 'x' UNION SELECT name FROM sqlite_master",
    "label == '' or 1 == 1 --",
    "id == (SELECT 1)",
    "load_extension('x')",
    "__import__('os').system('true')",
    "no_such_column == 1",
    "label ==",
    "(" * 5000,
    "not " * 5000 + "id == 1",
    "label == 'a' or " * 3000 + "label == 'a'",
    "",
    "\x00",
)
PATHS = (
    "/../../../../etc/passwd",
    "/v1/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "//etc/passwd",
    "/page/../../keys.py",
    "/static/..%5c..%5ckeys.py",
    "/v1/images/..%2f..%2fetc%2fpasswd/thumbnail",
    "/v1/images/-1/thumbnail",
    "/v1/images/99999999999999999999999/thumbnail",
    "/v1/images/1;DROP/thumbnail",
    "/%00",
    "/v1/embeddings%00.png",
    "/" + "a" * 4000,
)
ADDRESSES = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:22/",
    "http://localhost/x.jpg",
    "http://[::1]/x.jpg",
    "http://0x7f000001/x.jpg",
    "https://example.com/x.jpg",
    "file:///etc/passwd",
    "/etc/passwd",
    "ftp://example.com/x.jpg",
    "gopher://127.0.0.1:70/",
    "data:image/jpeg;base64,@@@@",
    "data:,",
    "data:image/jpeg;base64",
    "data:text/html;base64,PGh0bWw+",
    "",
)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield small files that stand for billions of pixels, and one just above the limit."""
    yield (
        "gif bomb",
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\x80\x00\x00\xff\xff\xff\x00\x00\x00"
        + (b"," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\x00\x02\x02\x44\x01\x00;"),
    )
    yield "png bomb", flat_png(20_000)
    yield "png of 65,535 × 65,535 by its head", flat_png(65_535, rows=100)
    yield "png just above the limit", flat_png(7_100)


def flat_png(side: int, rows: int | None = None) -> bytes:
    """Return a black image of one bit per pixel in a few kilobytes; with `rows` only so many of them are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + -(-side // 8))
    data = b"".join(packer.compress(row) for _ in range(rows or side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def archive_bombs(dirty: Path | None) -> Iterator[tuple[str, bytes]]:
    """Yield the bombs and the truncated files of a folder of awkward files, where there is one."""
    if dirty is not None:
        for name in ("decompression_bomb.gif", "decompression_bomb.ico", "truncated_image.png", "truncated_jpeg.jpg"):
            yield name, (dirty / "odd_files" / name).read_bytes()


def failed_alone(reply: Reply) -> str:
    """Check the answer to a request whose one image cannot be used: it says so, as an error or of the image."""
    if reply.status in (400, 413, 422):
        return ""
    if reply.status != 200:
        return "is neither answered nor refused as it should be"
    answer = reply.json
    items = answer.get("data") or answer.get("answers")
    (item,) = items
    problem = item.get("error") or item.get("problem") or item.get("reason")
    told = item.get("embedding") is None and not item.get("neighbours") and item.get("label") is None
    return "" if problem and told else "answers about what is no image"


def bad_image_cases(image: bytes, headers: Headers, dirty: Path | None) -> Iterator[Case]:
    """Yield requests of one image that cannot be used, sent in every way."""
    files = [*bad_images(image), *bombs(), *archive_bombs(dirty)]
    for name, data in files:
        for path in ("/v1/embeddings", "/v1/search", "/v1/classify"):
            yield Case(f"{name} as data URI", json_request(path, {"input": data_uri(data)}, headers), failed_alone)
            yield Case(f"{name} in a form", multipart(path, [(name, data)], headers=headers), failed_alone)
            raw = request(path, data, content_type="image/jpeg", headers=headers)
            yield Case(f"{name} raw", raw, failed_alone)


def huge_cases(image: bytes, headers: Headers, image_bytes: int, body_bytes: int, items: int) -> Iterator[Case]:
    """Yield requests over the limits of bytes and of items."""
    padded = image + bytes(image_bytes + 1 - len(image))
    raw = request("/v1/embeddings", padded, content_type="image/jpeg", headers=headers)
    yield Case("an image of too many bytes", raw, failed_alone)
    yield Case("such an image in a form", multipart("/v1/search", [("a", padded)], headers=headers), failed_alone)
    over = bytes(body_bytes + 1)
    for chunked in (False, True):
        wire = request("/v1/embeddings", over, content_type="image/jpeg", chunked=chunked, headers=headers)
        yield Case(f"a body of too many bytes{', in chunks' if chunked else ''}", wire, refused(0, 413))
    many = {"input": [data_uri(image)] * (items + 1)}
    yield Case("too many images", json_request("/v1/embeddings", many, headers), refused(400, 413, 422))
    form = multipart("/v1/embeddings", [("a", image)] * (items + 1), headers=headers)
    yield Case("too many images in a form", form, refused(400, 413, 422))


def json_cases(image: bytes, headers: Headers) -> Iterator[Case]:
    """Yield bodies that are no JSON, or JSON of other types."""
    no = refused(400, 422)
    uri = data_uri(image)
    bodies = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"input": NaN}',
        b'{"input": 1e999}',
        b'{"input": ' + b"9" * 5000 + b"}",
    ]
    for body in bodies:
        for path in ("/v1/embeddings", "/v1/search", "/v1/classify"):
            yield Case(f"body {body[:20]!r} to {path}", request(path, body, headers=headers), no)
    wrong: list[Any] = [None, 7, True, {}, {"url": "x"}, [], [None], [[uri]], [7], [{}]]
    for value in wrong:
        yield Case(f"input {value!r:.40}", json_request("/v1/embeddings", {"input": value}, headers), no)
    for k in (0, -1, 10**9, 10**30, "five", 1.5, None, [], True, "1; DROP"):
        yield Case(f"k = {k!r}", json_request("/v1/search", {"input": uri, "k": k}, headers), no)
    for key, value in (
        ("encoding_format", "hex"),
        ("modality", "smell"),
        ("dimensions", 0),
        ("dimensions", -3),
        ("dimensions", 10**9),
        ("dimensions", "all"),
    ):
        content = {"input": uri, key: value}
        yield Case(f"{key} = {value!r}", json_request("/v1/embeddings", content, headers), no)
    for share in (-1, 2, "half", {}):
        content = {"input": uri, "unknown_share": share}
        yield Case(f"unknown_share = {share!r}", json_request("/v1/classify", content, headers), no)
    text = json_request("/v1/search", {"text": ["a red mug"], "k": 3}, headers)
    yield Case("a text for a model without texts", text, refused(400, 422))


def condition_cases(image: bytes, headers: Headers) -> Iterator[Case]:
    """Yield conditions that are none, or that would be code elsewhere."""

    def check(reply: Reply) -> str:
        return "" if reply.status in (400, 422) else "takes it for a condition"

    for text in INJECTIONS:
        content = {"input": data_uri(image), "where": text}
        yield Case(f"where {text[:30]!r}", json_request("/v1/search", content, headers), check)


def path_cases(headers: Headers) -> Iterator[Case]:
    """Yield paths out of what is served, and methods that nothing takes."""
    for path in PATHS:
        for method in ("GET", "POST"):
            wire = request(path, method=method, headers=headers)
            yield Case(f"{method} {path[:50]}", wire, refused(0, 400, 404, 405, 414, 422, 431))
    for method in ("DELETE", "PUT", "PATCH", "TRACE", "CONNECT", "BREW"):
        yield Case(f"{method} /v1/search", request("/v1/search", method=method, headers=headers), refused(0, 400, 405))


def address_cases(headers: Headers) -> Iterator[Case]:
    """Yield inputs that are addresses and files of the server, none of which may be fetched."""

    def check(reply: Reply) -> str:
        if reply.status in (400, 403, 422):
            return ""
        return failed_alone(reply)

    for address in ADDRESSES:
        yield Case(f"input {address!r}", json_request("/v1/embeddings", {"input": address}, headers), check)


def file_name_cases(image: bytes, headers: Headers, check: Check) -> Iterator[Case]:
    """Yield good images under hostile names, which are answered. check: of the answer about the image."""
    for name in ("../../etc/passwd", "/etc/passwd", "a\\b", "CON", "%00", "é" * 200, "<script>", "x" * 3000):
        wire = multipart("/v1/embeddings", [(name, image)], headers=headers)
        yield Case(f"a form's file {name[:20]!r}", wire, check)


def http_cases(image: bytes, headers: Headers) -> Iterator[Case]:
    """Yield what is not HTTP as it should be."""
    no = refused(0, 400, 401, 404, 408, 411, 413, 414, 415, 422, 431, 501, 505)
    body = json.dumps({"input": data_uri(image)}).encode()
    yield Case("an oversized header", request("/v1/search", body, headers=headers | {"X-Long": "a" * 200_000}), no)
    many = {f"X-{number}": "a" * 100 for number in range(5_000)}
    yield Case("thousands of headers", request("/v1/search", body, headers=headers | many), no)
    for head in (
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n{}",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nA: b\r\n c\x00d: e\r\n\r\n",
    ):
        yield Case(f"not HTTP: {head[:60]!r}", Wire((head,)), no)
    yield Case("no content type", request("/v1/search", body, content_type="", headers=headers), refused(400, 415, 422))
    for kind in ("text/html", "application/x-www-form-urlencoded", "multipart/form-data", "a/b; c=\x7f"):
        wire = request("/v1/search", body, content_type=kind, headers=headers)
        yield Case(f"content type {kind}", wire, refused(400, 415, 422))
    for form in (b"", b"--" + BOUNDARY.encode(), b"x" * 70_000, _endless_part()):
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        yield Case(
            f"form {form[:20]!r}",
            request("/v1/search", form, content_type=kind, headers=headers),
            refused(400, 413, 422),
        )


def _endless_part() -> bytes:
    """Return a form with a part whose head never ends."""
    return f"--{BOUNDARY}\r\n".encode() + b"X-A: " + b"a" * 2**20


def key_cases(image: bytes) -> Iterator[Case]:
    """Yield requests without the right key, to a server that wants one."""
    content = {"input": data_uri(image)}
    wrong = (
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic eDp5",
        "Bearer " + "a" * 10_000,
        "bearer\t",
        "Bearer é",
        "null",
    )
    for value in wrong:
        wire = json_request("/v1/search", content, {"Authorization": value})
        yield Case(f"key {value[:20]!r}", wire, refused(400, 401, 403, 429, 431))
    yield Case("no key", json_request("/v1/search", content), refused(401))
    yield Case("no key for the figures", request("/metrics", method="GET"), refused(401))


def read_key_cases(image: bytes, headers: Headers) -> Iterator[Case]:
    """Yield changes with a key that may only read."""
    add = {"input": [data_uri(image)], "labels": ["x"]}
    yield Case("add with a key that reads", json_request("/v1/index/add", add, headers), refused(403))
    yield Case("remove with a key that reads", json_request("/v1/index/remove", {"ids": [1]}, headers), refused(403))


def large_photo(side: int = 6_500) -> bytes:
    """Return a valid image of many pixels below the limit."""
    data = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).save(data, "JPEG", quality=30)
    return data.getvalue()
