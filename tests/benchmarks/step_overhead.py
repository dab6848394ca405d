"""eml's training step against a bare timm + PyTorch loop on the same ready tensors, in turns.

    python tests/benchmarks/step_overhead.py [--backbone NAME --side 128 --batch 32 --classes 100 --rounds 60]

Both use the same network, precision, loss (ArcFace), optimizer and learning rates. The bare loop is written by hand:
forward, class logits, cross-entropy, backward, AdamW. Prints the medians of both and of the ratio of neighbouring
pairs. It also runs on a GPU, in bf16 with --precision bfloat16, with and without --compile.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import timm
import torch
from bare_arcface import bare_arcface
from PIL import Image

from eml.dataset.table import Table
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run


def eml_run(options: argparse.Namespace, folder: Path) -> Run:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "one.png")
    rows = [(f"c{index % options.classes}", "one.png") for index in range(2 * options.classes + options.batch)]
    table = Table(pd.DataFrame(rows, columns=["label", "file_name"]), folder)
    config = RunConfig.model_validate(
        {
            "output": folder / "run",
            "recipe": "none",
            "data": {"table": "none.csv", "fold": None},
            "image": {"size": options.side},
            "model": {"backbone": options.backbone, "weights": "none", "neck": {"type": "identity"}},
            "batch_size": options.batch,
            "precision": options.precision,
            "compile": options.compile,
            "head": {"mode": {"type": "dense"}},
            "schedule": {"shape": "constant", "warmup_epochs": 0},
        }
    )
    run = Run(build_parts(config, table))
    run.parts.embedder.train()
    run.parts.head.train()
    return run


def bare_loop(options: argparse.Namespace, run: Run):
    device = run.parts.device
    model = timm.create_model(options.backbone, num_classes=0).to(device, memory_format=torch.channels_last).train()
    weights = torch.nn.Parameter(torch.randn(options.classes, run.parts.embedder.size, device=device))
    rates = run.parts.config.optimizer
    groups = [
        {"params": [weight for weight in model.parameters() if weight.ndim > 1], "lr": rates.lr.backbone},
        {
            "params": [weight for weight in model.parameters() if weight.ndim < 2],
            "lr": rates.lr.backbone,
            "weight_decay": 0,
        },
        {"params": [weights], "lr": rates.lr.class_weights, "weight_decay": 0},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=rates.weight_decay)
    mean = torch.tensor(run.parts.preprocess.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(run.parts.preprocess.std, device=device).view(1, 3, 1, 1)
    network = torch.compile(model) if options.compile else model
    precision = run.parts.gradient_cache.precision

    def step(pixels: torch.Tensor, labels: torch.Tensor) -> float:
        images = pixels.to(device).to(torch.float32, memory_format=torch.channels_last).div_(255).sub_(mean).div_(std)
        with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
            embeddings = network(images)
        loss = bare_arcface(embeddings, weights, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = eml_run(options, Path(folder))
        bare = bare_loop(options, run)
        random = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (options.batch, 3, options.side, options.side), dtype=torch.uint8, generator=random)
        rows = torch.arange(options.batch)
        labels = run.parts.labels[rows.to(run.parts.labels.device)].to(run.parts.device)
        times: dict[str, list[float]] = {"eml": [], "bare": []}
        for turn in range(options.rounds + 5):
            for name in ("eml", "bare") if turn % 2 else ("bare", "eml"):
                started = time.perf_counter()
                run.step(pixels, rows) if name == "eml" else bare(pixels, labels)
                if turn >= 5:
                    times[name].append(time.perf_counter() - started)
    ratio = median(ours / bare for ours, bare in zip(times["eml"], times["bare"], strict=True))
    facts = f"{options.backbone}, {options.side} px, B={options.batch}, C={options.classes}, {options.precision}"
    print(f"{facts}{', compiled' if options.compile else ''}, {run.parts.device}, {torch.get_num_threads()} threads")
    rates = ", ".join(
        f"{name} {median(seconds) * 1000:.1f} ms per step ({options.batch / median(seconds):.0f} images/s)"
        for name, seconds in times.items()
    )
    print(f"{rates}; eml / bare, median of {options.rounds} pairs: {ratio:.3f}")


if __name__ == "__main__":
    main()
