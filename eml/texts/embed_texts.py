"""Class texts → text vectors."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eml.files import text_digest
from eml.progress import Progress, Report, no_progress
from eml.texts.encoders import TextEncoder
from eml.texts.encoders.base import cut_note, unit_rows
from eml.texts.vector_cache import VectorCache
from eml.texts.vectors import EncoderFacts, TextVectors


def text_vectors(
    labels: Sequence[str],
    texts: Sequence[Sequence[str]],
    encoder: TextEncoder,
    *,
    template: Sequence[str] = (),
    cache: Path | None = None,
    batch_size: int = 64,
    report: Report = lambda line: None,
    progress: Progress | None = None,
) -> TextVectors:
    """Return a vector of unit length for each class: the mean of those of its texts, which have unit length too.

    Args:
        labels: The C classes.
        texts: The texts of each class, as `texts_of` gives them.
        encoder: What embeds them.
        template: Their templates, which the file of the vectors records.
        cache: The folder of caches, in which vectors are found that this encoder has computed of the same texts, and
            kept; None: all are computed.
        batch_size: Texts that are embedded at once.
        report: Receives lines for the user.
        progress: Shows how many texts are embedded.

    Raises:
        EmlError: The encoder cannot be loaded, or a text gives no vector.
    """

    def compute(classes: list[int]) -> NDArray[np.float32]:
        own = [texts[index] for index in classes]
        unique = list(dict.fromkeys(text for of_class in own for text in of_class))
        if note := cut_note(encoder.too_long(unique), len(unique)):
            report(note)
        return _class_means(own, unique, encoder, batch_size, progress or no_progress)

    if cache is None:
        vectors = compute(list(range(len(labels))))
    else:
        keys = [bytes.fromhex(text_digest(json.dumps(list(own)))) for own in texts]
        vectors = VectorCache(cache, encoder.digest, report).get(keys, compute)
    facts = EncoderFacts(
        name=encoder.name, digest=encoder.digest, logit_scale=encoder.logit_scale, logit_bias=encoder.logit_bias
    )
    return TextVectors(tuple(labels), vectors, tuple(map(tuple, texts)), facts, tuple(template))


def _class_means(
    texts: Sequence[Sequence[str]], unique: Sequence[str], encoder: TextEncoder, batch_size: int, progress: Progress
) -> NDArray[np.float32]:
    """Return the mean vector of each class's texts, brought to unit length, (C, T). unique: the distinct texts."""
    row_of = {text: row for row, text in enumerate(unique)}
    with progress("texts", len(unique)) as advance:
        vectors = encoder.embed(unique, batch_size=batch_size, advance=advance)
    if all(len(own) == 1 for own in texts):
        return vectors[[row_of[own[0]] for own in texts]]
    means = [vectors[[row_of[text] for text in own]].mean(axis=0, dtype=np.float64) for own in texts]
    return unit_rows(np.stack(means).astype(np.float32), [own[0] for own in texts], encoder.name)
