"""Processor time that commands need before they can work, beyond torch and pandas, and what of it is not eml's.

    python tests/benchmarks/start.py [--rounds 5]

This process imports torch and pandas; each import is then measured in a fork of its own, in turns. A command on stored
embeddings imports the first five; one with a network also `eml.models.embedder` with timm; training the last.
"""

import argparse
import importlib
import os
import time
from statistics import median

import pandas  # noqa: F401 - so that the forks have it
import torch  # noqa: F401

STORED = [
    "eml.cli.app",
    "eml.evaluation.runs",
    "eml.training.out_of_fold",
    "eml.indexing.index",
    "eml.reports.suspects",
]
OTHERS = ["torch._dynamo", "torchvision", "timm", "sklearn.cluster"]


def seconds(module: str) -> float:
    """Return the processor time of an import in a fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        started = time.process_time()
        importlib.import_module(module)
        os.write(writing, repr(time.process_time() - started).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        used = float(answer.read())
    os.waitpid(child, 0)
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    modules = [*STORED, *OTHERS, "eml.training.fit"]
    used: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(options.rounds):
        for module in modules:
            used[module].append(seconds(module))
    print(f"torch and pandas {time.process_time():.2f} s; beyond them, medians of {options.rounds}:")
    for module, values in used.items():
        kind = "" if module.startswith("eml") else "  (not eml)"
        print(f"{module:26} {median(values):.2f} s{kind}")


if __name__ == "__main__":
    main()
