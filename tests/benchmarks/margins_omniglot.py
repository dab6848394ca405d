"""Train every margin with its defaults on omniglot with disjoint alphabets: a short training from scratch, three seeds.

    python tests/benchmarks/margins_omniglot.py --data omniglot/images [--margins arcface,cosface] [--seeds 3]

Half of the alphabets (every second by name) train, the others are measured leave-one-out. The network is the same for
all margins; loss and scale are the margin's own. Prints a Markdown table: R@1 and MAP@R, mean ± std over seeds.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.images.loading import normalise
from eml.images.preprocess import Preprocess
from eml.images.samplers import Classes
from eml.images.samplers.shuffle import Shuffle
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder, build_embedder
from eml.retrieval.metrics import summarise
from eml.retrieval.ranking import rank

PREPROCESS = Preprocess(size=40)
EPOCHS, BATCH, SIZE = 3, 64, 64


def read(folder: Path) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Return pixels (N, 3, 40, 40) uint8, and labels (N,) and alphabets (N,) as integers."""
    files = sorted(folder.glob("*/*.png"))
    pixels = np.stack([PREPROCESS(Image.open(file).convert("RGB")) for file in files])
    labels = np.unique([file.parent.name for file in files], return_inverse=True)[1]
    alphabets = np.unique([file.parent.name.split("__")[0] for file in files], return_inverse=True)[1]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), labels.astype(np.int64), alphabets


def measure(embedder: Embedder, pixels: Tensor, labels: np.ndarray) -> tuple[float, float]:
    """Return R@1 and MAP@R, leave-one-out."""
    embedder.eval()
    with torch.inference_mode():
        rows = torch.cat([embedder(normalise(part, PREPROCESS)) for part in pixels.split(256)])
    values = summarise(rank(rows, labels)).values
    return values["recall_at_1"], values["map_at_r"]


def train(margin: Margin, pixels: Tensor, labels: np.ndarray, seed: int) -> tuple[Embedder, float]:
    """Train and return the embedder and the last loss."""
    torch.manual_seed(seed)
    config = {
        "backbone": "test_resnet",
        "weights": "none",
        "neck": {"type": "linear", "size": SIZE, "batch_norm": False},
    }
    embedder = build_embedder(ModelConfig.model_validate(config), PREPROCESS.size).train()
    head = ClassHead(margin, int(labels.max()) + 1, SIZE).train()
    groups = [{"params": embedder.parameters(), "lr": 2e-3}, {"params": head.parameters(), "lr": 1e-2}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    order, classes = Shuffle(), Classes(labels)
    steps = EPOCHS * order.steps(classes, BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [2e-3, 1e-2], total_steps=steps, pct_start=0.1)
    targets = torch.from_numpy(labels)
    value = float("nan")
    for epoch in range(1, EPOCHS + 1):
        for rows in torch.from_numpy(order.epoch(classes, BATCH, seed, epoch)):
            terms = head(embedder(normalise(pixels[rows], PREPROCESS)), targets[rows])
            loss = CrossEntropy().per_sample(terms).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(embedder.parameters(), 5)
            optimizer.step()
            schedule.step()
            value = loss.item()
    return embedder, value


def main() -> None:
    """Train with each margin and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--margins", default=",".join(Margin.members()))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    pixels, labels, alphabets = read(options.data)
    known = alphabets % 2 == 0
    train_labels = np.unique(labels[known], return_inverse=True)[1].astype(np.int64)
    seen, unseen = pixels[torch.from_numpy(known)], pixels[torch.from_numpy(~known)]
    print(f"{len(seen)} images of {train_labels.max() + 1} characters train, {len(unseen)} are measured", flush=True)
    print("\n| margin | R@1 | MAP@R | last loss | seconds |\n|---|---|---|---|---|", flush=True)
    for name in ["untrained", *options.margins.split(",")]:
        measures, losses, started = [], [], time.perf_counter()
        for seed in range(options.seeds):
            if name == "untrained":
                torch.manual_seed(seed)
                config = {"backbone": "test_resnet", "weights": "none", "neck": {"type": "identity"}}
                embedder, loss = build_embedder(ModelConfig.model_validate(config), PREPROCESS.size), float("nan")
            else:
                margin = Margin.members()[name].model_validate({"type": name})
                embedder, loss = train(margin, seen, train_labels, seed)
            measures.append(measure(embedder, unseen, labels[~known]))
            losses.append(loss)
        shown = [f"{statistics.mean(v):.3f} ± {statistics.pstdev(v):.3f}" for v in zip(*measures, strict=True)]
        seconds = (time.perf_counter() - started) / options.seeds
        print(f"| {name} | {' | '.join(shown)} | {statistics.mean(losses):.3f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
