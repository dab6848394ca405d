"""Judge whether the texts of classes tell the classes apart."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from eml.retrieval.products import product
from eml.texts.vectors import TextVectors

_WORDS = re.compile(r"[^\W_]+")
_LETTERS = 2  # of a word in an alphabet; a single sign of other scripts is a word
COMMON = 0.5  # share of the labels that have a word, from which on it tells none of them apart
FEW = 4  # labels, below which no word is common
AT_ONCE = 1 << 24  # cosines at once: 64 MiB
MOST_PAIRS = 400_000_000  # cosines in all, seconds on a core; of more classes some are drawn and compared with all


@dataclass(frozen=True)
class SimilarClasses:
    """Two classes whose text vectors are near each other.

    Attributes:
        cosine: Of their vectors.
        first: A class.
        second: The class nearest to it.
    """

    cosine: float
    first: str
    second: str


@dataclass(frozen=True)
class TextSimilarities:
    """Similarities of the text vectors of classes.

    Attributes:
        mean: The mean cosine of all pairs of classes.
        mean_nearest: The mean cosine of a class and the one nearest to it.
        nearest: Pairs of nearest classes, the most similar first.
        equal: Groups of classes that have the same texts.
        compared: The number of classes that were compared with all others, evenly drawn where there are very many.
    """

    mean: float
    mean_nearest: float
    nearest: tuple[SimilarClasses, ...]
    equal: tuple[tuple[str, ...], ...]
    compared: int


def similarities_of(vectors: TextVectors, most: int) -> TextSimilarities | None:
    """Return how similar the classes' vectors are, with at most `most` pairs; None for a single class.

    Classes with the same texts are counted as a group, and are no pair.
    """
    count = len(vectors.labels)
    if count < 2:
        return None
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, texts in enumerate(vectors.texts):
        groups.setdefault(texts, []).append(row)
    codes = torch.empty(count, dtype=torch.int64)
    for code, rows in enumerate(groups.values()):
        codes[rows] = code
    rows_of_vectors = torch.from_numpy(vectors.vectors)
    total = rows_of_vectors.double().sum(dim=0)
    lengths = float(rows_of_vectors.double().square().sum())
    pairs: dict[tuple[int, int], float] = {}
    sum_of_nearest = 0.0
    chosen = torch.linspace(0, count - 1, min(count, max(1, MOST_PAIRS // count)), dtype=torch.float64).long()
    for own in chosen.split(max(1, AT_ONCE // count)):
        cosines = product(rows_of_vectors[own], rows_of_vectors)
        cosines[torch.arange(len(cosines)), own] = -torch.inf
        sum_of_nearest += float(cosines.max(dim=1).values.sum())
        cosines[codes[own, None] == codes] = -torch.inf
        best = cosines.max(dim=1)
        for row, column, cosine in zip(own.tolist(), best.indices.tolist(), best.values.tolist(), strict=True):
            if cosine > -torch.inf:
                pairs[min(row, column), max(row, column)] = cosine
    order = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:most]
    return TextSimilarities(
        mean=(float(total @ total) - lengths) / (count * (count - 1)),
        mean_nearest=sum_of_nearest / len(chosen),
        nearest=tuple(SimilarClasses(pairs[i, j], vectors.labels[i], vectors.labels[j]) for i, j in order),
        equal=tuple(tuple(vectors.labels[row] for row in rows) for rows in groups.values() if len(rows) > 1),
        compared=len(chosen),
    )


def labels_without_words(labels: Sequence[str]) -> list[str]:
    """Return the labels that have no word of their own, such as code points and numbers.

    A word has letters alone, two at least in alphabets that spell. Words that half of the labels share, such as
    `person` in `person_0042`, tell none of them apart and do not count.
    """
    words = [{word.casefold() for word in _WORDS.findall(label) if _is_word(word)} for label in labels]
    counts = Counter(word for own in words for word in own)
    limit = COMMON * len(labels) if len(labels) >= FEW else len(labels) + 1
    return [label for label, own in zip(labels, words, strict=True) if all(counts[word] >= limit for word in own)]


def _is_word(text: str) -> bool:
    spells = all(letter < "\u2e80" for letter in text)  # after it come the scripts in which a sign is a word
    return text.isalpha() and (len(text) >= _LETTERS or not spells)


def meaning_warning(labels: Sequence[str]) -> str | None:
    """Return what to tell where most labels say nothing about what they stand for; None where they do."""
    without = labels_without_words(labels)
    if 2 * len(without) <= len(labels):
        return None
    some = f"{', '.join(map(repr, without[:3]))}{' …' if len(without) > 3 else ''}"
    return (
        f"{len(without):,} of {len(labels):,} labels have no word of their own ({some}), so as texts they say nothing "
        "about the images"
    )
