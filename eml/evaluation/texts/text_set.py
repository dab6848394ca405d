"""The texts of a set: captions of its images, from columns, and texts of its classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.config.text import shown
from eml.dataset.problems import SHOWN, column_names
from eml.errors import DataError, Problem
from eml.evaluation.retrieval_set import RetrievalSet
from eml.texts.class_texts import TextSource, texts_of
from eml.texts.meaning import meaning_warning
from eml.texts.templates import LABEL, fields_of, one_line
from eml.texts.vectors import TextVectors, read_text_vectors

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Captions:
    """The texts that columns have for the images of a set. Equal texts of several images are one text.

    Attributes:
        columns: The columns.
        texts: The T texts, in the order of their first images.
        text_of_pair: (P,) texts of the pairs of a text and an image that has it.
        row_of_pair: (P,) the images of the pairs, as rows of the set's frame.
        classes: (T,) the label of the first image of each text.
    """

    columns: tuple[str, ...]
    texts: tuple[str, ...]
    text_of_pair: Integers
    row_of_pair: Integers
    classes: Integers

    @property
    def images(self) -> int:
        """The number of images that have a text."""
        return len(np.unique(self.row_of_pair))


@dataclass(frozen=True)
class NamedClasses:
    """The classes of a set with their texts; images of unknown identity have none.

    Attributes:
        labels: The names of the C classes.
        codes: (C,) their integers in the set's labels.
        texts: The texts of each class, whose mean its vector is.
        source: The columns, templates and names that the texts are from; None for vectors of a file.
        vectors: The vectors of a file; None where a model is to embed the texts.
        path: The file of the vectors.
    """

    labels: tuple[str, ...]
    codes: Integers
    texts: tuple[tuple[str, ...], ...]
    source: TextSource | None = None
    vectors: TextVectors | None = None
    path: Path | None = None

    @cached_property
    def equal_texts(self) -> list[tuple[str, ...]]:
        """The groups of classes whose texts are the same, which no text tells apart."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for label, texts in zip(self.labels, self.texts, strict=True):
            groups.setdefault(texts, []).append(label)
        return [tuple(labels) for labels in groups.values() if len(labels) > 1]

    @property
    def meaning_warning(self) -> str | None:
        """What to tell where labels are the texts and say nothing; else None."""
        is_label = self.source is not None and self.source.names is None and self.source.column is None
        has_label = self.source is not None and any(LABEL in fields_of(template) for template in self.source.template)
        return meaning_warning(self.labels) if is_label and has_label else None

    def facts(self) -> dict[str, Any]:
        """Return where the texts are from, for metrics.json."""
        source = {} if self.source is None else self.source.model_dump(mode="json", exclude_defaults=True)
        file = {} if self.path is None else {"vectors": str(self.path)}
        return {**source, **file, "classes_with_equal_texts": [list(labels) for labels in self.equal_texts]}


@dataclass(frozen=True)
class TextSet:
    """The texts of a set. What was not asked for is None.

    Attributes:
        captions: Texts of images.
        classes: Texts of classes.
    """

    captions: Captions | None = None
    classes: NamedClasses | None = None

    @property
    def needs_tower(self) -> bool:
        """Whether any texts have to be embedded."""
        return self.captions is not None or (self.classes is not None and self.classes.vectors is None)


def captions_of(retrieval: RetrievalSet, columns: Sequence[str], table: str) -> Captions:
    """Return the texts of the images of a set; an image without any has none, and may be found by no text.

    Args:
        retrieval: The set.
        columns: Columns of its frame, such as `caption`, or `caption_1` and `caption_2` for several of an image.
        table: Its name, for messages.

    Raises:
        DataError: A column is missing, or there are fewer than two different texts.
    """
    frame = retrieval.frame
    if missing := [name for name in columns if name not in frame]:
        text = f"{table}: has no column {' or '.join(map(shown, missing))}, which `text_column` names"
        text = f"{text}; it has {column_names(frame)}"
        raise DataError(text, code="missing-column", parameter="text_column")
    cells = np.stack([_as_texts(frame[name]) for name in columns], 1)  # (N, columns)
    present = cells != ""
    codes, texts = pd.factorize(cells[present])
    if len(texts) < 2:
        number = f"only {shown(texts[0])}" if len(texts) else "no text"
        text = f"{table}: {number} in {' and '.join(map(shown, columns))}; retrieval by text needs two texts or more"
        raise DataError(text, code="missing-text", parameter="text_column")
    rows = np.nonzero(present)[0]
    first = np.unique(codes, return_index=True)[1]
    return Captions(tuple(columns), tuple(map(str, texts)), codes.astype(np.int64), rows, retrieval.labels[rows[first]])


def named_classes(retrieval: RetrievalSet, source: TextSource | Path, table: str) -> NamedClasses:
    """Return the classes of a set with their texts.

    Args:
        retrieval: The set.
        source: The columns, templates and names of the texts, or a file of text vectors.
        table: Its name, for messages.

    Raises:
        DataError: Classes have no text, with their names; a column or file is missing.
    """
    codes = np.unique(retrieval.labels[retrieval.known])
    names = retrieval.class_names
    labels = tuple(names[code] for code in codes)
    if isinstance(source, TextSource):
        frame = retrieval.frame[retrieval.known]
        return NamedClasses(labels, codes, tuple(texts_of(frame, labels, source, table)), source)
    vectors = _vectors_of(source, labels)
    return NamedClasses(labels, codes, vectors.texts, vectors=vectors, path=source)


def _vectors_of(path: Path, labels: Sequence[str]) -> TextVectors:
    """Return the vectors of a file for these classes."""
    try:
        vectors = read_text_vectors(path)
    except DataError as error:
        raise DataError([Problem(line, line.code, "text_vectors") for line in error.problems]) from error
    if missing := sorted(set(labels) - set(vectors.labels)):
        few = ", ".join(map(shown, missing[:SHOWN])) + (", …" if len(missing) > SHOWN else "")
        text = f"{path}: no text for {len(missing):,} of the {len(labels):,} classes of the images: {few}"
        raise DataError(
            f"{text}. Run eml text on a table that has them all", code="missing-text", parameter="text_vectors"
        )
    return vectors.of(labels, str(path))


def _as_texts(column: "pd.Series[Any]") -> NDArray[np.object_]:
    """Return the cells as texts on one line; blank ones are empty."""
    values = column.astype(object).where(column.notna(), "")
    return np.array([one_line(str(value)) for value in values], object)
