"""The grocery160 training written directly with pytorch-metric-learning, to compare eml with. It does not import eml.

Classes sorted by name: even indices train, odd ones test (never seen). Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

try:
    from pytorch_metric_learning import distances, losses
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN
except ImportError:
    sys.exit("This benchmark needs pytorch-metric-learning: pip install pytorch-metric-learning")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def options() -> argparse.Namespace:
    """Read the command line; the defaults are the recipe of configs/grocery160.yaml and ArcFaceLoss's own margin."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with one folder of pictures per class")
    add("--weights", type=Path, required=True, help="mobilenetv2_100 ImageNet weights (safetensors)")
    add("--epochs", type=int, default=5, help="passes over the training pictures")
    add("--seed", type=int, default=0, help="of weights, order and augmentation")
    add("--image-size", type=int, default=128, help="side of the square that pictures are squashed to, pixels")
    add("--batch-size", type=int, default=32, help="pictures per step")
    add("--margin", type=float, default=28.6, help="ArcFaceLoss margin, degrees")
    add("--scale", type=float, default=64, help="ArcFaceLoss scale")
    add("--lr", type=float, default=1.2e-4, help="learning rate of the backbone")
    add("--loss-lr", type=float, default=1e-2, help="learning rate of the class weights")
    add("--weight-decay", type=float, default=0.05, help="of the backbone's weights")
    add("--warmup-epochs", type=float, default=0.1, help="linear warm-up before the cosine")
    add("--freeze-stages", type=int, default=2, help="freeze the stem and this many stages; -1 freezes nothing")
    add("--train-batchnorm", action="store_true", help="let BatchNorm use the batch's statistics while training")
    add("--workers", type=int, default=0, help="processes that read pictures")
    return parser.parse_args()


class Pictures(Dataset[tuple[Tensor, int]]):
    """Squashed pictures, decoded once and kept as uint8, then augmented and normalised per draw."""

    def __init__(self, files: list[tuple[Path, int]], size: int, transform: A.Compose) -> None:
        self.pictures = [self.squash(path, size) for path, _ in files]
        self.labels = [label for _, label in files]
        self.transform = transform

    @staticmethod
    def squash(path: Path, size: int) -> np.ndarray:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
        return np.asarray(upright.resize((size, size), Image.Resampling.BICUBIC))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.transform(image=self.pictures[index])["image"]
        return torch.from_numpy(pixels).permute(2, 0, 1), self.labels[index]


def class_files(root: Path, parity: int) -> list[tuple[Path, int]]:
    """List the pictures of every second class (by sorted name), labelled 0, 1, 2, …"""
    names = sorted(folder.name for folder in root.iterdir() if folder.is_dir())[parity::2]
    if len(names) < 2:
        sys.exit(f"{root} must hold one folder per class (the grocery160 'images' folder holds 81).")
    return [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    ]


def transforms(size: int, seed: int) -> tuple[A.Compose, A.Compose]:
    """Build the training augmentation and the plain normalisation for evaluation."""
    normalise = A.Normalize(mean=MEAN, std=STD)
    augment = [
        A.RandomResizedCrop((size, size), scale=(0.6, 1.0), ratio=(1 / 1.2, 1.2), interpolation=cv2.INTER_CUBIC),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), (-0.02, 0.02), p=0.8),
    ]
    return A.Compose([*augment, normalise], seed=seed), A.Compose([normalise])


def set_train_mode(model: nn.Module, frozen: list[nn.Module], train_batchnorm: bool) -> None:
    """Put the model in train mode, but the frozen stages, and BatchNorm unless asked, in eval mode."""
    model.train()
    for module in frozen:
        module.eval()
    if not train_batchnorm:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def optimizer_for(model: nn.Module, loss: nn.Module, args: argparse.Namespace) -> torch.optim.Optimizer:
    """AdamW: weight decay on the backbone's matrices only, and the class weights at their own learning rate."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "lr": args.lr, "weight_decay": args.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "lr": args.lr, "weight_decay": 0.0},
            {"params": list(loss.parameters()), "lr": args.loss_lr, "weight_decay": 0.0},
        ]
    )


def train(model: nn.Module, loss: nn.Module, loader: DataLoader[tuple[Tensor, int]], args: argparse.Namespace) -> None:
    """Run the epochs: AdamW, linear warm-up, then cosine to zero, per step."""
    frozen = [model.conv_stem, model.bn1, *model.blocks[: args.freeze_stages]] if args.freeze_stages >= 0 else []
    for module in frozen:
        module.requires_grad_(False)
    optimizer = optimizer_for(model, loss, args)
    total, warmup = args.epochs * len(loader), max(1, round(args.warmup_epochs * len(loader)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * min(1.0, step / total)))
    )
    set_train_mode(model, frozen, args.train_batchnorm)
    for epoch in range(args.epochs):
        for pictures, labels in loader:
            value = loss(model(pictures.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{args.epochs}: last loss {value.item():.3f}", file=sys.stderr)


@torch.inference_mode()
def evaluate(model: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> dict[str, float]:
    """Leave-one-out retrieval by cosine over all pictures of the unseen classes."""
    model.eval()
    batches = [(model(x.contiguous(memory_format=torch.channels_last)), y) for x, y in loader]
    embeddings, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r", "r_precision"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=CustomKNN(distances.CosineSimilarity()),
    )
    found = calculator.get_accuracy(embeddings, labels)
    return {
        "R@1": round(found["precision_at_1"], 4),
        "MAP@R": round(found["mean_average_precision_at_r"], 4),
        "R-Precision": round(found["r_precision"], 4),
    }


def main() -> None:
    """Train on the even classes, measure on the odd ones, print one JSON line."""
    args = options()
    started = time.perf_counter()
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    cv2.setNumThreads(0)
    augment, plain = transforms(args.image_size, args.seed)
    train_set = Pictures(class_files(args.data, 0), args.image_size, augment)
    test_set = Pictures(class_files(args.data, 1), args.image_size, plain)
    loading = {"batch_size": args.batch_size, "num_workers": args.workers}
    model = timm.create_model(
        "mobilenetv2_100", pretrained=True, pretrained_cfg_overlay={"file": str(args.weights)}, num_classes=0
    ).to(memory_format=torch.channels_last)
    loss = losses.ArcFaceLoss(
        num_classes=len(set(train_set.labels)),
        embedding_size=model.num_features,
        margin=args.margin,
        scale=args.scale,
    )
    train(model, loss, DataLoader(train_set, shuffle=True, drop_last=True, **loading), args)
    trained = time.perf_counter()
    metrics = evaluate(model, DataLoader(test_set, **loading))
    result = {
        **metrics,
        "seconds": round(time.perf_counter() - started, 1),
        "training_seconds": round(trained - started, 1),
        "options": {key: value for key, value in vars(args).items() if key not in {"data", "weights"}},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
