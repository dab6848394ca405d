"""The verdict on a proof: what has to hold, and what the images cannot show."""

from collections.abc import Iterator

from eml.exporting.proof.agreement import Agreement
from eml.exporting.proof.record import LEAST_COSINE, ProofLimits, ProvedBatch, ProvedMetric

UNIT = 1e-3
"""How far the length of an embedding may be from 1."""
FAITHFUL = 1e-4
"""Length of the largest difference of two unit embeddings that a float32 export may have, where rounding explains less.

Exports of networks of timm differ by 2e-7 to 3e-6. A trained MobileNetV2 of which one number of one weight is doubled
differs by 4e-4 or more, and in 9 of 20 cases its least cosine is above .9999 (tests/benchmarks/export_damage.py).
"""
ROUNDED = 1e-5
"""Such a difference is rounding's, however alike the images are."""
ROUNDINGS = 30
"""Times the reference's own rounding, measured on these images, that a float32 export may differ by."""
OF_DISTANCE = 0.01
"""Share of the typical distance of two images that an image may move by: what a cosine of .9999 allows for images at
right angles."""
FEW_IMAGES, FEW_CLASSES = 50, 20
ALIKE = 0.1
"""Typical distance of two images, a cosine of .995, below which they are nearly alike."""
SAME_IN_BATCHES = 0.99
"""Least cosine between an image's embeddings in batches of two sizes, for a model of fewer bits."""
NEAR_CHANCE = 3.0
"""Times chance, up to which MAP@R may be chance: of random embeddings it reached 2.4 times."""


def most_difference(limits: ProofLimits, rounding: float, typical_distance: float) -> float | None:
    """Return by how much unit embeddings of a float32 export may differ; None: the least cosine alone decides.

    Args:
        limits: Those of the proof. A least cosine below the usual one allows more than rounding.
        rounding: The reference's own largest difference between batches of other sizes.
        typical_distance: Of two different images.
    """
    if limits.least_cosine is None or limits.least_cosine < LEAST_COSINE:
        return None
    return max(ROUNDED, ROUNDINGS * rounding, min(FAITHFUL, OF_DISTANCE * typical_distance))


def problems_of_agreement(agreement: Agreement, limits: ProofLimits, rounding: float) -> Iterator[str]:
    """Yield why the embeddings of an exported model are not those of its checkpoint, a sentence each."""
    least, largest = float(agreement.cosine.min()), float(agreement.difference.max())
    most = most_difference(limits, rounding, agreement.typical_distance)
    if limits.least_cosine is not None and least < limits.least_cosine:
        below = int((agreement.cosine < limits.least_cosine).sum())
        yield (
            f"the least cosine between an image's embeddings by both models is {least:.6f}, below "
            f"{limits.least_cosine:g}; {below:,} of {len(agreement.cosine):,} images are below it"
        )
    elif most is not None and largest > most:
        yield (
            f"an image's embedding moves by {largest:.2g}, and rounding explains {most:.2g} at most: the cosine is "
            f"{least:.6f}, but some part of the graph computes something else than the network. A `least_cosine` below "
            f"{LEAST_COSINE:g} accepts it"
        )
    low, high = float(agreement.lengths.min()), float(agreement.lengths.max())
    if max(1 - low, high - 1) > UNIT:
        yield (
            f"the embeddings are not of unit length but {low:.4g} to {high:.4g}, so dot products of them are no cosines"
        )
    yield from _loss_problems(agreement.metrics["map_at_r"], limits)


def _loss_problems(metric: ProvedMetric, limits: ProofLimits) -> Iterator[str]:
    change = f"MAP@R {metric.reference:.4f} → {metric.exported:.4f}"
    if -metric.difference > limits.most_loss:
        yield f"{change} loses {-metric.difference:.4f}, more than {limits.most_loss:g}"
    elif limits.least_cosine is None and not metric.alike and (metric.low is None or -metric.low > limits.most_loss):
        interval = "no interval" if metric.low is None else f"95 % interval {metric.low:+.4f} to {metric.high:+.4f}"
        yield (
            f"{change}, {interval}: these images do not show that the model loses no more than {limits.most_loss:g}. "
            "Prove it on more images (`prove_images`), or allow more (`most_loss`)"
        )


def problems_of_batches(batches: list[ProvedBatch], limits: ProofLimits, most: float | None) -> Iterator[str]:
    """Yield why a model is not usable with batches of any size.

    Args:
        batches: The sizes that were tried.
        limits: Those of the proof.
        most: By how much unit embeddings may differ; None: the cosine alone decides.
    """
    if broken := [batch for batch in batches if batch.least_cosine is None]:
        sizes = ", ".join(str(batch.images) for batch in broken)
        yield f"it takes no batches of {sizes} images: {broken[0].error}"
    least = SAME_IN_BATCHES if limits.least_cosine is None else limits.least_cosine
    for batch in batches:
        if batch.least_cosine is None or batch.largest_difference is None:
            continue
        if batch.least_cosine < least or (most is not None and batch.largest_difference > most):
            yield (
                f"an image's embedding depends on the images beside it: in a batch of {batch.images} its cosine to "
                f"that of the same image among others is {batch.least_cosine:.6f}"
            )
            return


def caution_of_batches(batches: list[ProvedBatch]) -> Iterator[str]:
    """Yield that embeddings depend a little on the batch, as where the range of the activations is measured in it."""
    cosines = [batch.least_cosine for batch in batches if batch.least_cosine is not None]
    if cosines and min(cosines) < LEAST_COSINE:
        yield (
            f"an image's embedding depends a little on the images beside it: in batches of other sizes its cosine to "
            f"itself is {min(cosines):.4f} or more"
        )


def cautions_of(agreement: Agreement, limits: ProofLimits, images: int, classes: int) -> Iterator[str]:
    """Yield what the images of a proof cannot show, a sentence each."""
    if images < FEW_IMAGES:
        yield f"{images:,} images show little; {FEW_IMAGES} or more would"
    if classes < FEW_CLASSES:
        yield f"the interval rests on {classes} classes, so it is only a hint"
    metric, distance = agreement.metrics["map_at_r"], agreement.typical_distance
    if distance < ALIKE:
        cosine = 1 - distance**2 / 2
        judged = "differences are judged against that distance" if limits.least_cosine is not None else "as it is"
        yield (
            f"the checkpoint's embeddings of different images are nearly alike (typical cosine {cosine:.6f}), so a "
            f"high cosine between both models says little; {judged}"
        )
    if metric.reference < NEAR_CHANCE * metric.chance:
        yield (
            f"the checkpoint finds hardly more than chance on these images (MAP@R {metric.reference:.4f}, chance "
            f"{metric.chance:.4f}), so they cannot show a loss of retrieval"
        )
    elif min(metric.reference, metric.exported) > 1 - 1e-9:
        yield "the images are so easy that both models answer every query right, so a small loss does not show"
