"""Prove that an exported text tower embeds as the one that it was made from."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eml.errors import EmlError
from eml.exporting.texts.samples import AWKWARD, spread_labels
from eml.inference.exported.text_facts import TextProof
from eml.inference.model import Model

Embeds = Callable[[Sequence[str]], NDArray[np.float32]]
BATCH, OTHER_BATCHES = 16, (1, 2, 7)
UNIT = 1e-3  # how far the length of an embedding may be from 1
ROUNDED, ROUNDINGS = 1e-5, 30
"""A difference that rounding explains, and how many times the reference's own rounding it may be."""


def prove_texts(model: Model, embed: Embeds, labels: Sequence[str], *, least_cosine: float) -> TextProof:
    """Compare an exported text tower with the model that it was made from.

    Cosines alone would pass a wrong tower whose texts are nearly alike, so differences are judged against the
    reference's own rounding too.

    Args:
        model: The model as `eml.load` returns it, on a CPU, in float32.
        embed: Embeds texts by the exported tower.
        labels: The names of the model's classes.
        least_cosine: What the cosine of both embeddings of a text has to be at least.
    """
    texts = [*AWKWARD, *spread_labels(list(labels))]
    before = model.embed_text(texts, batch_size=BATCH)
    usable = np.isfinite(before).all(1)  # a mean over the tokens of an empty text has none in some networks
    figures = {"labels": int(usable[len(AWKWARD) :].sum()), "awkward": int(usable[: len(AWKWARD)].sum())}
    before, texts = before[usable], [text for text, own in zip(texts, usable, strict=True) if own]
    try:
        after = np.concatenate([embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])
        others = [(count, embed(texts[:count])) for count in OTHER_BATCHES]
    except EmlError as error:
        return TextProof(passed=False, problems=(f"it cannot be run: {error}",), **figures)
    if after.shape != before.shape:
        text = f"its embeddings have the shape {after.shape} and not {before.shape}"
        return TextProof(passed=False, problems=(text,), **figures)
    if len(broken := np.flatnonzero(~np.isfinite(after).all(1))):
        text = f"its embedding of {_short(texts[broken[0]])} is NaN or infinite"
        return TextProof(passed=False, problems=(text,), **figures)
    cosine = (before.astype(np.float64) * after).sum(1)
    difference = np.linalg.norm(before.astype(np.float64) - after, axis=1)
    alone = model.embed_text(texts[:BATCH], batch_size=1)
    most = max(ROUNDED, ROUNDINGS * float(np.linalg.norm(alone - before[:BATCH], axis=1).max()))
    problems = _problems(texts, cosine, difference, least_cosine, most)
    lengths = np.linalg.norm(after, axis=1)
    if np.abs(lengths - 1).max() > UNIT:
        problems.append(f"its embeddings are not of unit length but {lengths.min():.4g} to {lengths.max():.4g}")
    for count, embeddings in others:
        own = after[:count]
        if embeddings.shape != own.shape or np.linalg.norm(embeddings - own, axis=1).max() > most:
            problems.append(f"a text's embedding depends on the texts beside it: in a batch of {count} it is another")
            break
    return TextProof(
        passed=not problems,
        problems=tuple(problems),
        least_cosine=float(cosine.min()),
        largest_difference=float(difference.max()),
        **figures,
    )


def _problems(
    texts: list[str], cosine: NDArray[np.float64], difference: NDArray[np.float64], least: float, most: float
) -> list[str]:
    worst = int(difference.argmax())
    if cosine.min() < least:
        below = int((cosine < least).sum())
        return [
            f"the least cosine between a text's embeddings by both models is {cosine.min():.6f}, below {least:g}; "
            f"{below:,} of {len(texts):,} texts are below it, such as {_short(texts[int(cosine.argmin())])}"
        ]
    if difference[worst] > most:
        return [
            f"the embedding of {_short(texts[worst])} moves by {difference[worst]:.2g}, and rounding explains "
            f"{most:.2g} at most"
        ]
    return []


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
