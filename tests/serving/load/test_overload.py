"""A server that gets more than it can answer, and one that is told to end."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eml.indexing.index import Index
from tests.serving.load.cases import GoodCases
from tests.serving.load.driving import drive
from tests.serving.load.server import Server
from tests.serving.load.shop import Shop, make_shop
from tests.serving.load.truths import Truth, truths_of
from tests.serving.load.wire import Reply, request, send

pytestmark = [pytest.mark.wide, pytest.mark.slow, pytest.mark.xdist_group("serving")]

SMALL = ("--queue", "8", "--items", "4", "--batch", "4")
HAMMERS, HAMMERING = 32, 6.0


@dataclass(frozen=True)
class Indexed:
    """An index, and the right answers of it."""

    folder: Path
    shop: Shop
    truths: dict[str, Truth]
    labels: list[str]

    def good(self, seed: int) -> GoodCases:
        return GoodCases(self.truths, self.shop.queries, self.labels, {}, seed)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    folder = tmp_path_factory.mktemp("overload")
    shop = make_shop(folder)
    with Index.build(folder / "shop.index", shop.model, shop.images, with_model=True) as index:
        return Indexed(folder / "shop.index", shop, truths_of(index, shop.queries), index.labels)


@pytest.fixture
def server(indexed: Indexed, tmp_path: Path) -> Iterator[Server]:
    with Server(indexed.folder, tmp_path / "server.log", SMALL) as server:
        yield server


@dataclass(frozen=True)
class Sent:
    """A request: when its client began and ended (seconds), what came back, and what is wrong with it."""

    begun: float
    ended: float
    reply: Reply | None
    problem: str


def hammer(server: Server, indexed: Indexed, ended: threading.Event, clients: int) -> list[Sent]:
    """Send good requests from so many clients without a pause, also after a refusal, until the end."""
    sent: list[Sent] = []

    def work(seed: int) -> None:
        good = indexed.good(seed)
        while not ended.is_set():
            case, begun = good.draw(), time.monotonic()
            try:
                reply = send(server.port, case.wire)
            except OSError:
                sent.append(Sent(begun, time.monotonic(), None, ""))
                time.sleep(0.05)
                continue
            problem = case.check(reply) if reply.status == 200 else ""
            sent.append(Sent(begun, time.monotonic(), reply, f"{case.name}: {problem}" if problem else ""))

    workers = [threading.Thread(target=work, args=[seed]) for seed in range(clients)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sent


def test_a_full_queue_sheds_with_the_time_to_come_again_and_recovers(server: Server, indexed: Indexed) -> None:
    ended = threading.Event()
    timer = threading.Timer(HAMMERING, ended.set)
    timer.start()
    healths: list[int] = []

    def watch() -> None:
        while not ended.is_set():
            healths.append(send(server.port, request("/health", method="GET")).status)
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    sent = hammer(server, indexed, ended, HAMMERS)
    watcher.join()
    replies = [one.reply for one in sent]
    assert all(reply is not None and reply.status in (200, 429) for reply in replies)
    assert not [one.problem for one in sent if one.problem]
    shed = [reply for reply in replies if reply is not None and reply.status == 429]
    assert len(shed) > 10, "the queue never was full"
    assert len(shed) < len(replies), "nothing was answered under overload"
    for reply in shed:
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert reply.json["error"]["code"] == "queue-full"
    assert set(healths) == {200}, "a server that has much to do is not ill"
    time.sleep(0.5)
    outcome = drive(server, [indexed.good(99).draw() for _ in range(40)], clients=1)
    outcome.assert_right()
    assert outcome.shed == 0, "the queue is not empty again"
    text = send(server.port, request("/metrics", method="GET")).body.decode()
    assert f'eml_serve_refused_requests_total{{reason="queue-full"}} {len(shed)}.0' in text.splitlines()
    assert "eml_serve_queue_items 0.0" in text.splitlines()


def test_what_was_accepted_before_sigterm_is_answered(server: Server, indexed: Indexed) -> None:
    ended, told, codes = threading.Event(), 0.0, list[int]()

    def stop() -> None:
        nonlocal told
        told = time.monotonic()
        try:
            codes.append(server.stop())
        finally:
            ended.set()

    timer = threading.Timer(3.0, stop)
    timer.start()
    sent = hammer(server, indexed, ended, 16)
    timer.join()
    assert codes == [0], server.text()
    before = [one for one in sent if one.begun < told - 0.5]  # a busy server takes the last ones in later
    assert all(one.reply is not None and one.reply.status in (200, 429) for one in before)
    assert [one for one in sent if one.begun < told < one.ended and one.reply is not None and one.reply.status == 200]
    assert not [one.problem for one in sent if one.problem]
    late = {0 if one.reply is None else one.reply.status for one in sent if one.begun > told}
    assert late <= {0, 200, 429, 503}, f"after the end of the server: {late}"
    assert "Traceback" not in server.text()
