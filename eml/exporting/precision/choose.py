"""int8 in several ways, of which the best by retrieval is kept: no way is the best one for all networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from eml.errors import ConfigError
from eml.exporting.precision.images import QuantizationImages
from eml.exporting.precision.int8 import quantize_by_input, quantize_by_ranges
from eml.exporting.precision.ranges import measure_ranges
from eml.exporting.proof.agreement import Agreement, compare_embeddings, largest_difference, shape_problem
from eml.exporting.proof.checks import signed
from eml.exporting.proof.limits import problems_of_agreement, problems_of_batches
from eml.exporting.proof.prove import OTHER_BATCHES
from eml.exporting.proof.record import ProofLimits, ProvedBatch, ProvedMetric
from eml.images.preprocess import Pixels, Preprocess
from eml.inference.exported.facts import InputKind
from eml.progress import Report

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
        agreement: Its embeddings compared with the model's.
        keeps_limits: Whether it keeps to the limits of the proof.
    """

    way: Int8Way
    path: Path
    agreement: Agreement
    keeps_limits: bool

    @property
    def metric(self) -> ProvedMetric:
        """MAP@R on the proof's images."""
        return self.agreement.metrics["map_at_r"]

    @property
    def cosine(self) -> float:
        """Mean cosine to the model's embeddings."""
        return float(self.agreement.cosine.mean())

    def line(self) -> str:
        """Return its figures in words."""
        metric = self.metric
        span = "" if metric.low is None or metric.high is None else f"; {signed(metric.low)} … {signed(metric.high)}"
        change = "no query changed" if metric.alike else f"{signed(metric.difference)}{span}"
        return f"{self.way.name}: MAP@R {metric.exported:.4f} ({change}), mean cosine {self.cosine:.4f}"


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
    source: Path,
    ways: Sequence[Int8Way],
    images: QuantizationImages,
    embed: Embed,
    report: Report,
    limits: ProofLimits | None = None,
) -> tuple[Path, str]:
    """Write a model in several ways, measure each on the proof's images, and return the best one.

    It is the one of the highest MAP@R among those that keep to the limits of the proof, or among all where none does.
    Of equal ones that one is kept whose embeddings are closest to the model's.

    Args:
        source: The file in float32; the others are written beside it.
        ways: The ways.
        images: The proof's images.
        embed: Runs a file.
        report: Takes the figures of each way as soon as it is measured, and which one is kept why.
        limits: Of the proof; None: the usual ones of int8.

    Returns:
        The file, and how it was made, with the figures of all ways.

    Raises:
        ConfigError: No way works for this network.
    """
    limits = ProofLimits.of("int8") if limits is None else limits
    measured, failed = list[MeasuredWay](), list[str]()
    for number, way in enumerate(ways):
        path = source.with_name(f"way_{number}{way.suffix}")
        try:
            way.write(source, path)
            result = _measure(way, path, images, embed, limits)
        except Exception as error:  # onnxruntime's quantisation raises what it likes
            lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
            result = lines[0][:200] if lines else type(error).__name__
        if isinstance(result, MeasuredWay):
            measured.append(result)
            report(f"int8 {result.line()}, on the proof's images")
        else:
            failed.append(f"{way.name}: {result}")
            report(f"int8 {failed[-1]}")
    if not measured:
        text = f"`precision` int8: no way works for this network ({'; '.join(failed)}); use float16"
        raise ConfigError(text, code="unsupported-by-backbone", parameter="precision")
    kept, why = _best(measured)
    figures = "; ".join([*(way.line() for way in measured), f"float32: MAP@R {kept.metric.reference:.4f}"])
    report(f"int8 keeps {kept.way.name}{why}")
    return kept.path, f"{kept.way.words} (on the proof's images {figures}{why})"


def _measure(
    way: Int8Way, path: Path, images: QuantizationImages, embed: Embed, limits: ProofLimits
) -> MeasuredWay | str:
    """Return a way with its figures, or why its embeddings cannot be compared."""
    embeddings = torch.from_numpy(embed(path, images.proof))
    if problem := shape_problem(images.reference, embeddings):
        return problem
    agreement = compare_embeddings(images.reference, embeddings, images.retrieval)
    batches = []
    for count in OTHER_BATCHES:
        alone = torch.from_numpy(embed(path, images.proof[:count]))
        cosine, difference = largest_difference(embeddings[:count], alone)
        batches.append(ProvedBatch(images=count, least_cosine=cosine, largest_difference=difference))
    problems = [*problems_of_agreement(agreement, limits, 0.0), *problems_of_batches(batches, limits, None)]
    return MeasuredWay(way, path, agreement, not problems)


def _best(measured: Sequence[MeasuredWay]) -> tuple[MeasuredWay, str]:
    """Return the best way, and why it is kept, in words that follow its name."""
    sound = [way for way in measured if way.keeps_limits]
    kept = max(sound or measured, key=lambda way: (way.metric.exported, way.cosine))
    if not sound:
        best = "" if len(measured) == 1 else ", whose MAP@R is best,"
        return kept, f"{best} though it does not keep to the limits of the proof"
    if len(sound) < len(measured):
        words = "the only one that keeps" if len(sound) == 1 else "whose MAP@R is best of those that keep"
        return kept, f", {words} to the limits of the proof"
    return kept, "" if len(measured) == 1 else ", whose MAP@R is best"
