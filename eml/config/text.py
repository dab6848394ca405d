"""Values, names and alternatives as text for messages."""

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

LONGEST_QUOTE = 60  # characters of a wrong value that are shown


def closest(word: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """Return the known word that `word` most likely misspells, or that alone begins with it.

    Case is ignored, and a hyphen equals an underscore. least: similarity in [0, 1] that counts as a misspelling.
    """
    by_plain = {normalised(name): name for name in known}
    matches = get_close_matches(normalised(word), by_plain, 1, least)
    if not matches and len(word) > 1:
        matches = [plain for plain in by_plain if plain.startswith(normalised(word))]
    return by_plain[matches[0]] if len(matches) == 1 else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ` (did you mean 'arcface'?)`, or nothing when no known word is close."""
    match = closest(word, known) if isinstance(word, str) else None
    return f" (did you mean {match!r}?)" if match else ""


def listed(known: Iterable[str]) -> str:
    """Return `a, b, c`, or `none`."""
    return ", ".join(known) or "none"


def alternatives(words: Iterable[str]) -> str:
    """Return `a, b or c` without duplicates."""
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def shown(value: object) -> str:
    """Return a value as YAML writes it; sections and long lists are only described."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(str(value) if len(value) <= LONGEST_QUOTE else value[:LONGEST_QUOTE] + "…")
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple) and len(repr(value)) > LONGEST_QUOTE:
        return f"a list of {len(value)}"
    return repr(value)


def is_utf_8(text: str) -> bool:
    """Return whether text can be written to a file: it has no half of a character (a lone surrogate)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def number(value: object) -> str:
    """Return a bound with five digits: 3.1416, 0.0001, 100000."""
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else f"{value:.5g}"


def spaced(name: str) -> str:
    """Return `learning rate` for `LearningRate`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


def normalised(word: str) -> str:
    """Return the word in lower case, with underscores for hyphens."""
    return word.lower().replace("-", "_")
