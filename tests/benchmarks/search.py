"""All retrieval metrics against faiss' flat search, pytorch-metric-learning and open-metric-learning, in one run.

    python tests/benchmarks/search.py [--peers pytorch_metric_learning open_metric_learning] [--queries 60502]
    OMP_NUM_THREADS=1 python tests/benchmarks/search.py --peers --threads 1 --queries 6144 --size 128 --spread 1.2

60,502 × 512 embeddings of 11,316 classes, as many as in the test of Stanford Online Products. faiss searches the 1,000
nearest, which R@1000 needs; eml computes R@1, 10, 100, 1000, MAP@R, R-Precision, mAP, MRR and GAP over the whole
gallery. `products` is the products of all tiles alone, `neighbours` the search of `eml suspects` for the 50 nearest.
`--size` is D, and `--spread` is how far images are from their class: R@1 is .79 at 512 and 2.2, .97 at 128 and 1.2, .04
at 128 and 2.2. Needs faiss-cpu; peers that are not installed are left out, and `--peers` without names leaves out both.
Each engine runs in a process of its own, in turns.
"""

import argparse
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from eml.allocator import keep_freed_memory

N, C, TILE = 60_502, 11_316, 1024


def embeddings_and_labels(size: int, spread: float) -> tuple[torch.Tensor, np.ndarray]:
    """Return unit vectors around a centre for each class, and their labels."""
    random = torch.Generator().manual_seed(0)
    labels = np.sort(np.random.default_rng(0).integers(0, C, N))
    centres = torch.nn.functional.normalize(torch.randn(C, size, generator=random))
    rows = centres[labels] + spread * torch.randn(N, size, generator=random) / size**0.5
    return torch.nn.functional.normalize(rows), labels


def products(rows: torch.Tensor, labels: np.ndarray, queries: int) -> dict[str, float]:
    tile = torch.empty(TILE, TILE)
    for block in rows[:queries].split(TILE):
        for other in rows.split(TILE):
            torch.mm(block, other.T, out=tile[: len(block), : len(other)])
    return {}


def neighbours(rows: torch.Tensor, labels: np.ndarray, queries: int) -> dict[str, float]:
    from eml.retrieval.label_errors.label_votes import K
    from eml.retrieval.search import nearest

    nearest(rows[:queries], rows, K, itself=np.arange(queries))
    return {}


def eml(rows: torch.Tensor, labels: np.ndarray, queries: int) -> dict[str, float]:
    from eml.retrieval.metrics import all_metrics, summarise
    from eml.retrieval.metrics.recall_at_k import RecallAtK
    from eml.retrieval.ranking import rank

    metrics = [RecallAtK(k=(1, 10, 100, 1000)), *(metric for metric in all_metrics() if metric.type != "recall_at_k")]
    itself = np.arange(queries)
    return summarise(rank(rows[:queries], labels[:queries], rows, labels, itself=itself), metrics).values


def faiss(rows: torch.Tensor, labels: np.ndarray, queries: int) -> dict[str, float]:
    import faiss as library

    library.omp_set_num_threads(torch.get_num_threads())
    index = library.IndexFlatIP(rows.shape[1])
    index.add(rows.numpy())
    _, neighbours = index.search(rows[:queries].numpy(), 1001)
    return {"recall_at_1": float((labels[neighbours[:, 1]] == labels[:queries]).mean())}


def pytorch_metric_learning(rows: torch.Tensor, labels: np.ndarray, queries: int) -> dict[str, float]:
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    # k: "max_bin_count", its default for these, is the size of the largest class.
    which = ("precision_at_1", "mean_average_precision_at_r", "r_precision")
    calculator = AccuracyCalculator(include=which, k="max_bin_count", device=torch.device("cpu"))
    targets = torch.from_numpy(labels)
    return calculator.get_accuracy(rows[:queries], targets[:queries], rows, targets, ref_includes_query=True)


def open_metric_learning(rows: torch.Tensor, labels: np.ndarray, queries: int) -> dict[str, float]:
    from oml.functional.knn import batched_knn
    from oml.functional.metrics import calc_retrieval_metrics

    everyone = torch.arange(len(rows))
    _, neighbours, truth = batched_knn(rows, everyone[:queries], everyone, 1000, labels_gt=torch.from_numpy(labels))
    values = calc_retrieval_metrics(
        neighbours, truth, cmc_top_k=(1, 10, 100, 1000), precision_top_k=(), map_top_k=(), verbose=False
    )
    return {f"cmc@{k}": value for k, value in values["cmc"].items()}


ENGINES = {
    engine.__name__: engine
    for engine in (faiss, products, eml, neighbours, pytorch_metric_learning, open_metric_learning)
}


def resident(field: str) -> float:
    """Return the MiB of this process: VmRSS now, VmHWM at its peak (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def measure(name: str, queries: int, threads: int, size: int, spread: float) -> None:
    """Print seconds, processor seconds, extra MiB and metrics of one engine."""
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(threads)
    rows, labels = embeddings_and_labels(size, spread)
    ENGINES[name](rows[:4096], labels[:4096], 256)  # load what is loaded at first use
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    started, used = time.perf_counter(), time.process_time()
    values = ENGINES[name](rows, labels, queries)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    extra = resident("VmHWM") - before
    print(seconds, used, extra, {key: round(float(value), 4) for key, value in values.items()}, sep="\t")


def main() -> None:
    """Run each engine several times and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--peers", nargs="*", default=["pytorch_metric_learning", "open_metric_learning"])
    parser.add_argument("--queries", type=int, default=N, help="number of images, from the first, that are queries")
    parser.add_argument("--size", type=int, default=512, help="size D of an embedding")
    parser.add_argument("--spread", type=float, default=2.2, help="distance of images from the centre of their class")
    parser.add_argument("--neighbours", action="store_true", help="time the search of `eml suspects` too")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if options.engine:
        measure(options.engine, options.queries, options.threads, options.size, options.spread)
        return
    packages = {"pytorch_metric_learning": "pytorch_metric_learning", "open_metric_learning": "oml"}
    own = ["faiss", "products", "eml", *(["neighbours"] if options.neighbours else [])]
    names = [*own, *(name for name in options.peers if find_spec(packages[name]))]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    for run in range(options.runs):
        for name in names if run == 0 else own:  # the peers take long: once
            command = [sys.executable, __file__, "--engine", name, "--queries", str(options.queries)]
            command += ["--threads", str(options.threads), "--size", str(options.size), "--spread", str(options.spread)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name}: {done.stderr.strip().splitlines()[-1]}")
                continue
            took, used, extra, values = done.stdout.strip().split("\n")[-1].split("\t")
            seconds[name].append(float(took))
            processor[name].append(float(used))
            print(
                f"{name:24} {float(took):7.1f} s  {float(used):7.1f} processor s  "
                f"{float(extra):6.0f} MiB more  {values}",
                flush=True,
            )
    for kind, times in (("time", seconds), ("processor time", processor)):
        for name in names:
            ratios = [own / floor for own, floor in zip(times[name], times["faiss"], strict=False)]
            if ratios:
                print(f"{name:24} {statistics.median(ratios):.2f} times the {kind} of faiss' flat search")


if __name__ == "__main__":
    main()
