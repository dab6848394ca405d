"""nginx itself with the file that is shipped: what it passes on, and what it refuses in its own name."""

import http.client
import http.server
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "configs" / "serve"


class LikeEml(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent; refuses at /refused as eml does, and ends without an answer at /gone."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/gone":
            self.close_connection = True
            return
        refused = self.path == "/refused"
        text = b'{"of": "eml"}' if refused else json.dumps({"size": size, **dict(self.headers)}).encode()
        self.send_response(429 if refused else 200)
        for name, value in (("Content-Length", str(len(text))), *((("Retry-After", "7"),) if refused else ())):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *words: object) -> None:
        """Say nothing."""


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [own.getsockname()[1] for own in sockets]
    for own in sockets:
        own.close()
    return ports


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[int]:
    """The port of nginx with the shipped file."""
    if not (shutil.which("nginx") and shutil.which("openssl")):
        pytest.skip("no nginx is installed")
    plain, secure = free_ports(2)
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), LikeEml)
    text = (SERVE / "nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r"^    listen \[::\].*\n", "", text, flags=re.MULTILINE)
    replaced = {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{behind.server_port};",
        "/etc/ssl/images.example.org": str(tmp_path / "own"),
        "rate=20r/s": "rate=1r/m",
        "burst=200": "burst=2",
    }
    for shipped, own in replaced.items():
        assert shipped in text
        text = text.replace(shipped, own)
    key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    key += ["-keyout", f"{tmp_path}/own.key", "-out", f"{tmp_path}/own.pem"]
    subprocess.run(key, capture_output=True, check=True)
    (tmp_path / "eml.conf").write_text(text)
    places = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{places}include {tmp_path}/eml.conf;\n}}\n"
    )
    nginx = ["nginx", "-p", str(tmp_path), "-e", str(tmp_path / "errors"), "-c", str(tmp_path / "nginx.conf")]
    started = subprocess.run(nginx, capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    try:
        yield secure
    finally:
        subprocess.run([*nginx, "-s", "stop"], capture_output=True, check=True)
        behind.shutdown()
        behind.server_close()


def post(port: int, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], Any]:
    """Send a body to nginx; return the status, headers and answer."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.load(answer)
    finally:
        connection.close()


@pytest.mark.wide
def test_nginx_passes_on_what_the_server_says_and_refuses_in_its_form(proxy: int) -> None:
    status, headers, sent = post(proxy, "/v1/search", b"image", **{"X-API-Key": "eml_key"})
    assert (status, sent["size"], sent["X-API-Key"]) == (200, 5, "eml_key")
    assert sent["Host"] == f"127.0.0.1:{proxy}"
    assert "strict-transport-security" in headers
    status, headers, own = post(proxy, "/refused")
    assert (status, headers["retry-after"], own) == (429, "7", {"of": "eml"})
    status, _, large = post(proxy, "/v1/search", **{"Content-Length": str(34 * 2**20)})
    assert (status, large["error"]["code"]) == (413, "body-too-large")
    status, headers, away = post(proxy, "/gone")
    assert (status, headers["retry-after"], away["error"]["code"]) == (503, "5", "closing")
    status, headers, many = post(proxy, "/v1/search")
    assert (status, headers["retry-after"], many["error"]["code"]) == (429, "1", "too-many-requests")
    codes = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert all(f"| `{answer['error']['code']}` |" in codes for answer in (large, away, many))
