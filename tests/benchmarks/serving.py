"""Requests answered by `eml serve` against the bare ONNX session that it runs, in turns, in one run.

    PYTHONPATH=. python tests/benchmarks/serving.py --images grocery160/images --weights FILE

Everything embeds the same image files by the same exported network on the same cores: the session alone on pixels that
are decoded before; a loop that decodes, resizes and runs the session on batches; as many such loops as there are
threads, each with a session of one thread; and servers with and without batching, whose clients are threads of another
process, each with a connection that stays open and one image a request. Clients compute nothing: their requests are
made before, and of the answers they read the bytes. All of them share the cores with the server.

Prints images per second of the clock and per second of the server's processor time, the ratios to the loops of the same
round (medians of the rounds), and the median and the 99th percentile of the latency at each number of clients.
"""

import argparse
import base64
import json
import multiprocessing
import os
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

import eml
from eml.inference.exported.loading import load_exported
from eml.inference.exported.model import ExportedModel
from eml.inference.image_inputs import load_pixels
from tests.serving.load.server import Server

BATCH = 16
FORMS = {"raw": "image/jpeg", "json": "application/json"}
BARE, LOOPS, SESSION = "a loop", "a loop for each thread", "the session alone"


@dataclass(frozen=True)
class Measured:
    """A contender's round: images per second of the clock and of the processor, and the latencies (seconds)."""

    rate: float
    cpu_rate: float
    latencies: tuple[float, ...] = ()


def parts_of(items: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def embed_all(model: ExportedModel, files: Sequence[bytes]) -> None:
    for part in parts_of(files, BATCH):
        model.embed_arrays(np.stack(list(load_pixels(list(part), model.preprocess))))


def measured(work: Callable[[], None], count: int) -> Measured:
    before = time.perf_counter(), time.process_time()
    work()
    return Measured(count / (time.perf_counter() - before[0]), count / (time.process_time() - before[1]))


def bare_contenders(path: Path, files: Sequence[bytes], threads: int) -> dict[str, Callable[[], Measured]]:
    """Return the loops, and the session alone."""
    whole, singles = load_exported(path, threads=threads), [load_exported(path, threads=1) for _ in range(threads)]
    pixels = np.stack(list(load_pixels(list(files), whole.preprocess)))
    pool = ThreadPoolExecutor(threads)

    def share() -> None:
        list(pool.map(embed_all, singles, [files[number::threads] for number in range(threads)]))

    return {
        BARE: lambda: measured(lambda: embed_all(whole, files), len(files)),
        LOOPS: lambda: measured(share, len(files)),
        SESSION: lambda: measured(lambda: session_only(whole, pixels), len(files)),
    }


def session_only(model: ExportedModel, pixels: np.ndarray) -> None:
    for first in range(0, len(pixels), BATCH):
        model.embed_arrays(pixels[first : first + BATCH])


def body_of(data: bytes, form: str) -> bytes:
    if form == "raw":
        return data
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return json.dumps({"input": uri, "encoding_format": "base64"}).encode()


def drive(port: int, path: str, bodies: Sequence[bytes], kind: str, clients: int) -> tuple[float, list[float]]:
    """Send all requests from so many clients, in another process; return the seconds, and the latency of each."""
    waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    for body in [*bodies, *[None] * clients]:
        waiting.put(body)
    latencies: list[float] = []
    connections = [HTTPConnection("127.0.0.1", port, timeout=120) for _ in range(clients)]

    def work(connection: HTTPConnection) -> None:
        while (body := waiting.get()) is not None:
            started = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": kind})
            response = connection.getresponse()
            response.read()
            assert response.status == 200, response.status
            latencies.append(time.perf_counter() - started)

    for connection in connections:
        connection.connect()
    workers = [threading.Thread(target=work, args=[connection]) for connection in connections]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - begun
    for connection in connections:
        connection.close()
    assert len(latencies) == len(bodies), "a client failed"
    return seconds, latencies


def served(
    server: Server, pool: ProcessPoolExecutor, path: str, bodies: Sequence[bytes], kind: str, clients: int
) -> Measured:
    before = server.cpu_seconds()
    seconds, latencies = pool.submit(drive, server.port, path, bodies, kind, clients).result()
    cpu = server.cpu_seconds() - before
    return Measured(len(bodies) / seconds, len(bodies) / cpu, tuple(latencies))


def report(rounds: Sequence[dict[str, Measured]], names: Sequence[str]) -> None:
    head = "| | images/s | of the loop | of the loops | per processor second | of the loop | p50 (ms) | p99 (ms) |"
    print(head + "\n|" + "---|" * 8)
    for name in names:
        own = [measures[name] for measures in rounds]
        cells = [f"{statistics.median(one.rate for one in own):.1f}"]
        for bare in (BARE, LOOPS):
            cells.append(f"{statistics.median(measures[name].rate / measures[bare].rate for measures in rounds):.2f}")
        cells.append(f"{statistics.median(one.cpu_rate for one in own):.1f}")
        cells.append(
            f"{statistics.median(measures[name].cpu_rate / measures[BARE].cpu_rate for measures in rounds):.2f}"
        )
        for percent in (50, 99):
            values = [1000 * float(np.percentile(one.latencies, percent)) for one in own if one.latencies]
            cells.append(f"{statistics.median(values):.0f}" if values else "")
        print(f"| {name} | " + " | ".join(cells) + " |")


def export(options: argparse.Namespace, folder: Path) -> Path:
    if options.model is not None:
        return Path(options.model)
    path = folder / "model.onnx"
    name, side = f"timm:{options.backbone}", options.side
    eml.export(name, path, weights=str(options.weights), image_size=side, prove_images=0)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", default="none", help="a file, or none")
    parser.add_argument("--model", type=Path, help="a file of eml export, in place of exporting the backbone")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--count", type=int, default=320, help="images of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the bare session")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--batches", type=int, nargs="+", default=[BATCH, 4, 1], help="of the servers")
    parser.add_argument("--serve", nargs="*", default=[], help="more options of eml serve, without their dashes")
    options = parser.parse_args()
    paths = sorted(options.images.rglob("*.jpg"))
    files = [path.read_bytes() for path in paths[:: max(1, len(paths) // options.count)][: options.count]]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = export(options, folder)
        contenders = bare_contenders(path, files, options.threads)
        pool = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        more = [f"--{word}" if not word[0].isdigit() else word for word in options.serve]
        for batch in options.batches:
            log = folder / f"batch_{batch}.log"
            server = stack.enter_context(Server(path, log, ["--batch", str(batch), *more], threads=options.threads))
            for form in options.forms:
                bodies = [body_of(data, form) for data in files]
                for clients in options.clients:
                    contenders[f"served, batch {batch}, {form}, {clients} clients"] = served_by(
                        server, pool, bodies, form, clients
                    )
        for contender in contenders.values():
            contender()  # warms up
        rounds = []
        for number in range(options.rounds):
            names = list(contenders)[:: 1 if number % 2 else -1]
            measures = {name: contenders[name]() for name in names}
            rounds.append({name: measures[name] for name in contenders})
    words = f"{len(files)} images, {options.threads} threads, {options.rounds} rounds"
    print(f"{options.model or options.backbone}, {words}")
    report(rounds, list(contenders))


def served_by(
    server: Server, pool: ProcessPoolExecutor, bodies: Sequence[bytes], form: str, clients: int
) -> Callable[[], Measured]:
    return lambda: served(server, pool, "/v1/embeddings", bodies, FORMS[form], clients)


if __name__ == "__main__":
    main()
