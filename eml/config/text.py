"""How values, names and alternatives are written in messages."""

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

LONGEST_QUOTE = 60  # characters of a wrong value that are shown


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely misspells, or alone begins so; case and hyphens do not count."""
    plain = {_plain(other): other for other in known}
    found = get_close_matches(_plain(word), plain, 1)
    if not found and len(word) > 1:
        found = [other for other in plain if other.startswith(_plain(word))]
    return plain[found[0]] if len(found) == 1 else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """` (did you mean 'arcface'?)`, or nothing where no known word is close."""
    found = closest(word, known) if isinstance(word, str) else None
    return f" (did you mean {found!r}?)" if found else ""


def listed(known: Iterable[str]) -> str:
    """`a, b, c`, or `none`."""
    return ", ".join(known) or "none"


def alternatives(words: Iterable[str]) -> str:
    """`a, b or c`, each once."""
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def shown(value: object) -> str:
    """A value as one would write it in YAML; sections and long lists are only named."""
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


def number(value: object) -> str:
    """A bound, to five digits: 3.1416, 0.0001, 100000."""
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else f"{value:.5g}"


def spaced(name: str) -> str:
    """`LearningRate` as `learning rate`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
