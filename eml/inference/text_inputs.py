"""Texts as models take them."""

from collections.abc import Sequence

from eml.errors import ConfigError
from eml.files import is_utf8


def check_texts(texts: Sequence[str], batch_size: int) -> None:
    """Raise a ConfigError for what is no list of texts, and for a batch size below 1."""
    if isinstance(texts, str):
        raise ConfigError("texts must be a list of texts, got a single text", code="wrong-type")
    if others := [type(text).__name__ for text in texts if not isinstance(text, str)]:
        raise ConfigError(f"texts must be a list of texts, got one of type {others[0]}", code="wrong-type")
    if broken := [text for text in texts if not is_utf8(text)]:
        raise ConfigError(f"texts must be UTF-8, got {broken[0]!r}", code="invalid-value")
    if batch_size < 1:
        raise ConfigError(f"`batch_size` must be at least 1, got {batch_size}", code="out-of-range")
