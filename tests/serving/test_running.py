"""A server that runs: its address, its end, and what the command says before it begins."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import eml
from eml.cli.app import main
from eml.commands.serve import ServeConfig, ServeResult, _app, _checked_parts
from eml.errors import ConfigError, Interrupted
from eml.serving.app import make_app
from eml.serving.batching import NoObserver
from eml.serving.engine import ServingEngine
from eml.serving.limits import ServingLimits
from eml.serving.running import bind, graceful_server, is_loopback, run_server, served, stopping_line
from eml.serving.tally import Tally
from tests.indexing.shop import network
from tests.serving.shop_server import build_shop, photo_png, served_copy


def test_only_this_computer_is_loopback() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("localhost")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("192.168.1.2")


def test_a_host_that_others_reach_needs_keys() -> None:
    with pytest.raises(ConfigError, match="`host` 0\\.0\\.0\\.0: others can reach it, so it needs `keys`"):
        eml.serve("timm:test_resnet", host="0.0.0.0")


def test_a_port_in_use_and_an_unknown_host_are_said_before_a_model_is_loaded() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"`port` {port} is in use on 127"):
            eml.serve("timm:no_such_model", port=port)
    with pytest.raises(ConfigError, match=r"`host` not a host: is no address or name"):
        bind("not a host", 0)


def test_a_server_in_a_thread_answers_at_its_address() -> None:
    import httpx

    engine = ServingEngine(network(), limits=ServingLimits(batch=1))
    engine.observer = tally = Tally(NoObserver())
    with served(make_app(engine), engine) as address:
        headers = {"Content-Type": "image/png"}
        answer = httpx.post(f"{address}/v1/embeddings", content=photo_png("mug", 7), headers=headers)
    asyncio.run(engine.close())
    assert answer.json()["data"][0]["embedding"] == network().embed(photo_png("mug", 7))[0].tolist()
    assert (tally.counts_answered, tally.images) == ({"embed": 1}, 1)


def test_a_server_that_is_told_to_stop_twice_ends_at_once_as_interrupted() -> None:
    engine = ServingEngine(network())

    def stop() -> None:
        server.stop()
        assert engine.is_closing
        assert not server.was_forced
        server.stop()

    server = graceful_server(make_app(engine), engine, started=stop)
    with pytest.raises(Interrupted, match="stopped at once: nothing was left"):
        run_server(server, bind("127.0.0.1", 0))
    asyncio.run(engine.close())


def test_the_line_at_the_first_signal_says_what_is_waited_for() -> None:
    assert stopping_line(0) == "stopping: no request is being answered"
    assert stopping_line(1) == "stopping: 1 request is being answered; Ctrl-C again to stop at once"
    assert stopping_line(1200) == "stopping: 1,200 requests are being answered; Ctrl-C again to stop at once"


def test_one_signal_ends_the_command_with_what_it_did_and_a_second_one_at_once_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shop: Path
) -> None:
    import eml.serving.running as running

    engine = served_copy(shop, shop.parent / "twice")
    monkeypatch.setattr(ServingEngine, "open", lambda *arguments, **options: engine)
    monkeypatch.setattr(running.GracefulServer, "startup", started_with_signals(1))
    assert main(["serve", "shop.index", "--port", "0", "--address-rate", "9", "--no-docs"]) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        "the server has stopped after 0 s\n"
        "answered: 0 embedding, search, classify and index requests\n"
        "refused: 0 requests\n"
        "computed: 0 images\n"
    )
    assert re.search(r"^in a browser: (http://127\.0\.0\.1:[0-9]+)/ takes photos$", shown.err, re.MULTILINE)
    assert "\nstopping: no request is being answered\n" in shown.err
    assert "/docs" not in shown.err

    again = served_copy(shop, shop.parent / "again")
    monkeypatch.setattr(ServingEngine, "open", lambda *arguments, **options: again)
    monkeypatch.setattr(running.GracefulServer, "startup", started_with_signals(2))
    assert main(["serve", "shop.index", "--port", "0"]) == 130
    told = capsys.readouterr().err
    assert "stopped at once: 1 request was not answered" in told
    assert re.search(r"^in a browser: (http://\S+)/ takes photos, \1/docs shows how to ask$", told, re.MULTILINE)


def test_the_last_lines_fit_a_terminal_and_say_what_is_counted() -> None:
    counts = {"embed": 1_000_000, "add": 1}, {"queue-full": 1}
    result = ServeResult(address="", seconds=86_400, answered=counts[0], refused=counts[1], images=64_000_000)
    assert result.lines() == [
        "the server has stopped after 86,400 s",
        "answered: 1,000,001 embedding, search, classify and index requests",
        "refused: 1 request",
        "computed: 64,000,000 images",
    ]
    one = ServeResult(address="", seconds=1, answered={"search": 1}, refused={}, images=1)
    assert one.lines()[1:] == [
        "answered: 1 embedding, search, classify or index request",
        "refused: 0 requests",
        "computed: 1 image",
    ]
    assert max(map(len, result.lines())) < 80


def started_with_signals(count: int) -> Any:
    """Return a startup that sends this process signals as soon as it listens; before a second one something runs."""

    async def startup(server: Any, sockets: Any = None) -> None:
        await uvicorn.Server.startup(server, sockets)
        server._tell()
        if count == 2:
            task = asyncio.ensure_future(asyncio.sleep(60))
            server.server_state.tasks.add(task)
        for _ in range(count):
            signal.raise_signal(signal.SIGINT)

    return startup


def test_options_of_the_command_reach_the_door(shop: Path, tmp_path: Path) -> None:
    import httpx

    config = ServeConfig(source=str(shop), address_rate=6, docs=False)
    engine = served_copy(shop, tmp_path)
    with ExitStack() as opened:
        app = _app(config, engine, Tally(engine.observer), _checked_parts(config, engine.limits), opened)

        async def ask() -> list[int]:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return [(await client.get(path)).status_code for path in ("/docs", "/docs")]

        assert asyncio.run(ask()) == [404, 429]
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shop(tmp_path_factory.mktemp("shop"))


class Served:
    """`eml serve` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "eml", "serve", *arguments, "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.address = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if match := re.search(r"listening on (http://\S+)", line):
                self.address = match[1]
            if line.startswith("try: "):
                return

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        self.lines += err.splitlines()
        return self.process.returncode, out


@pytest.mark.wide
def test_the_command_says_how_to_ask_and_ends_when_what_is_queued_is_answered(tmp_path: Path) -> None:
    import httpx

    shop = build_shop(tmp_path)
    server = Served(str(shop), "--json", "--batch", "1")
    assert "serving shop.index: 9 images of 3 classes, calibrated" in server.lines[0]
    pasted = subprocess.run(
        ["bash", "-c", server.lines[-1].removeprefix("try: ")], capture_output=True, text=True, check=True
    )
    assert json.loads(pasted.stdout)["answers"][0]["neighbours"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    answers: list[Any] = []

    def ask() -> None:
        files = [("images", (f"{number}.png", photo_png("mug", number))) for number in range(60)]
        answers.append(httpx.post(f"{server.address}/v1/classify", files=files, timeout=60))

    asking = threading.Thread(target=ask)
    asking.start()
    while httpx.get(f"{server.address}/health").json()["queue"] == 0 and asking.is_alive():
        time.sleep(0.002)
    code, out = server.end()
    asking.join()
    assert answers[0].status_code == 200
    assert len(answers[0].json()["answers"]) == 60
    assert code == 0
    counts = json.loads(out)
    assert counts["answered"] == {"search": 1, "classify": 1}
