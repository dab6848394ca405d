"""The base class of text encoders, and finding the one that a name means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eml.config.registries import enter, new_registry
from eml.config.text import did_you_mean, listed, shown
from eml.errors import ConfigError, DataError

Advance = Callable[[int], None]
"""A function called with the number of texts that were embedded since the last call."""

LEAST_LENGTH = 1e-6  # of a vector that has a direction

_encoders: dict[str, type[TextEncoder]] = new_registry("text encoder")


class TextEncoder(ABC):
    """Turns texts into vectors of unit length. A subclass is a member, found by its prefix.

    Args:
        name: What the user wrote, with the prefix.
        where: The parameter that named it, for messages.
        device: The device to compute on.

    Attributes:
        prefix: What names of the member begin with, such as `st:`; empty for paths of checkpoints.
    """

    prefix: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Enter the member under its prefix; a class without one of its own is a base of members."""
        super().__init_subclass__()
        if "prefix" in vars(cls):
            enter(_encoders, cls.prefix, cls, TextEncoder, "prefix")

    def __init__(self, name: str, *, where: str = "encoder", device: str = "cpu") -> None:
        self.name, self.where, self.device = name, where, device

    @property
    def target(self) -> str:
        """The name without the prefix."""
        return self.name.removeprefix(self.prefix)

    @classmethod
    def check(cls, name: str, where: str) -> None:
        """Raise an EmlError for a name that cannot be used, as far as that is known without loading anything."""
        if name == cls.prefix:
            text = f"`{where}`: {shown(name)} names no encoder; write {name}NAME_OR_PATH"
            raise ConfigError(text, code="invalid-value", parameter=where)

    @cached_property
    @abstractmethod
    def digest(self) -> str:
        """What decides the vectors: 32 hex digits that differ between different weights, tokenizers and settings."""

    @property
    def logit_scale(self) -> float | None:
        """The factor of cosines between images and texts; None for an encoder that knows no images."""
        return None

    @property
    def logit_bias(self) -> float | None:
        """What is added to scaled cosines, where it was trained with sigmoids (SigLIP); None: nothing."""
        return None

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of which it cuts off what is beyond its length; none where it has none or does not say."""
        return []

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a vector for each text of a batch, (N, T), of any length."""

    def embed(
        self, texts: Sequence[str], *, batch_size: int = 64, advance: Advance = lambda count: None
    ) -> NDArray[np.float32]:
        """Return vectors of unit length, (N, T) float32, in the order of the texts.

        Raises:
            DataError: A text has no direction: NaN, infinite or zero.
        """
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # texts of one length need no padding
        parts = []
        for start in range(0, len(order), batch_size):
            batch = [texts[index] for index in order[start : start + batch_size]]
            parts.append(unit_rows(np.asarray(self.encode(batch), np.float32), batch, self.name))
            advance(len(batch))
        vectors = np.concatenate(parts)
        vectors[order] = vectors.copy()
        return vectors


def cut_note(texts: Sequence[str], count: int) -> str | None:
    """Return what to tell of texts that are cut off; None of none.

    Args:
        texts: Those that are.
        count: Of all texts.
    """
    if not texts:
        return None
    are = "1 text is" if len(texts) == 1 else f"{len(texts):,} texts are"
    return (
        f"{are} cut off, of {count:,}: longer than what the text encoder takes, such as {shown(texts[0])}; put what "
        "matters first"
    )


def unit_rows(vectors: NDArray[np.float32], texts: Sequence[str], name: str) -> NDArray[np.float32]:
    """Return the vectors (N, T) brought to unit length. Raises DataError for one without a direction."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths < LEAST_LENGTH))
    if len(bad):
        text = f"{name}: the vector of {shown(texts[bad[0]])} is zero, NaN or infinite; give the class another text"
        raise DataError(text, code="invalid-embeddings")
    return np.asarray(vectors / lengths[:, None], np.float32)


def _members() -> list[type[TextEncoder]]:
    """Return the members by the length of their prefixes, the longest first."""
    return sorted(_encoders.values(), key=lambda member: -len(member.prefix))


def _member(name: str, where: str) -> type[TextEncoder]:
    """Return the member that a name means."""
    members = _members()
    head, colon, _ = name.partition(":")
    has_prefix = bool(colon) and "/" not in head and "\\" not in head and len(head) > 1  # C: is a drive
    for member in members:
        if (member.prefix and name.startswith(member.prefix)) or not (member.prefix or has_prefix):
            return member
    prefixes = [member.prefix for member in members if member.prefix]
    hint = did_you_mean(f"{head}:", prefixes) if has_prefix else ""
    text = f"`{where}`: {shown(name)} is no text encoder{hint}; known: {listed(prefixes)}, or the path of a checkpoint"
    raise ConfigError(text, code="unknown-choice", parameter=where)


def check_encoder(name: str, where: str = "encoder") -> None:
    """Raise an EmlError for a name of no encoder, as far as that is known without loading anything."""
    _member(name, where).check(name, where)


def find_encoder(name: str, *, where: str = "encoder", device: str = "cpu") -> TextEncoder:
    """Return the encoder that a name means; it is loaded when it is used first.

    Args:
        name: `st:NAME_OR_PATH`, or what another member takes.
        where: The parameter that names it, for messages.
        device: The device to compute on.

    Raises:
        EmlError: There is no such encoder, or the package that it needs is not installed.
    """
    member = _member(name, where)
    member.check(name, where)
    return member(name, where=where, device=device)
