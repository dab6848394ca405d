"""A text encoder for tests, as a plugin would bring one: the counts of hashed words."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from eml.texts.encoders import TextEncoder

SIZE = 512


class Words(TextEncoder):
    """`words:SEED`; texts that share words are near each other."""

    prefix: ClassVar[str] = "words:"
    encoded: ClassVar[list[str]] = []

    @cached_property
    def digest(self) -> str:
        return f"{crc32(self.target.encode()):032x}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.encoded.extend(texts)
        vectors = np.zeros((len(texts), SIZE), np.float32)
        for row, text in enumerate(texts):
            for word in text.casefold().split():
                vectors[row, crc32(f"{self.target} {word}".encode()) % SIZE] += 1
        return vectors
