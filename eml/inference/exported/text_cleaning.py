"""Cleaning of texts before a tokenizer, as open_clip does it, without open_clip."""

import html
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

from eml.errors import ConfigError
from eml.inference.exported.text_facts import Cleaning

_UNTOUCHED = re.compile(r"[\t\n\x20-\x25\x27-\x7e]*")
"""Texts that ftfy leaves as they are: ASCII without control characters and without & (html entities)."""
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(text: str, steps: Sequence[Cleaning]) -> str:
    """Return a text after these steps.

    Args:
        text: The text.
        steps: ftfy: mends characters that were decoded wrongly, straightens quotes, and more. unescape: twice replaces
            html entities. strip: removes white space at both ends. whitespace: makes any white space one space. lower:
            makes capitals small. canonicalize: removes punctuation, then as lower and whitespace.

    Raises:
        ConfigError: ftfy is needed for this text and is not installed.
    """
    for step in steps:
        text = _STEPS[step](text)
    return text


def _mended(text: str) -> str:
    if _UNTOUCHED.fullmatch(text):
        return text
    try:
        import ftfy
    except ImportError as error:
        problem = (
            "texts with other characters than ASCII, or with &, need the ftfy package, which mends wrongly decoded "
            f"ones as in training: pip install 'easy-metric-learning[onnx]'; got {text[:60]!r}"
        )
        raise ConfigError(problem, code="missing-package") from error
    package: Any = ftfy
    return str(package.fix_text(text))


def _unescaped(text: str) -> str:
    return html.unescape(html.unescape(text))


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _canonical(text: str) -> str:
    return _spaced(text.replace("_", " ").translate(_WITHOUT_PUNCTUATION).lower())


_STEPS: dict[Cleaning, Callable[[str], str]] = {
    "ftfy": _mended,
    "unescape": _unescaped,
    "strip": str.strip,
    "whitespace": _spaced,
    "lower": str.lower,
    "canonicalize": _canonical,
}
