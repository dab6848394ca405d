"""Text vectors: one vector for each class, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from eml.config import Strict
from eml.dataset.problems import SHOWN
from eml.errors import DataError, Problem
from eml.files import bytes_digest, refuse_pipe, whole_file
from eml.json_files import parse_json
from eml.versions import eml_version

FORMAT = 1
KIND = "eml-text-vectors"
SUFFIX = ".safetensors"


class EncoderFacts(Strict):
    """The encoder that embedded the texts.

    Attributes:
        name: As the user named it.
        digest: Of its weights, tokenizer and settings.
        logit_scale: The factor of its cosines between images and texts; None for an encoder that knows no images.
        logit_bias: What is added to scaled cosines, where it was trained with sigmoids; None: nothing.
    """

    name: str
    digest: str
    logit_scale: float | None = None
    logit_bias: float | None = None


class TextVectorsFacts(Strict):
    """The facts that a file of text vectors holds beside the vectors.

    Attributes:
        format: A higher one than that of this eml is refused.
        eml_version: Of the eml that wrote it.
        encoder: What embedded the texts.
        template: The templates of the texts.
        texts_digest: Of the labels and their texts.
    """

    format: int = FORMAT
    eml_version: str
    encoder: EncoderFacts
    template: tuple[str, ...] = ()
    texts_digest: str


@dataclass(frozen=True)
class TextVectors:
    """A vector for each class.

    Attributes:
        labels: The C classes.
        vectors: (C, T) float32 of unit length.
        texts: The texts of each class, whose mean its vector is.
        encoder: What embedded them.
        template: The templates that the texts were made with.
    """

    labels: tuple[str, ...]
    vectors: NDArray[np.float32]
    texts: tuple[tuple[str, ...], ...]
    encoder: EncoderFacts
    template: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The number of values T of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def texts_digest(self) -> str:
        """The digest of the labels and their texts."""
        return bytes_digest(_json(list(zip(self.labels, self.texts, strict=True))))

    @cached_property
    def digest(self) -> str:
        """The digest of the labels and the vectors."""
        return bytes_digest(_json(self.labels) + b"\0" + np.ascontiguousarray(self.vectors, "<f4").tobytes())

    def of(self, labels: Sequence[str], name: str = "the text vectors") -> TextVectors:
        """Return the vectors of these labels, in their order.

        Args:
            labels: The classes.
            name: Of the vectors, for messages.

        Raises:
            DataError: There is none for a label; at most 20 are named.
        """
        rows = {label: row for row, label in enumerate(self.labels)}
        missing = [label for label in labels if label not in rows]
        if missing:
            lines: list[str] = [f"{name}: no vector for class {label!r}" for label in missing[:SHOWN]]
            lines += [f"and {len(missing) - SHOWN:,} more classes"] if len(missing) > SHOWN else []
            lines[-1] += ". Run eml text on a table that has all classes"
            raise DataError([Problem(line, "missing-text") for line in lines])
        chosen = [rows[label] for label in labels]
        texts = tuple(self.texts[row] for row in chosen)
        return replace(self, labels=tuple(labels), vectors=self.vectors[chosen], texts=texts)


def write_text_vectors(path: Path, vectors: TextVectors) -> None:
    """Write the file, whole or not at all. The same vectors give the same bytes.

    It is a safetensors file: `vectors` (C, T) float32, and `labels`, `texts` and `facts` as the bytes of JSON, so that
    any program can read it and nothing in it can run.

    Raises:
        OutputError: The file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(vectors_bytes(vectors))


def vectors_bytes(vectors: TextVectors) -> bytes:
    """Return what `write_text_vectors` writes."""
    facts = TextVectorsFacts(
        eml_version=eml_version(),
        encoder=vectors.encoder,
        template=vectors.template,
        texts_digest=vectors.texts_digest,
    )
    parts = {"labels": vectors.labels, "texts": vectors.texts, "facts": facts.model_dump(mode="json")}
    arrays = {name: np.frombuffer(_json(value), np.uint8) for name, value in parts.items()}
    return save({"vectors": np.ascontiguousarray(vectors.vectors, np.float32), **arrays}, {"kind": KIND})


def read_text_vectors(path: Path) -> TextVectors:
    """Read a file of text vectors.

    Raises:
        DataError: It cannot be read, is damaged, or was written by a newer eml.
    """
    if not path.is_file():
        text = f"{path}: no such file of text vectors; eml text writes one"
        raise DataError(text, code="missing-file", parameter="vectors")
    try:
        refuse_pipe(path)
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("kind") != KIND:
                raise ValueError("it is no file of text vectors; eml text writes one")
            arrays = {name: file.get_tensor(name) for name in ("vectors", "labels", "texts", "facts")}
        facts = parse_json(_text(arrays["facts"]), dict[str, Any])
        if isinstance(facts.get("format"), int) and facts["format"] > FORMAT:
            text = f"{path}: written by a newer eml ({facts.get('eml_version')}); upgrade eml to read it"
            raise DataError(text, code="newer-eml", parameter="vectors")
        known = TextVectorsFacts.model_validate(facts)
        labels = parse_json(_text(arrays["labels"]), list[str])
        texts = parse_json(_text(arrays["texts"]), list[list[str]])
    except (OSError, ValueError, TypeError, ValidationError, SafetensorError) as error:  # TypeError: bfloat16
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        text = f"{path}: is no whole file of text vectors ({reason}). Run eml text again"
        raise DataError(text, code="damaged-file", parameter="vectors") from error
    own = tuple(map(tuple, texts))
    vectors = TextVectors(tuple(labels), arrays["vectors"], own, known.encoder, known.template)
    _check(path, vectors, known)
    return vectors


def _check(path: Path, read: TextVectors, facts: TextVectorsFacts) -> None:
    """Raise a DataError where the parts of a file do not fit each other."""
    vectors, count = read.vectors, len(read.labels)
    if vectors.ndim != 2 or vectors.dtype != np.float32 or not vectors.size or len(vectors) != count:
        reason = f"{count:,} labels, and vectors of shape {vectors.shape} and type {vectors.dtype}"
    elif len(set(read.labels)) < count:
        reason = "a label is there twice"
    elif len(read.texts) != count or read.texts_digest != facts.texts_digest:
        reason = "the texts are not those that were embedded"
    elif not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):  # NaN is not close either
        reason = "vectors are not of unit length"
    else:
        return
    raise DataError(f"{path}: damaged: {reason}. Run eml text again", code="damaged-file", parameter="vectors")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _text(array: NDArray[Any]) -> str:
    return bytes(array).decode("utf-8")
