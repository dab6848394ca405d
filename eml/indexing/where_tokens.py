"""The words of a condition on rows, each with its position, and errors that mark a position in the text."""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from eml.config.text import is_utf_8
from eml.errors import ConfigError, Problem
from eml.printable import printable_line

LONGEST = 100_000  # characters of a condition
SNIPPET = 70  # columns of the text that an error shows
LARGEST_INTEGER = 2**63 - 1  # that SQLite holds
KEYWORDS = frozenset({"and", "or", "not", "in", "like", "is", "null", "true", "false"})
NOT_OPERATORS = {"&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "<>": "!=", "=>": ">=", "=<": "<="}

NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TOKEN = re.compile(
    rf"""
    (?P<space>\s+)
    |(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<quoted>\[\[(?:[^\]\\]|\\.|\](?!\]))+\]\])
    |(?P<number>{NUMBER})(?!\w)
    |(?P<name>[^\W\d]\w*)
    |(?P<wrong>&&|\|\||<>|=>|=<)
    |(?P<operator>==|!=|<=|>=|=|<|>|\(|\)|,)
    """,
    re.VERBOSE | re.DOTALL,
)

TokenKind = Literal["text", "column", "number", "keyword", "operator", "end"]


@dataclass(frozen=True)
class Token:
    """A word, number, text or sign of a condition.

    Attributes:
        kind: A `column` is a name that is no keyword, or one in double brackets.
        value: The text without quotes, the number, the name, the keyword in lower case, the sign; "" at the end.
        start: The position of its first character.
        stop: The position after its last character.
    """

    kind: TokenKind
    value: str | int | float
    start: int
    stop: int

    def is_sign(self, *signs: str) -> bool:
        """Return whether this is one of some signs."""
        return self.kind == "operator" and self.value in signs

    def is_word(self, *words: str) -> bool:
        """Return whether this is one of some keywords."""
        return self.kind == "keyword" and self.value in words


def tokens(text: str) -> list[Token]:
    """Return the words of a condition in order, and one at the end.

    Raises:
        ConfigError: The text is too long, or holds what is no word of a condition.
    """
    if len(text) > LONGEST:
        line = f"the condition has {len(text):,} characters; at most {LONGEST:,} are read"
        raise ConfigError(line, code="not-a-condition", parameter="where")
    if "\0" in text or not is_utf_8(text):
        line = "the condition has a character that no text can hold (NUL, or half of a character)"
        raise ConfigError(line, code="not-a-condition", parameter="where")
    return [*_words(text), Token("end", "", len(text), len(text))]


def _words(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup == "wrong":
            raise ConfigError([_unreadable(text, position, match[0] if match else text[position])])
        if match.lastgroup != "space":
            yield _token(text, match)
        position = match.end()


def _token(text: str, match: re.Match[str]) -> Token:
    word, place = match[0], match.span()
    match match.lastgroup:
        case "text":
            return Token("text", word[1:-1].replace(word[0] * 2, word[0]), *place)
        case "quoted":
            return Token("column", re.sub(r"\\(.)", r"\1", word[2:-2], flags=re.DOTALL), *place)
        case "number":
            return Token("number", _number(text, word, *place), *place)
        case "name" if word.lower() in KEYWORDS:
            return Token("keyword", word.lower(), *place)
        case "name":
            return Token("column", word, *place)
        case _:
            return Token("operator", "=" if word == "==" else word, *place)


def _number(text: str, word: str, start: int, stop: int) -> int | float:
    if re.fullmatch(r"[+-]?[0-9]{1,19}", word) and abs(int(word)) <= LARGEST_INTEGER:
        return int(word)
    value = float(word)
    if math.isfinite(value) and not re.fullmatch(r"[+-]?[0-9]+", word):
        return value
    raise ConfigError(
        [problem_at(text, start, stop, "the number is too large: at most 9223372036854775807, or 1.8e308")]
    )


def _unreadable(text: str, position: int, sign: str) -> Problem:
    stop = position + len(sign)
    if sign in NOT_OPERATORS:
        return problem_at(text, position, stop, f"'{sign}' is no operator; write {NOT_OPERATORS[sign]}")
    if sign in "'\"":
        advice = f"the text has no closing quote ({sign}); a quote inside a text is doubled"
        return problem_at(text, position, len(text), advice)
    if sign == "[" or sign == "`":
        advice = "a column whose name has blanks or signs is written [[my column]]"
        return problem_at(text, position, stop, advice)
    if sign in "0123456789":
        advice = "this is no number; text is written in quotes, and such a column [[2nd name]]"
        return problem_at(text, position, stop, advice)
    if sign in "+-*/%":
        return problem_at(text, position, stop, f"'{sign}' cannot be computed here; compare columns with values")
    return problem_at(text, position, stop, "this character has no meaning here; text is written in quotes")


def spelt(column: str) -> str:
    """Return the name of a column as a condition spells it."""
    if re.fullmatch(r"[^\W\d]\w*", column) and column.lower() not in KEYWORDS:
        return column
    return "[[" + re.sub(r"([\]\\])", r"\\\1", column) + "]]"


def problem_at(text: str, start: int, stop: int, message: str, code: str = "not-a-condition") -> Problem:
    """Return a problem that says what is wrong, and shows the text with the place underlined."""
    before, marked, after = (_shown(part) for part in (text[:start], text[start:stop], text[stop:]))
    if len(marked) > SNIPPET // 2:
        marked = marked[: SNIPPET // 2 - 1] + "…"
    if len(before) > SNIPPET // 2:
        before = "…" + before[1 - SNIPPET // 2 :]
    room = max(SNIPPET - len(before) - len(marked), 0)
    if len(after) > room:
        after = after[:room] + "…"
    line = f"  {before}{marked}{after}\n  {' ' * _width(before)}{'^' * max(1, _width(marked))}"
    return Problem(f"condition, character {start + 1}: {message}\n{line}", code, "where")


def _shown(text: str) -> str:
    # A word in backquotes would be taken for a parameter by the command line.
    return printable_line(text).replace("`", "'")


def _width(text: str) -> int:
    """Return the columns that the text takes in a terminal."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
