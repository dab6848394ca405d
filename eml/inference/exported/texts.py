"""The text tower of an exported model: texts in, embeddings out, without torch."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.errors import CheckpointError, ConfigError
from eml.files import digest
from eml.inference.exported.facts import KEY
from eml.inference.exported.onnx_bytes import graph_digest, read_metadata
from eml.inference.exported.onnx_session import open_session, run_session
from eml.inference.exported.text_cleaning import clean
from eml.inference.exported.text_facts import TextFacts, read_text_facts, text_path, tokenizer_path


class ExportedTexts:
    """The text tower in model.text.onnx and model.text.tokenizer.json, beside model.onnx.

    Args:
        image_path: The file with the image tower.
        threads: Threads of a call; None: as onnxruntime likes.
    """

    def __init__(self, image_path: Path, threads: int | None = None) -> None:
        self.path, self.tokenizer_path = text_path(image_path), tokenizer_path(image_path)
        self.threads = threads

    @cached_property
    def facts(self) -> TextFacts:
        """What the file says of itself; its weights are not read for that.

        Raises:
            CheckpointError: The file is damaged, or is no text tower of eml.
        """
        return read_text_facts(read_metadata(self.path).get(KEY), str(self.path))

    def why_not(self, image_graph: str) -> str:
        """Return why texts cannot be embedded beside images of a graph; empty: they can.

        Args:
            image_graph: The `graph` in the facts of the image tower.
        """
        missing = [path for path in (self.path, self.tokenizer_path) if not path.is_file()]
        if missing:
            return f"there is no {missing[0].name} beside it, where the text tower of a model that has one is written"
        if self.facts.image_graph != image_graph:
            return f"{self.path.name} beside it is the text tower of another export"
        return ""

    def tokenize(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the tokens of texts, (N, L); what a text has beyond L tokens is cut off.

        Raises:
            ConfigError: A package that reads texts is not installed.
            CheckpointError: The tokenizer's file is damaged.
        """
        facts = self.facts
        encodings = self._tokenizer.encode_batch([clean(text, facts.cleaning) for text in texts])
        tokens = np.array([encoding.ids for encoding in encodings], np.int64).reshape(len(texts), -1)
        if facts.erased_token is not None:
            tokens[tokens == facts.erased_token] = 0
        return tokens

    def embed(self, texts: Sequence[str], batch_size: int) -> NDArray[np.float32]:
        """Return embeddings of texts of unit length, (N, D).

        Raises:
            ConfigError: A package that reads or embeds texts is not installed.
            CheckpointError: A file is damaged, or was changed after the export.
        """
        parts = [np.zeros((0, self.facts.embedding_size), np.float32)]
        for start in range(0, len(texts), batch_size):
            tokens = self.tokenize(texts[start : start + batch_size])
            parts.append(run_session(self._session, tokens, self.path, "texts"))
        return np.concatenate(parts)

    @cached_property
    def _session(self) -> Any:
        if graph_digest(self.path) != self.facts.graph:
            raise self._changed(self.path)
        return open_session(self.path, self.threads)

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            text = f"{self.tokenizer_path}: needs the tokenizers package: pip install 'easy-metric-learning[onnx]'"
            raise ConfigError(text, code="missing-package") from error
        try:
            if digest(self.tokenizer_path) != self.facts.tokenizer:
                raise self._changed(self.tokenizer_path)
            return Tokenizer.from_file(str(self.tokenizer_path))
        except OSError as error:
            text = f"{self.tokenizer_path}: cannot be read: {error.strerror or error}"
            raise CheckpointError(text, code="damaged-file") from error

    def _changed(self, path: Path) -> CheckpointError:
        text = f"{path}: was changed after the export, so that its proof does not hold; export the checkpoint again"
        return CheckpointError(text, code="damaged-file")
