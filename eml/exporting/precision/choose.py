"""int8 in several ways, of which the better by retrieval is kept: no way is the best one for all networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize as unit_length

from eml.errors import ConfigError
from eml.evaluation.evaluate import rank_gallery
from eml.evaluation.retrieval_set import RetrievalSet
from eml.exporting.precision.images import QuantizationImages
from eml.exporting.precision.int8 import quantize_by_input, quantize_by_ranges
from eml.exporting.precision.ranges import measure_ranges
from eml.images.preprocess import Pixels, Preprocess
from eml.inference.exported.facts import InputKind
from eml.progress import Report
from eml.retrieval.metrics import Summary, summarise
from eml.retrieval.statistics import paired

METRIC = "map_at_r"
BATCH = 16

Embed = Callable[[Path, Pixels], NDArray[np.float32]]
"""(file, pixels (N, H, W, 3) uint8) → embeddings (N, D)."""
Write = Callable[[Path, Path], None]
"""(file in float32, file to write)."""


@dataclass(frozen=True)
class Int8Way:
    """A way to int8: its name, what it does in words, what writes the file, and the file's suffix."""

    name: str
    words: str
    write: Write
    suffix: str = ".onnx"


@dataclass(frozen=True)
class MeasuredWay:
    """A way with its figures on the proof's images.

    Attributes:
        way: The way.
        path: The file.
        cosine: Mean cosine to the model's embeddings.
        summary: Its retrieval.
    """

    way: Int8Way
    path: Path
    cosine: float
    summary: Summary

    @property
    def map_at_r(self) -> float:
        """MAP@R on the proof's images."""
        return float(self.summary.values[METRIC])

    def line(self) -> str:
        """Return its figures in words."""
        return f"{self.way.name}: MAP@R {self.map_at_r:.4f}, mean cosine {self.cosine:.4f}"


def ways_of(
    source: Path, images: QuantizationImages, input: InputKind, preprocess: Preprocess, *, dynamic: bool
) -> list[Int8Way]:
    """Return the ways to int8 of an ONNX file, whose activations are measured on the calibration images.

    Args:
        source: The file in float32.
        images: The calibration images.
        input: What its graph takes.
        preprocess: The preprocessing of its images.
        dynamic: Whether steps that are computed from each input are a way.
    """
    ranges = measure_ranges(source, images.inputs(input, preprocess), source.parent)
    extremes, means = ranges.extremes(), ranges.means()
    static = "static int8, weights per channel, steps of activations from"
    ways = [
        Int8Way("static", f"{static} their extremes over", lambda a, b: quantize_by_ranges(a, b, extremes)),
        Int8Way("static, clipped", f"{static} the mean extremes of", lambda a, b: quantize_by_ranges(a, b, means)),
    ]
    ways = [Int8Way(way.name, f"{way.words} {images.calibrated_on}", way.write) for way in ways]
    if dynamic:
        words = "dynamic int8, steps of activations from each input itself"
        ways.append(Int8Way("dynamic", words, quantize_by_input))
    return ways


def choose_way(
    source: Path, ways: Sequence[Int8Way], images: QuantizationImages, embed: Embed, report: Report
) -> tuple[Path, str]:
    """Write a model in several ways, measure each on the proof's images, and return the best one.

    Of ways that the data cannot tell apart by MAP@R, that one is kept whose embeddings are closest to the model's.

    Args:
        source: The file in float32; the others are written beside it.
        ways: The ways.
        images: The proof's images.
        embed: Runs a file.
        report: Takes the figures of each way, and which one is kept why.

    Returns:
        The file, and how it was made, with the figures of all ways.

    Raises:
        ConfigError: No way works for this network.
    """
    reference = unit_length(images.reference.double(), dim=1)
    before = _summary(reference, images.retrieval)
    measured, failed = list[MeasuredWay](), list[str]()
    for number, way in enumerate(ways):
        path = source.with_name(f"way_{number}{way.suffix}")
        try:
            way.write(source, path)
            embeddings = torch.from_numpy(embed(path, images.proof)).double()
        except Exception as error:  # onnxruntime's quantisation raises what it likes
            lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
            reason = lines[0] if lines else type(error).__name__
            failed.append(f"{way.name}: {reason[:200]}")
            continue
        if not bool(torch.isfinite(embeddings).all()):
            failed.append(f"{way.name}: embeddings that are not finite")
            continue
        cosine = float((unit_length(embeddings, dim=1) * reference).sum(1).mean())
        measured.append(MeasuredWay(way, path, cosine, _summary(unit_length(embeddings, dim=1), images.retrieval)))
    for line in failed:
        report(f"int8 {line}")
    if not measured:
        text = f"`precision` int8: no way works for this network ({'; '.join(failed)}); use float16"
        raise ConfigError(text, code="unsupported-by-backbone", parameter="precision")
    kept, why = _best(measured, images.retrieval)
    figures = "; ".join([*(way.line() for way in measured), f"float32: MAP@R {float(before.values[METRIC]):.4f}"])
    report(f"int8 on the proof's images: {figures}")
    report(f"int8 keeps {kept.way.name}{why}")
    return kept.path, f"{kept.way.words} (on the proof's images {figures}{why})"


def _best(measured: list[MeasuredWay], retrieval: RetrievalSet) -> tuple[MeasuredWay, str]:
    """Return the best way, and why it is kept, in words that follow its name."""
    first = max(measured, key=lambda way: (way.map_at_r, way.cosine))
    classes = retrieval.labels[retrieval.queries]
    alike = [way for way in measured if way is first or not _is_better(first, way, classes)]
    kept = max(alike, key=lambda way: way.cosine)
    if len(measured) == 1:
        return kept, ""
    if len(alike) == 1:
        return kept, ", whose MAP@R is better"
    rest = " and ".join(way.way.name for way in alike if way is not kept)
    return kept, f", which the data cannot tell from {rest} by MAP@R, since its embeddings are closest to float32"


def _is_better(first: MeasuredWay, second: MeasuredWay, classes: NDArray[np.int64]) -> bool:
    """Return whether the interval of the difference in MAP@R lies above zero."""
    before, after = ({METRIC: way.summary.per_query[METRIC]} for way in (second, first))
    difference = paired(before, after, classes)[METRIC]
    return not difference.alike and difference.interval.low > 0


def _summary(embeddings: Tensor, retrieval: RetrievalSet) -> Summary:
    return summarise(rank_gallery(embeddings, retrieval))
