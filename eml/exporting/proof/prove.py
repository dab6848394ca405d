"""Prove that an exported model embeds as its checkpoint does, on real images."""

import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import Interrupted, message_lines
from eml.exporting.proof.agreement import Agreement, compare_embeddings, largest_difference, shape_problem
from eml.exporting.proof.images import ProofImages
from eml.exporting.proof.limits import (
    caution_of_batches,
    cautions_of,
    most_difference,
    problems_of_agreement,
    problems_of_batches,
)
from eml.exporting.proof.record import Proof, ProofLimits, ProvedBatch
from eml.exporting.proof.timing import SECONDS, repeated, time_both
from eml.images.loading import InOrder, batches
from eml.images.preprocess import Preprocess, differences
from eml.inference.images import table_images
from eml.inference.model import Model
from eml.progress import Progress, no_progress
from eml.versions import eml_version, version_of

BATCH = 16
OTHER_BATCHES = (1, 2, 7)
FROM_FILES = 4
TINTS = (1.0, 0.7, 0.4)
"""Factors of red, green and blue, in turn, with which grey images are tinted, so that channels cannot be exchanged."""
PACKAGES = ("torch", "timm", "onnx", "onnxruntime", "onnxscript", "openvino", "numpy")


class EmbedsPixels(Protocol):
    """A model that was exported and loaded again."""

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Return embeddings (B, D) on the CPU of preprocessed images (B, 3, H, W) uint8."""


@runtime_checkable
class ReadsImages(Protocol):
    """A model that reads image files itself."""

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of its images, as its file says."""

    def embed(self, images: Any) -> NDArray[np.float32]:
        """Return embeddings (N, D) of images in files."""


@dataclass(frozen=True)
class ProofRun:
    """A proof, and what its page shows beyond it.

    Attributes:
        proof: What is kept.
        images: The images.
        agreement: The embeddings compared; None where they cannot be.
    """

    proof: Proof
    images: ProofImages
    agreement: Agreement | None


@dataclass(frozen=True)
class _Embedded:
    """Both models' embeddings (N, D), and what is needed to look closer.

    Attributes:
        reference: Of the checkpoint.
        exported: Of the exported model; None where it cannot be run.
        pixels: (n, 3, H, W) of the first images.
        is_grey: Whether all images are grey.
        error: Why the exported model cannot be run.
    """

    reference: Tensor
    exported: Tensor | None
    pixels: Tensor
    is_grey: bool
    error: str


def prove(
    reference: Model,
    candidate: EmbedsPixels,
    images: ProofImages,
    limits: ProofLimits,
    *,
    precision: str = "float32",
    timed: EmbedsPixels | None = None,
    seconds: float = SECONDS,
    graph: str = "",
    progress: Progress = no_progress,
) -> ProofRun:
    """Compare an exported model with the model that it was made from.

    Both embed the same pixels of the images. Then a few of them again in batches of other sizes, read from their files
    by each model, and tinted where all are grey. What the candidate raises is a problem of the proof, not an error.

    Args:
        reference: The model as `eml.load` returns it, on a CPU, in float32.
        candidate: The exported model, loaded from its file.
        images: The images.
        limits: What has to hold.
        precision: Of the exported model.
        timed: The exported model on one thread; None: it is not timed, nor is it for no seconds.
        seconds: Time for the measurement of each batch size.
        graph: The digest of the exported graph.
        progress: Reports the images that are embedded.

    Raises:
        DataError: An image cannot be read.
    """
    embedded = _embed_both(reference, candidate, images, progress)
    problems: list[str] = []
    cautions: list[str] = []
    if isinstance(candidate, ReadsImages) and (words := differences(candidate.preprocess, reference.preprocess)):
        problems.append(f"the file describes another preprocessing than the checkpoint: {'; '.join(words)}")
    agreement, rounding = None, _rounding(reference, embedded)
    tried = _other_batches(candidate, embedded, _usable(embedded))
    if embedded.exported is None:
        problems.append(f"it cannot be run: {embedded.error}")
    elif problem := shape_problem(embedded.reference, embedded.exported):
        problems.append(problem)
    else:
        agreement = compare_embeddings(embedded.reference, embedded.exported, images.retrieval())
        problems += problems_of_agreement(agreement, limits, rounding)
        cautions += cautions_of(agreement, limits, len(images), images.classes)
    most = most_difference(limits, rounding, agreement.typical_distance) if agreement else None
    if embedded.exported is not None or any(not batch.error for batch in tried):
        problems += problems_of_batches(tried, limits, most)
    cautions += caution_of_batches(tried)
    probes: dict[str, float | None] = {}
    if agreement is not None:
        probes = _probe(reference, candidate, images, embedded, limits, problems, cautions)
    if images.trained_on:
        cautions.append("the model was trained on these images, so a loss on new images may be larger")
    speed = []
    if timed is not None and agreement is not None:
        speed = time_both(reference.embed_pixels, timed.embed_pixels, embedded.pixels, seconds=seconds)
    table = images.table
    proof = Proof(
        eml_version=eml_version(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        passed=not problems,
        problems=problems,
        cautions=cautions,
        precision=precision,
        limits=limits,
        images=len(images),
        classes=images.classes,
        chosen_from=images.chosen_from,
        table=None if table.path is None else table.path.name,
        table_digest=table.digest,
        graph=graph,
        rounding=rounding,
        most_difference=most,
        batches=tried,
        speed=speed,
        machine=_machine(),
        versions=_versions(),
        **({} if agreement is None else _facts(agreement)),
        **probes,
    )
    return ProofRun(proof, images, agreement)


def _facts(agreement: Agreement) -> dict[str, object]:
    return {
        "least_cosine": float(agreement.cosine.min()),
        "mean_cosine": float(agreement.cosine.mean()),
        "largest_difference": float(agreement.difference.max()),
        "typical_distance": agreement.typical_distance,
        "shortest": float(agreement.lengths.min()),
        "longest": float(agreement.lengths.max()),
        "top_10_agreement": float(agreement.top_10.mean()) if len(agreement.top_10) else None,
        **agreement.metrics,
    }


def _embed_both(reference: Model, candidate: EmbedsPixels, images: ProofImages, progress: Progress) -> _Embedded:
    """Embed the images by both models, the candidate in batches of a size that it takes."""
    dataset = table_images(images.table, images.frame, reference.preprocess)
    before: list[Tensor] = []
    after: list[Tensor] = []
    first: list[Tensor] = []
    is_grey, error, size = True, "", BATCH
    with progress("proving", len(images)) as advance:
        for pixels, _ in batches(dataset, InOrder(len(images), BATCH, rank=0, world=1), 0):
            before.append(reference.embed_pixels(pixels))
            if not first:
                first.append(pixels)
                size, error = _first_size(candidate, pixels)
            if size:
                whole = repeated(pixels, -(-len(pixels) // size) * size)  # a last, smaller batch is tried elsewhere
                parts = [_attempt(candidate, part) for part in whole.split(size)]
                embeddings = [part for part, _ in parts if part is not None]
                if reasons := [reason for _, reason in parts if reason]:
                    size, error = 0, reasons[0]
                else:
                    after.append(torch.cat(embeddings)[: len(pixels)])
            is_grey = is_grey and bool((pixels == pixels[:, :1]).all())
            advance(len(pixels))
    exported = None
    if size:
        try:
            exported = torch.cat(after)
        except RuntimeError as reason:
            error = f"its embeddings have several shapes: {reason}"
    return _Embedded(torch.cat(before), exported, first[0], is_grey, error)


def _first_size(candidate: EmbedsPixels, pixels: Tensor) -> tuple[int, str]:
    """Return the first batch size that the candidate takes, 0 where it takes none, and why it takes no usual batch."""
    usual = ""
    for size in (BATCH, *OTHER_BATCHES):
        embeddings, error = _attempt(candidate, repeated(pixels, size))
        if embeddings is not None:
            return size, usual
        usual = usual or error
    return 0, usual


def _attempt(candidate: EmbedsPixels, pixels: Tensor) -> tuple[Tensor | None, str]:
    """Return the embeddings of pixels, or None and why there are none."""
    embeddings, error = _caught(lambda: candidate.embed_pixels(pixels), len(pixels))
    return embeddings, error.removeprefix(f"{getattr(candidate, 'path', '')}: ")  # which is temporary


def _caught(embed: Callable[[], Tensor], count: int) -> tuple[Tensor | None, str]:
    """Return embeddings (count, D), or None and why there are none."""
    try:
        embeddings = embed().float()
    except Interrupted:
        raise
    except Exception as error:  # a runtime raises what it likes
        return None, message_lines(error)[0][:300]
    if embeddings.ndim != 2 or len(embeddings) != count:
        noun = "image gives" if count == 1 else "images give"
        return None, f"{count} {noun} an array of shape {tuple(embeddings.shape)}"
    return embeddings, ""


def _usable(embedded: _Embedded) -> Tensor | None:
    """Return the exported embeddings of the first images that others can be compared with; None without such."""
    exported = embedded.exported
    return None if exported is None or shape_problem(embedded.reference, exported) else exported


def _other_batches(candidate: EmbedsPixels, embedded: _Embedded, exported: Tensor | None) -> list[ProvedBatch]:
    tried = []
    for count in OTHER_BATCHES:
        embeddings, error = _attempt(candidate, repeated(embedded.pixels, count))
        if embeddings is None:
            tried.append(ProvedBatch(images=count, error=error))
        elif exported is not None:
            own = exported[: len(embedded.pixels)][torch.arange(count) % len(embedded.pixels)]
            problem = shape_problem(own, embeddings)
            cosine, difference = (None, None) if problem else largest_difference(own, embeddings)
            tried.append(ProvedBatch(images=count, least_cosine=cosine, largest_difference=difference, error=problem))
    if embedded.error and embedded.exported is not None:
        tried.append(ProvedBatch(images=BATCH, error=embedded.error))
    return tried


def _rounding(reference: Model, embedded: _Embedded) -> float:
    """Return the reference's own largest difference between its embeddings one by one and in a batch."""
    alone = torch.cat([reference.embed_pixels(pixels) for pixels in embedded.pixels.split(1)])
    return largest_difference(embedded.reference[: len(alone)], alone)[1]


def _probe(
    reference: Model,
    candidate: EmbedsPixels,
    images: ProofImages,
    embedded: _Embedded,
    limits: ProofLimits,
    problems: list[str],
    cautions: list[str],
) -> dict[str, float | None]:
    """Compare both models on tinted images and on files, add what is wrong, and return the least cosines."""
    probes: dict[str, float | None] = {}
    least = limits.least_cosine or 0.0
    if embedded.is_grey:
        pixels = tinted(embedded.pixels)
        cosine, error = _probe_cosine(reference.embed_pixels(pixels), lambda: candidate.embed_pixels(pixels))
        probes["tinted_cosine"] = cosine
        if limits.least_cosine is None:
            cautions.append("all images are grey, so exchanged colours would hardly show")
        elif cosine is None or cosine < least:
            problems.append(
                f"all images are grey, and where they are tinted {_below(cosine, error, least)}: the channels or their "
                "normalisation are not the checkpoint's"
            )
    if (
        isinstance(candidate, ReadsImages) and "x_1" not in images.frame
    ):  # a file stands for the whole image, a row for its box
        paths = [images.table.root / name for name in images.frame["file_name"].iloc[:FROM_FILES]]
        own = torch.from_numpy(reference.embed(paths))
        cosine, error = _probe_cosine(own, lambda: torch.from_numpy(candidate.embed(paths)))
        probes["from_files"] = cosine
        if cosine is None or cosine < least:
            problems.append(f"read from image files, {_below(cosine, error, least)}: they are prepared otherwise")
    return probes


def _below(cosine: float | None, error: str, least: float) -> str:
    return error if cosine is None else f"the least cosine is {cosine:.6f}, below {least:g}"


def _probe_cosine(own: Tensor, embed: Callable[[], Tensor]) -> tuple[float | None, str]:
    """Return the least cosine of embeddings to the reference's, or None and why there is none."""
    embeddings, error = _caught(embed, len(own))
    if embeddings is None or (error := shape_problem(own, embeddings)):
        return None, error
    return largest_difference(own, embeddings)[0], ""


def tinted(pixels: Tensor) -> Tensor:
    """Return grey pixels (B, 3, H, W) uint8 with a tint, another one for each of three images in turn."""
    factors = torch.tensor([TINTS[number:] + TINTS[:number] for number in range(3)])[torch.arange(len(pixels)) % 3]
    return (pixels * factors[:, :, None, None]).round().to(torch.uint8)


def _machine() -> str:
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {platform.system()}, one thread"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        if (version := version_of(package)) is not None:
            versions[package] = version
    return versions
