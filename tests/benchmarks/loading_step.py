"""A training step that loads its images, against the same step on pixels in memory.

    python tests/benchmarks/loading_step.py --table photos/folds.csv [--backbone mobilenetv2_100 --side 128 --batch 32]

In turns: a step on the next batch of the table's images (from files, then from the raw cache; augmentation `standard`),
including loading, and a step on a batch that was loaded before. Prints medians and the median ratio of neighbouring
pairs. With --workers 1 another process loads while this one trains. The cache is filled in a temporary folder; its time
does not count. On a GPU: --backbone resnet50 --side 224 --batch 256 --precision bfloat16 --workers 8.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from eml.dataset.table import Table, read_table
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run


def new_run(options: argparse.Namespace, table: Table, folder: Path, cache: bool) -> Run:
    config = RunConfig.model_validate(
        {
            "output": folder / "run",
            "recipe": "none",
            "data": {
                "table": options.table,
                "fold": None,
                "workers": options.workers,
                "cache": {"format": "raw", "folder": folder / "cache"} if cache else None,
            },
            "image": {"size": options.side},
            "model": {"backbone": options.backbone, "weights": "none", "neck": {"type": "identity"}},
            "batch_size": options.batch,
            "precision": options.precision,
            "schedule": {"shape": "constant", "warmup_epochs": 0},
        }
    )
    run = Run(build_parts(config, table))
    run.batches.fill_caches(run.observe)
    return run


def endless(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in itertools.count(1):
        yield from run.batches.of_epoch(epoch, 0)


def seconds(run: Run, loaded: Iterator[tuple[Tensor, Tensor]] | tuple[Tensor, Tensor]) -> float:
    started = time.perf_counter()
    run.step(*(loaded if isinstance(loaded, tuple) else next(loaded)))
    if run.parts.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    table = read_table(options.table, check_files=True)
    print(f"{options.backbone}, {options.side} px, B={options.batch}, {options.workers} workers, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    print("| images from | step including loading, ms | step on ready pixels, ms | ratio |\n|---|---|---|---|")
    for name in ("files", "raw cache"):
        with tempfile.TemporaryDirectory() as folder:
            run = new_run(options, table, Path(folder), cache=name == "raw cache")
            batches = endless(run)
            ready = next(batches)
            for _ in range(3):
                run.step(*ready)
            pairs = [(seconds(run, batches), seconds(run, ready)) for _ in range(options.rounds)]
            ratio = median(loading / ready for loading, ready in pairs)
            loading, memory = (1000 * median(column) for column in zip(*pairs, strict=True))
            print(f"| {name} | {loading:.1f} | {memory:.1f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
