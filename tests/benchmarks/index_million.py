"""Measure an index of a million embeddings beside faiss and usearch: build, memory, opening, search, additions, graphs.

    OMP_NUM_THREADS=1 python tests/benchmarks/index_million.py --folder /tmp/million [--set clustered] [--only exact]

1,000,000 × 128 random unit vectors, the hard case for graphs, since all are about equally far from each other; with
`--set clustered` as many around 50,000 centres, as embeddings of a trained network are. One thread on every side, and
compared programs run in turns. Times are medians, as wall time and as processor time, which other work on the machine
affects less. `--only graphs` needs the index that `--only exact` leaves in the folder. Needs faiss-cpu and usearch.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from eml.indexing import graphs
from eml.indexing.engines import base
from eml.indexing.measure import recall_by_cosine
from eml.indexing.store import IndexStore

PART = 50_000  # embeddings that are drawn and added at once
PER_CENTRE, SPREAD = 20, 0.6  # of the clustered set: cosines within a class are about .74
K = 10
Vectors = NDArray[np.float32]


def draw(kind: str, size: int, first: int, count: int, images: int) -> Vectors:
    """Return the embeddings of images first … first + count − 1 of a set; those from `images` on are queries."""
    random = np.random.default_rng([7, first])
    vectors = random.standard_normal((count, size), np.float32)
    if kind == "clustered":
        centres = np.random.default_rng(1).standard_normal((max(1, images // PER_CENTRE), size), np.float32)
        vectors = SPREAD * vectors + centres[random.integers(0, len(centres), count)]
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def parts(options: argparse.Namespace) -> Iterator[tuple[int, Vectors]]:
    for first in range(0, options.images, PART):
        yield first, draw(options.set, options.size, first, min(PART, options.images - first), options.images)


def rows_of(first: int, count: int) -> pd.DataFrame:
    numbers = np.arange(first, first + count)
    return pd.DataFrame(
        {
            "file_name": [f"{number:07d}.jpg" for number in numbers],
            "label": [f"class {number // PER_CENTRE}" for number in numbers],
            "content": [f"{number:032x}" for number in numbers],
        }
    )


def resident(field: str) -> float:
    """Return the MiB of this process: VmRSS now, VmHWM at its peak, RssAnon without mapped files (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds of a call, as wall time and as processor time."""
    began, used = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - used)


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median wall and processor milliseconds of several calls that run in turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call))
    return {
        name: (statistics.median(wall for wall, _ in values), statistics.median(used for _, used in values))
        for name, values in times.items()
    }


def show(name: str, times: tuple[float, float], per: int = 1, note: str = "") -> None:
    wall, used = times
    print(f"{name:34} {wall / per:10.2f} ms  {used / per:10.2f} processor ms  {note}", flush=True)


def build(options: argparse.Namespace) -> None:
    """Make the index; print time and peak memory."""
    shutil.rmtree(options.folder, ignore_errors=True)
    draw(options.set, options.size, 0, PART, options.images)
    before = resident("VmRSS")
    began, used, drawing = time.perf_counter(), time.process_time(), 0.0
    with IndexStore.create(options.folder, size=options.size, storage=options.storage) as store:
        for first, vectors in parts(options):
            started = time.process_time()
            frame = rows_of(first, len(vectors))
            drawing += time.process_time() - started
            store.add(vectors, frame)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    print(f"build: {seconds:.1f} s, {processor:.1f} processor s (drawing the images included)")
    print(f"peak memory: {resident('VmHWM') - before:.0f} MiB more than {before:.0f} MiB before")
    for path in (options.folder / "index.sqlite", options.folder / "derived"):
        files = [path] if path.is_file() else [*path.iterdir()]
        print(f"{path.name}: {sum(file.stat().st_size for file in files) / 2**20:.0f} MiB in {len(files)} files")


def measure_exact(options: argparse.Namespace) -> None:
    """Print the times of opening, the first search, exact search beside faiss' flat index, and an addition."""
    import faiss

    queries = draw(options.set, options.size, options.images, 64, options.images)
    before = resident("RssAnon")
    show("open", timed(lambda: IndexStore.open(options.folder).close()))
    store = IndexStore.open(options.folder)
    show("first exact query", timed(lambda: store.search(queries[:1], K)), note="reads and checks all embeddings")
    print(f"memory beside the mapped files: {resident('RssAnon') - before:.0f} MiB")
    flat = faiss.IndexFlatIP(options.size)
    for _, vectors in parts(options):
        flat.add(vectors)
    faiss.omp_set_num_threads(1)
    for count, rounds in ((1, options.rounds), (64, max(3, options.rounds // 4))):
        calls = {
            "eml": lambda count=count: store.search(queries[:count], K),
            "faiss": lambda count=count: flat.search(queries[:count], K),
        }
        in_turns(calls, 1)
        times = in_turns(calls, rounds)
        for name, values in times.items():
            show(f"{name}, batch of {count}, per query", values, count)
        wall, used = (times["eml"][place] / times["faiss"][place] for place in (0, 1))
        print(f"eml / faiss, batch of {count}: {wall:.2f} of the time, {used:.2f} of the processor time")
    same = (store.search(queries, K).ids - 1 == flat.search(queries, K)[1]).mean()
    print(f"same neighbours in the same place: {same:.4f}")
    more = [draw(options.set, options.size, options.images + 1000 * (n + 1), 1000, options.images) for n in range(5)]
    frames = [rows_of(options.images + 1000 * n, 1000) for n in range(5)]
    added: list[int] = []
    times = [
        timed(lambda pair=pair: added.extend(store.add(*pair).ids.tolist())) for pair in zip(more, frames, strict=True)
    ]
    show("add 1,000 images", (statistics.median(t for t, _ in times), statistics.median(t for _, t in times)))
    print(f"its slowest of five: {max(t for t, _ in times):.0f} ms")
    show("exact query after it", timed(lambda: store.search(queries[:1], K)))
    store.remove(ids=added)


def measure_graphs(options: argparse.Namespace) -> None:
    """Print build time, recall and time of each engine of an index, beside one plain graph of usearch."""
    from usearch.index import Index

    store = IndexStore.open(options.folder)
    queries = draw(options.set, options.size, options.images, options.queries, options.images)
    exact = store.search(queries, K).cosines
    graphs.cores = lambda: options.threads  # type: ignore[assignment]
    calls: dict[str, Callable[[Vectors], Vectors]] = {"eml, exact": lambda rows: store.search(rows, K).cosines}
    for engine in options.engines:
        show(f"eml, {engine}: build", timed(lambda engine=engine: store.search(queries[:1], K, engine=engine)))
        reader = IndexStore.open(options.folder)
        show(f"eml, {engine}: open", timed(lambda engine=engine: reader.search(queries[:1], K, engine=engine)))  # noqa: B023
        calls[f"eml, {engine}"] = lambda rows, engine=engine: store.search(rows, K, engine=engine).cosines
    if options.plain:
        plain = Index(ndim=options.size, metric="ip", dtype="f16", connectivity=base.CONNECTIVITY)
        used = [0.0, 0.0]
        for first, vectors in parts(options):
            keys = np.arange(first, first + len(vectors))
            spent = timed(lambda: plain.add(keys, vectors, threads=options.threads))  # noqa: B023
            used = [used[0] + spent[0], used[1] + spent[1]]
        show("plain usearch: build", (used[0], used[1]))
        plain.expansion_search = base.EXPANSION_SEARCH
        calls["plain usearch"] = lambda rows: 1 - np.atleast_2d(plain.search(rows, K, threads=1).distances)
    for name, call in calls.items():
        tolerance = 1e-3 if name == "plain usearch" else 0.0  # its cosines are those of float16
        recall = recall_by_cosine(exact - tolerance, call(queries))
        print(f"{name:34} recall@{K} {recall:.4f}", flush=True)
    single = {
        name: lambda call=call: [call(queries[row : row + 1]) for row in range(20)] for name, call in calls.items()
    }
    for name, values in in_turns(single, 3).items():
        show(f"{name}, one query", values, 20)
    batch = {name: lambda call=call: call(queries[:64]) for name, call in calls.items()}
    for name, values in in_turns(batch, 3).items():
        show(f"{name}, batch of 64, per query", values, 64)


PARTS = {"build": build, "exact": measure_exact, "graphs": measure_graphs}


def main() -> None:
    """Run each part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where to write the index; it is replaced")
    parser.add_argument("--set", choices=("random", "clustered"), default="random")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--storage", choices=("float32", "float16"), default="float32")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--engines", nargs="*", default=["usearch"])
    parser.add_argument("--no-plain", dest="plain", action="store_false", help="leave out the one graph of usearch")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1, help="threads that build graphs; searches use one")
    parser.add_argument("--part", choices=PARTS)
    options = parser.parse_args()
    if options.part:
        torch.set_num_threads(1)
        PARTS[options.part](options)
        return
    for part in options.only:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", part], check=True)


if __name__ == "__main__":
    main()
