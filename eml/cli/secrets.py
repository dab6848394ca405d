"""Secrets, by their names and by their looks, hidden in a command line and in the lines of a traceback."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

HIDDEN = "***"

_ANYWHERE = r"(?i:secret|passw(?:or)?d|passphrase|passcode|credential|(?:api|access|private)[_-]?key|token(?!i[sz]|s))"
_AS_WORD = (
    r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
    r"(?i:key|pwd|pass|auth|oauth2?|authorization|bearer|cookie|sig|signature|x-amz-\w+)"
    r"(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))(?!Error)"
)
_NAME = rf"(?:{_ANYWHERE}|{_AS_WORD})[\w.-]{{0,60}}"
_SECRET_NAME = re.compile(_NAME)
_OPTION = re.compile(rf"-[\w.-]{{0,60}}?{_NAME}")
_NAMED_IN_WORD = re.compile(rf"(?s)(-[\w.-]{{0,60}}?{_NAME}\s+|{_NAME}[\"'\]\\\s]{{0,9}}[=:]).*")
_QUOTED = r"\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?"
_NAMED_IN_LINE = (
    re.compile(r"(?i)(\bauthorization[\"']?\s*[:=]\s*).+"),
    re.compile(rf"((?:{_NAME})[\"'\]]*(?:=[ \t]*|[ \t]*:[ \t]*))(?!lambda\b)(?:{_QUOTED}|[^\s\"'{{\[][^\s\"']*)"),
    re.compile(rf"((?:{_NAME})[ \t]+=[ \t]+)(?:{_QUOTED})"),
    re.compile(rf"((?<!\S)--[\w.-]{{0,60}}?{_NAME}[ \t]+)(?:{_QUOTED}|\S+)"),
)
_LOOKS = (
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"),
    re.compile(r"()(?<![\w.-])(?:ey[JAI]|ewo)[\w-]{7,}\.[\w-]{6,}(?:\.[\w-]*)*"),  # JSON in base64url: a JWT
    re.compile(
        r"()(?<![A-Za-z0-9])(?:(?:hf|npm|gh[opsur]|r8|gsk|api_org)_[A-Za-z0-9]{8,}|AIza[\w-]{16,}|(?:AKIA|ASIA)\w{8,}"
        r"|(?:eml_|github_pat_|dckr_pat_|dop_v1_|wandb_v\d+_|[rsp]k_(?:live|test)_|xox[a-z]-|glpat-|nvapi-|pypi-|ya29\.)[\w-]{8,}"
        r"|sk-(?=[\w-]*\d)[\w-]{8,})"
    ),
    re.compile(r"()(?<![\w@/])(?<!revision=)[0-9a-f]{40}\b"),  # an older key of W&B
)
"""Patterns of secrets: all that follows the first group is hidden."""
_ADDRESS_IN_LINE = re.compile(r"(\w://)\S{0,2000}@")
_ADDRESS_IN_WORD = re.compile(r"(?s)(\w://).*@")
_LONG = re.compile(
    r"(?<![\w/\\.+-])[\w+-]{32,}(?:={1,2})?(?!\.?[\w/\\+-])|(?<![\w/\\.+-])(?:[\w-]{16,}\.){2}[\w-]{16,}"
)
_MOST_ALIKE = 0.3
"""The least share of neighbours that differ in kind, of capital, small letter and digit, in text without meaning."""
_SHORTEST = 6
"""Shorter values are hidden on the command line alone: as a part of other words they say nothing."""


def hidden_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line, with secrets hidden: all that follows a name such as `wandb.key=`."""
    after_names = _follow_names(words)
    return [HIDDEN if follows else _hidden_word(word) for follows, word in zip(after_names, words, strict=True)]


def hidden_line(words: Sequence[str]) -> str:
    """Return the command line as typed, with secrets hidden."""
    return shlex.join(hidden_words(words))


def hidden_text(text: str, words: Sequence[str] = (), environment: Mapping[str, str] = os.environ) -> str:
    """Return lines of text with secrets hidden, also those that a command line or the environment names.

    Args:
        text: Of any number of lines.
        words: Of the command line, whose secrets the text may repeat.
        environment: Whose variables such as `HF_TOKEN` the text may repeat.
    """
    for value in sorted({*_values(words), *_variables(environment)}, key=len, reverse=True):
        for spelling in (value, repr(value)[1:-1]):
            text = text.replace(spelling, HIDDEN)
    text = _ADDRESS_IN_LINE.sub(rf"\1{HIDDEN}@", text)
    for pattern in (*_NAMED_IN_LINE, *_LOOKS):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return _LONG.sub(_without_meaning, text)


def _follow_names(words: Sequence[str]) -> list[bool]:
    """Return for each word whether an option such as `--token` is before it; `-x` after one is its value."""
    follow, is_next = [], False
    for word in words:
        follow.append(is_next)
        is_next = _OPTION.fullmatch(word) is not None and (not is_next or word.startswith("--"))
    return follow


def _hidden_word(word: str) -> str:
    word = _ADDRESS_IN_WORD.sub(rf"\1{HIDDEN}@", word)
    word = _NAMED_IN_WORD.sub(rf"\1{HIDDEN}", word, count=1)
    for pattern in _LOOKS:
        word = pattern.sub(rf"\1{HIDDEN}", word)
    return _LONG.sub(_without_meaning, word)


def _values(words: Sequence[str]) -> Iterator[str]:
    """Return the secrets of a command line that have a name."""
    for follows, word in zip(_follow_names(words), words, strict=True):
        match = _NAMED_IN_WORD.search(word)
        value = word if follows else word[match.end(1) :] if match else ""
        if len(value.strip()) >= _SHORTEST:
            yield value.strip()


def _variables(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if len(value) >= _SHORTEST + 2 and _SECRET_NAME.search(name):
            yield value


def _without_meaning(match: re.Match[str]) -> str:
    """Return the stars for letters and digits in no order; a digest, a name and a number stay."""
    text = re.sub(r"[^A-Za-z0-9]", "", match[0])
    kinds = ["digit" if letter.isdigit() else "capital" if letter.isupper() else "small" for letter in text]
    changes = sum(kind != following for kind, following in pairwise(kinds))
    has_separator = len(text) < len(match[0].rstrip("="))
    is_mixed = kinds.count("digit") >= 3 and len(set(kinds)) >= (3 if has_separator else 2)
    is_digest = re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", text) is not None
    least = _MOST_ALIKE if has_separator else _MOST_ALIKE / 2
    return HIDDEN if is_mixed and not is_digest and changes >= least * len(text) else match[0]
