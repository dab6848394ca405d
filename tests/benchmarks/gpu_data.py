"""Parts of gpu.py about what surrounds a step: how fast images are fed to the device, and how long retrieval takes."""

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from gpu_kit import MIB, Part, in_turns, peak_memory, seconds_of, synchronise
from PIL import Image
from torch import Tensor

from eml.images.augment import Augmenter
from eml.images.cache import fill
from eml.images.crop import Crop
from eml.images.loading import EpochBatches, ImageDataset, batches
from eml.images.preprocess import Preprocess
from eml.images.source import FileSource
from eml.retrieval.arrays import Integers
from eml.retrieval.device import computing_on
from eml.retrieval.metrics import Summary, all_metrics, summarise
from eml.retrieval.ranking import rank
from eml.threads import cores
from eml.training.caches import training_settings
from eml.training.config import CacheConfig

SIDE, BATCH = 224, 128
TILE = 8192  # rows of a tile of the floor of evaluation


def draw_photos(folder: Path, count: int, width: int, height: int) -> list[str]:
    """Draw smooth noise with grain, saved as JPEG of quality 90: they decode like photographs of their size."""
    random, names = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((width, height))
        grain = random.normal(0, 8, (height, width, 1))
        pixels = (np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)
        names.append(f"{number}.jpg")
        Image.fromarray(pixels).save(folder / names[-1], quality=90)
    return names


def feed(images: ImageDataset, count: int, workers: int, device: torch.device, seconds: float) -> float:
    """Return the images per second that reach the device, from the first batch on."""
    rows = np.random.default_rng(0).integers(0, len(images), (max(2, count // BATCH), min(BATCH, count)))
    arrived, started = 0, 0.0
    for number, (pixels, _) in enumerate(batches(images, EpochBatches(rows, 1), workers)):
        pixels.to(device, non_blocking=True).float()
        if number == 0:  # the start of the workers is not counted
            started = time.perf_counter()
            continue
        arrived += len(pixels)
        if time.perf_counter() - started > seconds and number > 1:
            break
    synchronise(device)
    return arrived / (time.perf_counter() - started)


def loader(part: Part) -> None:
    """Measure how many training images a second reach the device, from files and from the raw cache."""
    preprocess, augmenter = Preprocess(size=64 if part.dry else SIDE), Augmenter(crop=Crop(0.3, 1.2), flip=0.5)
    workers = [0, 1] if part.dry else sorted({0, max(1, cores() // 2), cores()})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = FileSource(folder, draw_photos(folder, 8 if part.dry else 256, 500, 375))
        part.note(f"Drawn JPEGs of 500 × 375, {preprocess.size} px, crop and flip, {cores()} cores.")
        filled = fill(folder / "cache", training_settings(CacheConfig(format="raw"), preprocess, augmenter), files)
        for label, source in (("files", files), ("raw cache", filled.source)):
            images = ImageDataset(source, preprocess, augmenter=augmenter)
            for number in workers:

                def measure(label: str = label, images: ImageDataset = images, number: int = number) -> None:
                    count = 16 if part.dry else 200 * BATCH
                    rate = feed(images, count, number, part.device, 0.1 if part.dry else 4)
                    part.row(f"{label}, {number} workers", images_per_s=round(rate, 1))

                part.attempt(f"{label}, {number} workers", measure, needs=0 if part.dry else 8)


def drawn_set(count: int, size: int, per_class: int) -> tuple[Tensor, Integers]:
    """Draw embeddings of classes around random centres, as far from them as leaves some queries wrong."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(count) // per_class
    centres = torch.randn(int(labels.max()) + 1, size, generator=random)
    embeddings = torch.empty(count, size)
    for rows in torch.arange(count).split(65_536):
        embeddings[rows] = centres[labels[rows]] + 1.8 * torch.randn(len(rows), size, generator=random)
    return embeddings, labels.numpy()


def evaluation(embeddings: Tensor, labels: Integers, queries: int, device: torch.device) -> Summary:
    """Rank the whole set for its first queries on the device and summarise all metrics."""
    own = np.arange(queries)
    with computing_on(device):
        return summarise(rank(embeddings[:queries], labels[:queries], embeddings, labels, itself=own), all_metrics())


def floor(embeddings: Tensor, queries: int, device: torch.device) -> None:
    """Compute only the similarities that an evaluation compares, in float32."""
    gallery = embeddings.to(device)
    out = torch.empty(TILE, TILE, device=device)
    for rows in torch.arange(queries).split(TILE):
        for columns in gallery.split(TILE):
            part = gallery[: len(rows)]
            torch.mm(part, columns.T, out=out[: len(part), : len(columns)])


def measure_evaluation(part: Part, count: int, size: int, queries: Sequence[int]) -> None:
    """Record the time of an evaluation of so many images, of as many of its queries as there is time for."""
    embeddings, labels = drawn_set(count, size, per_class=5)
    seconds, used = 0.0, 0
    for number in queries:  # each a longer try than the one before
        if used and seconds * number / used > part.left() - 5:
            part.note(f"{count:,} × {size}: {used:,} of the queries are timed; all would take "
                      f"{seconds * count / used:,.0f} s, more than the time that is left.")  # fmt: skip
            break
        memory: list[float | None] = []
        used = number
        measure = partial(evaluation, embeddings, labels, number, part.device)
        seconds = seconds_of(
            lambda measure=measure, memory=memory: memory.append(peak_memory(measure, part.device)), part.device
        )
    base = seconds_of(partial(floor, embeddings, min(used, 16 * TILE), part.device), part.device)
    base *= used / min(used, 16 * TILE)
    part.row(
        f"{count:,} × {size}, {used:,} queries",
        seconds=round(seconds, 3),
        all_queries_seconds=round(seconds * count / used, 3),
        floor_seconds=round(base, 3),
        over_floor=round(seconds / base, 2),
        embeddings_MiB=round(embeddings.nbytes / MIB),
        extra_memory_MiB=memory[-1],
    )


def ranks_by_query(embeddings: Tensor, labels: Integers, device: torch.device) -> Integers:
    """Return the ranks of all positives, query after query."""
    rankings = list(rank(embeddings, labels, device=device))
    queries = np.concatenate([ranking.queries[ranking.query_of_rank] for ranking in rankings])
    return np.concatenate([ranking.ranks for ranking in rankings])[np.argsort(queries, kind="stable")]


def compare_with_cpu(part: Part, count: int, size: int) -> None:
    """Record whether an evaluation on the device has the figures of the CPU, and how much faster it is."""
    embeddings, labels = drawn_set(count, size, per_class=5)
    summaries: dict[str, Summary] = {}
    devices = {"device": part.device, "cpu": torch.device("cpu")}
    steps = {
        name: lambda name=name, device=device: summaries.update({name: evaluation(embeddings, labels, count, device)})
        for name, device in devices.items()
    }
    times = in_turns(steps, part.device, rounds=2)
    values = [summaries[name].values for name in devices]
    ranks = [ranks_by_query(embeddings, labels, device) for device in devices.values()]
    part.row(
        f"{count:,} × {size}, the device and the CPU",
        largest_difference=max(abs(values[0][key] - values[1][key]) for key in values[0]),
        ranks_that_differ=int((ranks[0] != ranks[1]).sum()),
        ranks=len(ranks[0]),
        device_seconds=round(median(times["device"]), 3),
        CPU_seconds=round(median(times["cpu"]), 3),
    )


def evaluate(part: Part) -> None:
    """Measure the ranking and metrics of an evaluation."""
    if part.dry:
        part.attempt("300 × 16", partial(compare_with_cpu, part, 300, 16))
        part.attempt("600 × 16", partial(measure_evaluation, part, 600, 16, (100, 600)))
        return
    part.attempt("8,192 × 512", partial(compare_with_cpu, part, 8192, 512))
    part.attempt("60,502 × 512", partial(measure_evaluation, part, 60_502, 512, (60_502,)), needs=10)
    queries = (20_000, 100_000, 1_000_000)
    part.attempt("1,000,000 × 512", partial(measure_evaluation, part, 1_000_000, 512, queries), needs=20)
