"""Prove that an exported text tower embeds as the one that it was made from."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from eml.errors import EmlError
from eml.exporting.proof.limits import UNIT, most_difference
from eml.exporting.proof.record import LEAST_COSINE, ProofLimits
from eml.exporting.texts.samples import AWKWARD, spread_labels
from eml.inference.exported.text_facts import TextProof
from eml.inference.model import Model

Embeds = Callable[[Sequence[str]], NDArray[np.float32]]
BATCH, OTHER_BATCHES = 16, (1, 2, 7)
LOOSE = 0.02  # the difference of a cosine of .9998, between batches where a lower least cosine was set


def prove_texts(model: Model, embed: Embeds, labels: Sequence[str], limits: ProofLimits) -> TextProof:
    """Compare an exported text tower with the model that it was made from.

    Cosines alone would pass a wrong tower whose texts are nearly alike, so differences are judged against the
    reference's own rounding too.

    Args:
        model: The model as `eml.load` returns it, on a CPU, in float32.
        embed: Embeds texts by the exported tower.
        labels: The names of the model's classes.
        limits: What has to hold.
    """
    texts = [*AWKWARD, *spread_labels(list(labels))]
    before = model.embed_text(texts, batch_size=BATCH)
    usable = np.isfinite(before.sum(1))  # a mean over the tokens of an empty text has none in some networks
    figures = {"labels": int(usable[len(AWKWARD) :].sum()), "awkward": int(usable[: len(AWKWARD)].sum())}
    least = limits.least_cosine or LEAST_COSINE
    before, texts = before[usable], [text for text, own in zip(texts, usable, strict=True) if own]
    try:
        after = np.concatenate([embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])
        others = [(count, embed(texts[:count])) for count in OTHER_BATCHES]
    except EmlError as error:
        return TextProof(passed=False, limit=least, problems=(f"it cannot be run: {error}",), **figures)
    if after.shape != before.shape:
        text = f"its embeddings have the shape {after.shape} and not {before.shape}"
        return TextProof(passed=False, limit=least, problems=(text,), **figures)
    if len(broken := np.flatnonzero(~np.isfinite(after).all(1))):
        text = f"its embedding of {_short(texts[broken[0]])} is NaN or infinite"
        return TextProof(passed=False, limit=least, problems=(text,), **figures)
    cosine = (before.astype(np.float64) * after).sum(1)
    difference = np.linalg.norm(before.astype(np.float64) - after, axis=1)
    alone = model.embed_text(texts[:BATCH], batch_size=1)
    rounding = float(np.linalg.norm(alone - before[:BATCH], axis=1).max())
    most = most_difference(limits, rounding, float(np.median(pdist(before))))
    problems = _problems(texts, cosine, difference, least, most)
    lengths = np.linalg.norm(after, axis=1)
    if np.abs(lengths - 1).max() > UNIT:
        problems.append(f"its embeddings are not of unit length but {lengths.min():.4g} to {lengths.max():.4g}")
    for count, embeddings in others:
        own = after[:count]
        if embeddings.shape != own.shape or np.linalg.norm(embeddings - own, axis=1).max() > (most or LOOSE):
            problems.append(f"a text's embedding depends on the texts beside it: in a batch of {count} it is another")
            break
    return TextProof(
        passed=not problems,
        limit=least,
        problems=tuple(problems),
        least_cosine=float(cosine.min()),
        largest_difference=float(difference.max()),
        **figures,
    )


def _problems(
    texts: list[str],
    cosine: NDArray[np.float64],
    difference: NDArray[np.float64],
    least: float,
    most: float | None,
) -> list[str]:
    worst = int(difference.argmax())
    if cosine.min() < least:
        below = int((cosine < least).sum())
        return [
            f"the least cosine between a text's embeddings by both models is {cosine.min():.6f}, below {least:g}; "
            f"{below:,} of {len(texts):,} texts are below it, such as {_short(texts[int(cosine.argmin())])}"
        ]
    if most is not None and difference[worst] > most:
        return [
            f"the embedding of {_short(texts[worst])} moves by {difference[worst]:.2g}, and rounding explains "
            f"{most:.2g} at most"
        ]
    return []


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
