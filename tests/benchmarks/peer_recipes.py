"""Documented recipes of open-metric-learning and pytorch-metric-learning and a plain one of timm; no eml here.

    python -m venv peer && peer/bin/pip install open-metric-learning omegaconf pytorch-metric-learning timm
    peer/bin/python tests/benchmarks/peer_recipes.py train RECIPE --images DIR --weights FILE --side 160 --seconds 300 \
        --out peer.npz
    python tests/benchmarks/peer_recipes.py measure peer.npz …

`train` trains mobilenetv2_100 for --seconds of processor time and embeds the images of the unseen classes: every second
one of the sorted names (with --group-by SEPARATOR, of the parts of the names before it). With --choose only the other
half is used: every third class of it is held out and embedded, the rest trains. `measure` runs where eml is installed
(open-metric-learning asks for an older numpy than eml) and prints one line of JSON per file. peers.py does it all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class Task:
    """The settings that all recipes share. files: of the training classes, labels: 0, 1, 2, …; share: of the time."""

    files: list[Path]
    labels: list[int]
    side: int
    flip: bool
    trunk: Any
    rate: float | None
    spent: Callable[[], bool]
    share: Callable[[], float]


# -- open-metric-learning ----------------------------------------------------------------------------------------------


def oml_readme(task: Task) -> Any:
    """Train by the README's image example: Adam 1e-4, triplet loss with margin 0.1, all triplets of a balanced batch.

    The batch is that of its CUB pipeline, 8 × 4: the example's 2 × 2 is for a few mock images. Augmentation:
    get_augs_torch, as in its other examples.
    """
    from oml.losses import TripletLossWithMiner
    from oml.miners import AllTripletsMiner
    from oml.transforms.images.torchvision import get_augs_torch
    from torch.optim import Adam

    criterion = TripletLossWithMiner(0.1, AllTripletsMiner())
    return _oml(
        task, get_augs_torch(task.side), criterion, lambda parameters: Adam(parameters, lr=task.rate or 1e-4), (8, 4)
    )


def oml_pipeline(task: Task) -> Any:
    """Train by the pipeline extractor_inshop: AdamW 1e-5, soft triplet loss, hard triplets, random crops down to .2.

    Batch 8 × 4 as above: its 30 × 4 × 5 categories is for GPUs.
    """
    from oml.losses import TripletLossWithMiner
    from oml.miners import HardTripletsMiner
    from oml.transforms.images.torchvision import get_augs_hypvit
    from torch.optim import AdamW

    criterion = TripletLossWithMiner(None, HardTripletsMiner())
    return _oml(
        task, get_augs_hypvit(task.side), criterion, lambda parameters: AdamW(parameters, lr=task.rate or 1e-5), (8, 4)
    )


def _oml(task: Task, augment: Any, criterion: Any, optimizer_for: Any, batch: tuple[int, int]) -> Any:
    import pandas as pd
    from oml.datasets import ImageLabeledDataset
    from oml.interfaces.models import IExtractor
    from oml.samplers import BalanceSampler
    from torch.utils.data import DataLoader

    class Extractor(IExtractor):  # type: ignore[misc]
        def __init__(self, trunk: Any) -> None:
            super().__init__()
            self.trunk = trunk

        def forward(self, photos: Any) -> Any:
            return self.trunk(photos)

        @property
        def feat_dim(self) -> int:
            return int(self.trunk.num_features)

    model = Extractor(task.trunk).train()
    frame = pd.DataFrame({"label": task.labels, "path": [str(file) for file in task.files], "split": "train"})
    data = ImageLabeledDataset(frame, transform=_without_flip(augment, task.flip))
    optimizer = optimizer_for(model.parameters())
    sampler = BalanceSampler(data.get_labels(), n_labels=batch[0], n_instances=batch[1])
    for step in _forever(lambda: DataLoader(data, batch_sampler=sampler)):
        loss = criterion(model(step["input_tensors"]), step["labels"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if task.spent():
            return model
    raise AssertionError


# -- pytorch-metric-learning -------------------------------------------------------------------------------------------


def pml_metric_loss(task: Task) -> Any:
    """Train by examples/notebooks/MetricLossOnly: trunk (Adam 1e-5) and linear embedder of size 64 (1e-4).

    Triplet loss with margin 0.1, MultiSimilarityMiner, four images per class, batch 32, random crops down to .16.
    """
    import torch
    from pytorch_metric_learning import losses, miners, samplers, trainers

    embedder = torch.nn.Linear(task.trunk.num_features, 64)
    adam = torch.optim.Adam
    trunk_optimizer = adam(task.trunk.parameters(), lr=task.rate or 1e-5, weight_decay=1e-4)
    embedder_optimizer = adam(embedder.parameters(), lr=10 * (task.rate or 1e-5), weight_decay=1e-4)
    trainer = trainers.MetricLossOnly(
        models={"trunk": task.trunk, "embedder": embedder},
        optimizers={"trunk_optimizer": trunk_optimizer, "embedder_optimizer": embedder_optimizer},
        batch_size=32,
        loss_funcs={"metric_loss": losses.TripletMarginLoss(margin=0.1)},
        mining_funcs={"tuple_miner": miners.MultiSimilarityMiner(epsilon=0.1)},
        dataset=ImageDataset(task.files, task.labels, _pml_augment(task)),
        sampler=samplers.MPerClassSampler(task.labels, m=4, length_before_new_iter=len(task.labels)),
        dataloader_num_workers=0,
        end_of_iteration_hook=lambda _: _stop(task),
    )
    try:
        trainer.train(num_epochs=1_000_000)
    except SpentError:
        return torch.nn.Sequential(task.trunk, embedder)
    raise AssertionError


def pml_arcface(task: Task) -> Any:
    """Train with ArcFaceLoss at its defaults (28.6 degrees, scale 64) and SGD 0.01 for its weights.

    The loss is as on the page about losses; network and batches are as in the notebook SubCenterArcFaceMNIST (shuffled,
    64, Adam), but with rate 1e-4: its 0.01 is for a network from scratch.
    """
    import torch
    from pytorch_metric_learning import losses
    from torch.utils.data import DataLoader

    data = ImageDataset(task.files, task.labels, _pml_augment(task))
    loss_function = losses.ArcFaceLoss(num_classes=len(set(task.labels)), embedding_size=task.trunk.num_features)
    loss_optimizer = torch.optim.SGD(loss_function.parameters(), lr=0.01)
    optimizer = torch.optim.Adam(task.trunk.parameters(), lr=task.rate or 1e-4)
    task.trunk.train()
    for photos, labels in _forever(lambda: DataLoader(data, batch_size=64, shuffle=True)):
        optimizer.zero_grad()
        loss_optimizer.zero_grad()
        loss = loss_function(task.trunk(photos), labels)
        loss.backward()
        optimizer.step()
        loss_optimizer.step()
        if task.spent():
            return task.trunk
    raise AssertionError


def _pml_augment(task: Task) -> Any:
    """Return the augmentation of the notebook MetricLossOnly."""
    from torchvision import transforms

    augment = transforms.Compose(
        [
            transforms.Resize(task.side),
            transforms.RandomResizedCrop(scale=(0.16, 1), ratio=(0.75, 1.33), size=task.side),
            transforms.RandomHorizontalFlip(0.5),
            transforms.ToTensor(),
            transforms.Normalize(mean=MEAN, std=STD),
        ]
    )
    return _without_flip(augment, task.flip)


class SpentError(Exception):
    """The processor time is used up; pytorch-metric-learning's trainers end only by epochs."""


def _stop(task: Task) -> None:
    if task.spent():
        raise SpentError


# -- timm --------------------------------------------------------------------------------------------------------------


def timm_finetune(task: Task) -> Any:
    """Fine-tune as a classifier, as timm's train.py does, and take the pooled features.

    AdamW 3e-4 with weight decay 0.05, its augmentation (random crops down to .08), label smoothing 0.1, batch 64,
    and the rate falling by a cosine over the time.
    """
    import timm.data
    import torch
    from torch.utils.data import DataLoader

    augment = timm.data.create_transform(
        task.side, is_training=True, hflip=0.5 if task.flip else 0.0, mean=MEAN, std=STD, interpolation="bicubic"
    )
    data = ImageDataset(task.files, task.labels, augment)
    classifier = torch.nn.Linear(task.trunk.num_features, len(set(task.labels)))
    rate = task.rate or 3e-4
    optimizer = torch.optim.AdamW([*task.trunk.parameters(), *classifier.parameters()], lr=rate, weight_decay=0.05)
    loss_function = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    task.trunk.train()
    for photos, labels in _forever(lambda: DataLoader(data, batch_size=64, shuffle=True, drop_last=len(data) > 64)):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * min(1.0, task.share()))) / 2
        optimizer.zero_grad()
        loss_function(classifier(task.trunk(photos)), labels).backward()
        optimizer.step()
        if task.spent():
            return task.trunk
    raise AssertionError


# -- the same for all --------------------------------------------------------------------------------------------------


class ImageDataset:
    """A map-style dataset of (tensor, label) that decodes at every access, as eml does."""

    def __init__(self, files: list[Path], labels: list[int], transform: Any) -> None:
        self.files, self.labels, self.transform = files, labels, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def none(task: Task) -> Any:
    """Return the untrained network."""
    return task.trunk


RECIPES = {
    recipe.__name__.replace("_", "-"): recipe
    for recipe in (oml_readme, oml_pipeline, pml_metric_loss, pml_arcface, timm_finetune, none)
}


def _forever(loader: Callable[[], Any]) -> Iterator[Any]:
    return itertools.chain.from_iterable(loader() for _ in itertools.count())


def _without_flip(augment: Any, flip: bool) -> Any:
    from torchvision import transforms

    kept = [step for step in augment.transforms if flip or not isinstance(step, transforms.RandomHorizontalFlip)]
    return transforms.Compose(kept)


def sides(images: Path, separator: str | None, choose: bool) -> list[tuple[list[Path], list[int]]]:
    """Return the images and labels 0, 1, 2, … that train, and those that are measured.

    By sorted name every second class (or group of classes) trains; to choose, a third of these is measured.
    """
    names = sorted(folder.name for folder in images.iterdir() if folder.is_dir())
    group_of = {name: name.partition(separator)[0] if separator else name for name in names}
    groups = sorted(set(group_of.values()))
    training, measured = groups[0::2], groups[1::2]
    if choose:
        training, measured = [group for i, group in enumerate(training) if i % 3 != 2], training[2::3]
    return [_files(images, [name for name in names if group_of[name] in side]) for side in (training, measured)]


def _files(images: Path, classes: list[str]) -> tuple[list[Path], list[int]]:
    pairs = [(file, label) for label, name in enumerate(classes) for file in sorted((images / name).iterdir())]
    return [file for file, _ in pairs], [label for _, label in pairs]


def embed(model: Any, files: list[Path], side: int) -> Any:
    """Return (N, D) embeddings of images squashed to the square, as eml's `fit: squash` does."""
    import torch
    from torchvision import transforms

    plain = transforms.Compose(
        [
            transforms.Resize((side, side), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(mean=MEAN, std=STD),
        ]
    )
    data = ImageDataset(files, [0] * len(files), plain)
    model.eval()
    with torch.inference_mode():
        parts = [
            model(torch.stack([data[index][0] for index in range(start, min(start + 64, len(files)))]))
            for start in range(0, len(files), 64)
        ]
    return torch.cat(parts).numpy()


def train(options: argparse.Namespace) -> None:
    """Train by the recipe and save the embeddings of the unseen classes, with labels, seconds and steps."""
    import timm
    import torch

    random.seed(options.seed)
    np.random.seed(options.seed)
    torch.manual_seed(options.seed)
    overlay = {"file": str(options.weights)}
    trunk = timm.create_model("mobilenetv2_100", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0)
    (files, labels), unseen = sides(options.images, options.group_by, options.choose)
    started, steps = time.process_time(), itertools.count(1)
    count = [0]

    def spent() -> bool:
        count[0] = next(steps)
        return time.process_time() - started >= options.seconds

    def share() -> float:
        return (time.process_time() - started) / max(1e-9, options.seconds)

    task = Task(files, labels, options.side, not options.no_flip, trunk, options.rate, spent, share)
    model = RECIPES[options.recipe](task)
    seconds = time.process_time() - started
    files, labels = unseen
    facts = {key: str(getattr(options, key)) for key in ("recipe", "seed", "side", "rate")}
    facts |= {"seconds": f"{seconds:.0f}", "steps": str(count[0])}
    embeddings = embed(model, files, options.side)
    np.savez(options.out, embeddings=embeddings, labels=np.array(labels), facts=json.dumps(facts))


def measure(options: argparse.Namespace) -> None:
    """Print leave-one-out retrieval by cosine, with the code that measures eml's own runs."""
    import torch

    from eml.retrieval.metrics.base import summarise
    from eml.retrieval.ranking import rank

    for file in options.files:
        with np.load(file) as data:
            values = summarise(rank(torch.from_numpy(data["embeddings"]), data["labels"].astype(np.int64))).values
            facts = json.loads(str(data["facts"]))
        print(json.dumps(facts | {key: round(values[key], 4) for key in ("recall_at_1", "map_at_r")}), flush=True)


def main() -> None:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.set_defaults(run=train)
    add = training.add_argument
    add("recipe", choices=RECIPES)
    add("--images", type=Path, required=True, help="folder with one folder of images per class")
    add("--group-by", metavar="SEPARATOR", help="split whole groups of classes: the part of their names before it")
    add("--weights", type=Path, required=True, help="mobilenetv2_100 ImageNet weights (safetensors)")
    add("--side", type=int, required=True, help="pixels")
    add("--seconds", type=float, default=0, help="processor time of the training; the last step is completed")
    add("--seed", type=int, default=0)
    add("--rate", type=float, help="learning rate of the network, in place of the recipe's own")
    add("--choose", action="store_true", help="measure on a third of the training classes, to choose settings by")
    add("--no-flip", action="store_true", help="omit the recipe's mirroring, as for characters")
    add("--out", type=Path, required=True, help="embeddings of the unseen classes (.npz)")
    measuring = commands.add_parser("measure")
    measuring.set_defaults(run=measure)
    measuring.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    sys.exit(main())
