"""Ways to compress embeddings, each measured on a set and timed."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from eml.devices import one_thread
from eml.errors import ConfigError
from eml.evaluation.comparison import differences_of, verdict_on
from eml.evaluation.evaluate import Evaluation, Ranker, rank_gallery
from eml.models.compression import BITS, Compression, CompressionFacts, Storage, binary_codes, int8_codes, projection_of
from eml.progress import Progress, no_progress
from eml.retrieval.arrays import Integers
from eml.retrieval.metrics import Summary, summarise
from eml.retrieval.pca import fit_pca
from eml.retrieval.ranking import Ranking, rank
from eml.retrieval.similarity import UnitRows
from eml.retrieval.statistics import Difference, Interval, as_pair, intervals_of_summary

METRIC = "map_at_r"
SIZES = 4  # powers of 2 that are measured by default
SMALLEST = 16
SHORTLIST, SHARE_LISTED, FEWEST_LISTED = 100, 20, 10
"""Nearest by bits that are compared again: 100, but at most a 20th of the gallery where that is over 10."""
RERANKED = "-reranked"
STORED: tuple[Storage, ...] = ("float16", "int8", "binary")
"""How projected embeddings may be stored. float32 would double the bytes of float16 for the same order."""
TIMED_IMAGES, TIMED_QUERIES = 100_000, 15
TIMED_VALUES = 16_000_000  # of the gallery that a search is timed on: 64 MB in float32


@dataclass(frozen=True)
class EmbeddingChoice:
    """A way to store embeddings.

    Attributes:
        compression: Makes the embeddings.
        reranked: Whether the nearest by bits are compared again by exact cosines.
    """

    compression: Compression
    reranked: bool = False

    @property
    def name(self) -> str:
        """The name in tables, by which it is kept."""
        return self.compression.facts.name + (RERANKED if self.reranked else "")

    @property
    def bytes_per_image(self) -> int:
        """The bytes that are searched for each image."""
        return self.compression.bytes_per_image

    @property
    def bytes_beside(self) -> int:
        """The bytes for each image that lie beside them: the float16 numbers of the images compared again."""
        return self.compression.size * BITS["float16"] // 8 if self.reranked else 0


@dataclass(frozen=True)
class MeasuredChoice:
    """A way to store embeddings, measured.

    Attributes:
        choice: The way.
        value: MAP@R.
        interval: Its interval over classes.
        difference: To the embeddings as they are, over the same queries.
        recall_at_1: R@1.
        milliseconds: For a query alone among 100,000 images, by comparing it with all of them on one thread.
    """

    choice: EmbeddingChoice
    value: float
    interval: Interval
    difference: Difference
    recall_at_1: float
    milliseconds: float

    def facts(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        compression = self.choice.compression
        return {
            "name": self.choice.name,
            "projection": compression.facts.projection,
            "storage": compression.facts.storage,
            "size": compression.size,
            "bytes_per_image": self.choice.bytes_per_image,
            "bytes_beside": self.choice.bytes_beside,
            "map_at_r": self.value,
            "interval": as_pair(self.interval),
            "difference": self.difference.value,
            "difference_interval": as_pair(self.difference.interval),
            "verdict": verdict_on(self.difference),
            "recall_at_1": self.recall_at_1,
            "ms_per_query": self.milliseconds,
        }


def build_choices(fit: Tensor, source: str, sizes: Sequence[int] = ()) -> list[EmbeddingChoice]:
    """Return the ways to measure: the embeddings as they are first, then the larger before the smaller ones.

    Args:
        fit: (N, D) embeddings that means and components are learnt from.
        source: The table that they are of.
        sizes: Embedding sizes to project to; by default the powers of 2 up to D/2, the four largest.

    Raises:
        ConfigError: A size is not from 1 to D.
    """
    network_size = fit.shape[1]
    if wrong := [size for size in sizes if not 1 <= size <= network_size]:
        text = f"`sizes` must be from 1 to {network_size}, the embedding size of the checkpoint, got {wrong[0]}"
        raise ConfigError(text, code="out-of-range", parameter="sizes")
    pca = fit_pca(fit)
    learnt: dict[str, Any] = {"learnt_from": source, "images": len(fit), "network_size": network_size}
    mean = pca.mean.float()
    plain = CompressionFacts(
        name="float32", projection="none", storage="float32", network_size=network_size, size=network_size
    )
    choices = [EmbeddingChoice(Compression(plain.model_copy(update={"name": name, "storage": name}))) for name in BITS]
    bits = CompressionFacts(name="binary", projection="none", storage="binary", size=network_size, **learnt)
    choices[-1] = EmbeddingChoice(Compression(bits, mean))
    choices.append(EmbeddingChoice(choices[-1].compression, reranked=True))
    for size in sorted(set(sizes) or _default_sizes(network_size), reverse=True):
        update = {"name": f"truncation-{size}-float16", "projection": "truncation", "size": size, "storage": "float16"}
        facts = plain.model_copy(update=update)
        choices.append(EmbeddingChoice(Compression(facts)))
        if size > pca.size:  # of so few images no more components can be learnt
            continue
        for projection, whiten in (("pca", False), ("whitening", True)):
            own_mean, matrix = projection_of(type(pca)(pca.mean, pca.components, pca.variances, whiten).truncated(size))
            stored = STORED if projection == "pca" else STORED[:2]  # whitening changes no sign
            for storage in stored:
                facts = CompressionFacts(
                    name=f"{projection}-{size}-{storage}", projection=projection, storage=storage, size=size, **learnt
                )
                choices.append(EmbeddingChoice(Compression(facts, own_mean, matrix)))
            bits = facts.model_copy(update={"name": f"{projection}-{size}-binary", "storage": "binary"})
            choices.append(EmbeddingChoice(Compression(bits, own_mean, matrix), reranked=True))
    return choices


def _default_sizes(size: int) -> set[int]:
    powers = [2**power for power in range(20, 0, -1) if SMALLEST <= 2**power <= size / 2]
    return set(powers[:SIZES])


def measure_choices(
    evaluation: Evaluation, choices: Sequence[EmbeddingChoice], *, progress: Progress = no_progress
) -> list[MeasuredChoice]:
    """Measure every way to store embeddings on a set.

    Args:
        evaluation: The model on the set, with the embeddings as they are.
        choices: The ways to measure.
        progress: Counts the ways.
    """
    unit = UnitRows(evaluation.embeddings, "image")[:].float()
    retrieval = evaluation.retrieval
    classes = retrieval.labels[retrieval.queries]
    measured = []
    with progress("measuring", len(choices)) as advance:
        for choice in choices:
            embeddings, ranker = _embedded(choice, unit)
            summary: Summary = summarise(rank_gallery(embeddings, retrieval, ranker))
            measured.append(
                MeasuredChoice(
                    choice,
                    summary.values[METRIC],
                    intervals_of_summary(summary, classes)[METRIC],
                    differences_of(evaluation.summary, summary, classes)[METRIC],
                    summary.values["recall_at_1"],
                    _milliseconds(choice, unit),
                )
            )
            advance(1)
    return measured


def smallest(measured: Sequence[MeasuredChoice], most_loss: float) -> MeasuredChoice:
    """Return the way with the fewest bytes that surely loses at most so much MAP@R, by the interval's lower end.

    One that needs exact vectors beside the bits is none that a checkpoint can keep.
    """
    able = [
        way
        for way in measured
        if not way.choice.reranked and (way.difference.alike or way.difference.interval.low >= -most_loss)
    ]
    able += [way for way in measured if way.choice.name == "float32"]  # which loses nothing
    return min(able, key=lambda way: (way.choice.bytes_per_image, -way.value))


def _embedded(choice: EmbeddingChoice, unit: Tensor) -> tuple[Tensor, Ranker]:
    """Return the embeddings (N, D) of a choice, and how they are ranked."""
    bits = choice.compression.apply(unit)
    if not choice.reranked:
        return bits, rank
    exact = choice.compression.project(unit).half().float()
    return torch.cat([bits, exact], 1), rank_twice


def rank_twice(
    queries: Tensor, query_labels: Any, gallery: Tensor, gallery_labels: Any, **options: Any
) -> Iterator[Ranking]:
    """Rank by the bits, the first half of the numbers; the nearest of them by the exact cosine of the second half."""
    size = gallery.shape[1] // 2
    itself = options["itself"]

    step = max(1, TIMED_VALUES // max(1, len(gallery)))

    def raise_nearest(batch: Integers) -> sparse.csr_array:
        rows = torch.from_numpy(batch)
        cosines = queries[rows, :size] @ gallery[:, :size].T
        own = np.flatnonzero(itself[batch] >= 0)
        cosines[own, itself[batch][own]] = -torch.inf
        nearest = cosines.topk(_shortlist(len(gallery)), dim=1)
        own_numbers = torch.nn.functional.normalize(queries[rows, size:]).unsqueeze(1)
        exact = (torch.nn.functional.normalize(gallery[nearest.indices, size:], dim=2) * own_numbers).sum(2)
        raised = 4 + exact - nearest.values  # above all that are not compared again
        raised[torch.isinf(raised)] = 0
        row = np.repeat(np.arange(len(batch)), nearest.indices.shape[1])
        places = (row, nearest.indices.numpy().ravel())
        return sparse.csr_array((raised.numpy().ravel(), places), shape=(len(batch), len(gallery)))

    def added(batch: Integers) -> sparse.csr_array:
        parts = [raise_nearest(batch[first : first + step]) for first in range(0, len(batch), step)]
        return sparse.csr_array(sparse.vstack(parts, format="csr"))

    return rank(queries[:, :size], query_labels, gallery[:, :size], gallery_labels, added=added, **options)


def _shortlist(gallery: int) -> int:
    """Return how many of the nearest by bits are compared again."""
    return min(gallery, SHORTLIST, max(FEWEST_LISTED, gallery // SHARE_LISTED))


def _milliseconds(choice: EmbeddingChoice, unit: Tensor) -> float:
    """Return the time of a search for 10 images in 100,000 by comparing one query with all of them, on one thread.

    The shortest of several, since other work on the machine only adds to it.
    """
    compression = choice.compression
    count = max(1000, min(TIMED_IMAGES, TIMED_VALUES // compression.size))
    projected = compression.project(unit)
    gallery = projected[torch.arange(count) % len(projected)]
    search = _searches(gallery, compression.facts.storage)
    exact = gallery.half() if choice.reranked else None
    times = []
    with one_thread():
        for number in range(TIMED_QUERIES):
            query = projected[number % len(projected)]
            started = time.perf_counter()
            nearest = search(query, SHORTLIST if choice.reranked else 10)
            if exact is not None:
                (exact[nearest].float() @ query).topk(10)
            times.append(time.perf_counter() - started)
    return min(times) * 1000 * TIMED_IMAGES / count


def _searches(gallery: Tensor, storage: Storage) -> Callable[[Tensor, int], Tensor]:
    """Return a function query (D,), k → k indices, for a gallery (G, D) stored as small as that.

    The numbers of float16 and int8 are turned into float32 some rows at a time; bits are counted.
    """
    if storage == "binary":
        codes = binary_codes(gallery).numpy()

        def search_bits(query: Tensor, k: int) -> Tensor:
            different = np.bitwise_count(codes ^ binary_codes(query.unsqueeze(0)).numpy()).sum(1, dtype=np.int32)
            return torch.from_numpy(np.argpartition(different, k)[:k])

        return search_bits
    codes_of: dict[Storage, Callable[[Tensor], Tensor]] = {
        "float32": lambda rows: rows,
        "float16": lambda rows: rows.half(),
        "int8": int8_codes,
    }
    stored = codes_of[storage](gallery)
    scales = 1 / torch.linalg.vector_norm(stored.float(), dim=1)

    def search(query: Tensor, k: int) -> Tensor:
        cosines = torch.cat([part.float() @ query for part in stored.split(4096)]) * scales
        nearest: Tensor = cosines.topk(k).indices
        return nearest

    return search


def unbeaten(measured: Sequence[MeasuredChoice]) -> list[MeasuredChoice]:
    """Return the ways that no other one of as few bytes equals in MAP@R, the embeddings as they are first.

    Those that compare again are held against each other alone, since they need more bytes beside.
    """
    kept = [way for way in measured if way.choice.name == "float32"]
    for reranked in (False, True):
        best = -1.0
        ways = [way for way in measured if way.choice.reranked == reranked]
        front = []
        for way in sorted(ways, key=lambda way: (way.choice.bytes_per_image, -way.value)):
            if way.value > best:
                front.append(way)
                best = way.value
        kept += [way for way in reversed(front) if way not in kept]
    return kept
