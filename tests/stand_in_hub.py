"""A hub on 127.0.0.1 for tests: repositories in memory, and as much of the HTTP API as the client asks for."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_standin"


@dataclass
class Repository:
    """A repository: who sees it, and path → content."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(json.dumps(self.commits).encode(), usedforsecurity=False).hexdigest()


@dataclass
class StandIn:
    """The hub: its address, its repositories and every request to it."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@contextmanager
def stand_in_hub() -> Iterator[StandIn]:
    """Serve a hub as long as the block runs."""

    class Handler(_Handler):
        hub = StandIn("")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Handler.hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_POST(self) -> None:
        body = self._body()
        parts = self._parts()
        if not self._may_write():
            return self._json({"error": "Invalid credentials in Authorization header"}, 401)
        match parts:
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                private = asked.get("visibility", "private" if asked.get("private") else "public") == "private"
                if name in self.hub.repositories:
                    return self._json({"error": "You already created this model repo", "url": name}, 409)
                self.hub.repositories[name] = Repository(private)
                return self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
            case ["api", "validate-yaml"]:
                return self._json({"warnings": [], "errors": []})
            case ["api", "models", _, _, "preupload", _]:
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                return self._json({"files": files})
            case ["api", "models", owner, name, "commit", _]:
                return self._commit(f"{owner}/{name}", body)
        return self._json({"error": f"the stand-in has no {self.path}"}, 404)

    def _commit(self, name: str, body: bytes) -> None:
        repository = self.hub.repositories[name]
        for line in map(json.loads, body.decode().splitlines()):
            if line["key"] == "header":
                repository.commits.append(line["value"]["summary"])
            elif line["key"] == "file":
                repository.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del repository.files[line["value"]["path"]]
        oid = repository.sha
        self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"})

    def _read(self) -> None:
        parts = self._parts()
        name = "/".join(parts[2:4] if parts[:2] == ["api", "models"] else parts[:2])
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._may_write()):
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        match parts:
            case ["api", "models", _, _] | ["api", "models", _, _, "revision", _]:
                siblings = [{"rfilename": path} for path in repository.files]
                facts = {"id": name, "private": repository.private, "sha": repository.sha, "siblings": siblings}
                return self._json(facts | {"tags": [], "downloads": 0, "likes": 0})
            case ["api", "models", _, _, "tree", *_]:
                return self._json(
                    [
                        {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
                        for path, content in repository.files.items()
                    ]
                )
            case [_, _, "resolve", _, *path] if (content := repository.files.get("/".join(path))) is not None:
                return self._send(content, 200, {"X-Repo-Commit": repository.sha, "ETag": f'"{_oid(content)}"'})
        return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})

    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _parts(self) -> list[str]:
        self.hub.requests.append(f"{self.command} {self.path}")
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _json(self, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(data).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
