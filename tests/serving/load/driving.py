"""Many clients at once: cases from a queue, each over a connection of its own."""

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.serving.load.cases import Case, problem_of
from tests.serving.load.server import Server
from tests.serving.load.wire import Reply, send

CLIENTS = 16
TRIES = 60
"""How often a client comes again to a server that says that it is full."""


@dataclass
class Outcome:
    """What came of the cases.

    Attributes:
        problems: What was wrong, a line for each answer.
        statuses: How many answers had each status.
        shed: How often a client was told to come again.
        seconds: Of each answer, with the name of its case.
    """

    problems: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    shed: int = 0
    seconds: list[tuple[float, str]] = field(default_factory=list)

    def assert_right(self) -> None:
        count = sum(self.statuses.values())
        lines = "\n".join(self.problems[:40])
        assert not self.problems, f"{len(self.problems)} of {count} answers are wrong:\n{lines}"


def drive(server: Server, cases: Iterable[Case], secrets: Sequence[str] = (), clients: int = CLIENTS) -> Outcome:
    """Send all cases from so many clients; those that the server sheds come again, as it says."""
    outcome, lock = Outcome(), threading.Lock()
    waiting: queue.SimpleQueue[Case | None] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    for _ in range(clients):
        waiting.put(None)

    def work() -> None:
        while (case := waiting.get()) is not None:
            try:
                reply, shed = send_until_taken(server.port, case)
                problem = problem_of(case, reply, secrets)
            except Exception as error:
                reply, shed, problem = Reply(0), 0, f"{case.name}: {type(error).__name__}: {error}"
            with lock:
                outcome.statuses[reply.status] += 1
                outcome.shed += shed
                outcome.problems += [problem] if problem else []
                outcome.seconds.append((reply.seconds, case.name))

    workers = [threading.Thread(target=work) for _ in range(clients)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return outcome


def send_until_taken(port: int, case: Case) -> tuple[Reply, int]:
    """Return the answer, and how often the server was too full for it."""
    for shed in range(TRIES):
        reply = send(port, case.wire)
        if reply.status != 429 or reply.json["error"]["code"] == "too-many-wrong-keys":
            return reply, shed
        assert 0 < int(reply.headers["retry-after"]) < 120, "the server does not say when to come again"
        time.sleep(min(1.0, int(reply.headers["retry-after"])))
    raise AssertionError(f"the server was full {TRIES} times")
