"""Conditions on the rows of an index, such as `category == 'shoes' and price < 30`, as SQL with bound parameters.

    condition  = both { "or" both }
    both       = negation { "and" negation }
    negation   = "not" negation | "(" condition ")" | comparison
    comparison = value ( "==" | "=" | "!=" | "<" | "<=" | ">" | ">=" ) value | column of true and false
               | column ["not"] "in" "(" literal { "," literal } ")"
               | column ["not"] "like" text
               | column "is" ["not"] "null"
    value      = column | literal
    column     = name | "[[" any name "]]"
    literal    = 'text' | "text" | number | true | false

Keywords are read in any case. Nothing of the text becomes SQL: columns come from the known ones, values are bound.
A comparison with an empty value (null) is neither true nor false, as in SQL: such a row fits neither `price < 3` nor
`not price < 3`. Texts are compared by the numbers of their characters. In a pattern of `like`, `%` stands for any
characters and `_` for one, `\\` makes the next character an ordinary one; the case of A to Z is ignored.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from eml.config.text import LONGEST_QUOTE, closest
from eml.errors import ConfigError, Problem
from eml.indexing.where_tokens import NUMBER, Token, problem_at, spelt, tokens

ColumnKind = Literal["number", "text", "bool"]
Value = str | int | float

DEEPEST = 12  # parentheses and negations within each other; SQLite's parser holds a hundred open parts
MOST_COMPARISONS = 500  # SQLite takes a chain of less than a thousand
MOST_VALUES = 10_000  # SQLite binds at most 32,766 values
MOST_PROBLEMS = 20  # that are gathered before reading ends
LONGEST_PATTERN = 50_000  # bytes of a pattern of like that SQLite takes
MOST_LISTED = 20  # columns that an error lists
COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
TRUTHS = {"1": "true", "0": "false", "true": "true", "false": "false", "yes": "true", "no": "false"}
KINDS: dict[str, ColumnKind] = {"text": "text", "number": "number", "keyword": "bool"}
EXAMPLES: dict[ColumnKind, str] = {"number": "3", "text": "'shoes'", "bool": "true"}
PLURALS: dict[ColumnKind, str] = {"number": "numbers", "text": "text", "bool": "true and false"}


@dataclass(frozen=True)
class Condition:
    """A condition as SQL.

    Attributes:
        sql: An expression with a `?` for each value, in parentheses where it has several parts.
        parameters: The values, in the order of their `?`.
        text: What the user wrote.
    """

    sql: str
    parameters: tuple[Value, ...]
    text: str


def parse_where(
    text: str, columns: Mapping[str, ColumnKind], column_sql: Callable[[str], str] | None = None
) -> Condition:
    """Translate a condition on rows into SQL.

    Args:
        text: The condition; the module's docstring has the grammar.
        columns: The columns that can be named, and what each holds.
        column_sql: Returns the SQL expression of a column's values, true and false as 1 and 0; by default the column's
            name in double quotes.

    Raises:
        ConfigError: The text is no condition, names an unknown column, or compares a column with another kind of value.
            Each problem marks its place in the text.
    """
    reader = _Reader(text, columns, column_sql or quoted_name)
    sql = reader.read()
    if reader.problems:
        raise ConfigError(reader.problems)
    return Condition(f"({sql})", tuple(reader.parameters), text)


def quoted_name(name: str) -> str:
    """Return a name as SQLite reads it as that of a column, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Operand:
    """A column or literal as SQL, and what it holds; `kind` is None for an unknown column."""

    sql: str
    kind: ColumnKind | None
    token: Token

    @property
    def is_column(self) -> bool:
        """Whether it is a column, not a literal."""
        return self.token.kind == "column"


class _Reader:
    """Read a condition by recursive descent. Problems of meaning are gathered; the first one of grammar is raised."""

    def __init__(self, text: str, columns: Mapping[str, ColumnKind], column_sql: Callable[[str], str]) -> None:
        self.text, self.columns, self.column_sql = text, columns, column_sql
        self.tokens = tokens(text)
        self.place = self.depth = self.comparisons = 0
        self.parameters: list[Value] = []
        self.problems: list[Problem] = []

    @property
    def next(self) -> Token:
        """The word that is read next."""
        return self.tokens[self.place]

    def read(self) -> str:
        """Return the SQL of the whole text."""
        if len(self.tokens) == 1:
            line = "the condition is empty; write a condition such as category == 'shoes'"
            raise ConfigError(line, code="not-a-condition", parameter="where")
        sql = self._any()
        if self.next.kind != "end":
            is_closing = self.next.is_sign(")")
            raise self._error(
                self.next, "this parenthesis was not opened" if is_closing else "and or or is missing here"
            )
        return sql

    def _any(self) -> str:
        parts = [self._all()]
        while self._take_word("or"):
            parts.append(self._all())
        return " OR ".join(parts)

    def _all(self) -> str:
        parts = [self._negation()]
        while self._take_word("and"):
            parts.append(self._negation())
        return " AND ".join(parts)

    def _negation(self) -> str:
        first = self.next
        if not (first.is_word("not") or first.is_sign("(")):
            return self._comparison()
        self.place += 1
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(first, f"more than {DEEPEST} parentheses and negations within each other")
        if first.is_word("not"):
            sql = f"NOT ({self._negation()})"
        else:
            sql = f"({self._any()})"
            self._expect(")", first)
        self.depth -= 1
        return sql

    def _comparison(self) -> str:
        self.comparisons += 1
        if self.comparisons > MOST_COMPARISONS:
            raise self._error(self.next, f"more than {MOST_COMPARISONS} comparisons; in (…) takes many values at once")
        left = self._operand()
        negated = self._take_word("not")
        if self._take_word("in"):
            return self._is_in(left, "NOT IN" if negated else "IN")
        if self._take_word("like"):
            return self._is_like(left, "NOT LIKE" if negated else "LIKE")
        if negated:
            raise self._error(self.next, "not is followed here by in or like")
        if self._take_word("is"):
            return self._is_null(left)
        if self.next.is_sign(*COMPARISONS):
            return self._compared(left)
        if left.is_column and left.kind in ("bool", None):
            return f"{left.sql} = 1"
        name = spelt(str(left.token.value)) if left.is_column else "column"
        raise self._error(self.next, f"a comparison is missing here, such as {name} == {EXAMPLES[left.kind or 'text']}")

    def _compared(self, left: Operand) -> str:
        operator = self._advance()
        right = self._operand(partner=left)
        if not (left.is_column or right.is_column):
            self._report(left.token, "two values are compared; one side must be a column")
        else:
            self._check_kinds(left, right)
            if left.kind == right.kind == "bool" and not operator.is_sign("=", "!="):
                self._report(operator, "true and false have no order; write == or !=")
        if self.next.is_sign(*COMPARISONS):
            raise self._error(self.next, "a second comparison follows; write a < b and b < c")
        return f"{left.sql} {operator.value} {right.sql}"

    def _is_in(self, left: Operand, operator: str) -> str:
        self._needs_column(left)
        opening = self.next
        self._expect("(", left.token)
        values = [self._literal(left)]
        while self.next.is_sign(","):
            self._advance()
            values.append(self._literal(left))
        self._expect(")", opening)
        return f"{left.sql} {operator} ({', '.join(values)})"

    def _is_like(self, left: Operand, operator: str) -> str:
        self._needs_column(left)
        if left.kind not in ("text", None):
            self._report(left.token, f"like compares text, and {_describe(left)}", "wrong-type")
        pattern = self.next
        if pattern.kind != "text":
            raise self._error(pattern, "after like comes a text in quotes, such as 'shoe%'")
        if re.fullmatch(r"(?:[^\\]|\\.)*\\", str(pattern.value), re.DOTALL):
            self._report(pattern, "a single \\ ends the pattern; write \\\\ for the character itself")
        if len(str(pattern.value).encode()) > LONGEST_PATTERN:
            self._report(pattern, f"the pattern has more than {LONGEST_PATTERN:,} bytes")
        self._advance()
        return f"{left.sql} {operator} {self._bind(pattern.value)} ESCAPE '\\'"

    def _is_null(self, left: Operand) -> str:
        self._needs_column(left)
        negated = self._take_word("not")
        if not self._take_word("null"):
            raise self._error(self.next, "after is comes null or not null; write == to compare with a value")
        return f"{left.sql} IS NOT NULL" if negated else f"{left.sql} IS NULL"

    def _literal(self, left: Operand) -> str:
        """Return the SQL of a value in a list, checked against the column."""
        if self.next.kind == "column":
            raise self._error(self.next, f"a list holds values; text is written in quotes: {_quoted(self.next)}")
        operand = self._operand(partner=left)
        if left.is_column:
            self._check_kinds(left, operand)
        return operand.sql

    def _operand(self, partner: Operand | None = None) -> Operand:
        """Return the column or value that comes next; `partner` is the left side, where this is the right one."""
        token = self.next
        if token.is_word("null"):
            name = spelt(str(partner.token.value)) if partner and partner.is_column else "column"
            raise self._error(token, f"nothing equals null; write {name} is null, or {name} is not null")
        if token.kind == "column":
            self._advance()
            return self._column(token, partner)
        if token.kind not in KINDS or (token.kind == "keyword" and not token.is_word("true", "false")):
            raise self._error(token, f"{'a value' if partner else 'a column'} is missing here")
        self._advance()
        value = int(token.value == "true") if token.kind == "keyword" else token.value
        return Operand(self._bind(value), KINDS[token.kind], token)

    def _column(self, token: Token, partner: Operand | None) -> Operand:
        name = str(token.value)
        if name in self.columns:
            return Operand(self.column_sql(name), self.columns[name], token)
        match = closest(name, self.columns)
        advice = f" (did you mean {spelt(match)}?)" if match else ""
        if partner and partner.is_column:
            advice += f"; text is written in quotes: {_quoted(token)}"
        known = ", ".join(spelt(column) for column in [*self.columns][:MOST_LISTED]) or "none"
        rest = f" and {len(self.columns) - MOST_LISTED:,} more" if len(self.columns) > MOST_LISTED else ""
        self._report(token, f"there is no column {_quoted(token)}{advice}. Columns: {known}{rest}", "missing-column")
        return Operand("NULL", None, token)

    def _check_kinds(self, left: Operand, right: Operand) -> None:
        """Report a column that is compared with another kind of value, and what to write."""
        if left.kind is None or right.kind is None or left.kind == right.kind:
            return
        if left.is_column and right.is_column:
            text = f"{_describe(left)}, and {_describe(right)}; they cannot be compared"
            self._report(right.token, text, "wrong-type")
            return
        column, literal = (left, right) if left.is_column else (right, left)
        self._report(literal.token, f"{_describe(column)}; {_advice(column, literal)}", "wrong-type")

    def _needs_column(self, left: Operand) -> None:
        if not left.is_column:
            self._report(left.token, "the left side must be a column")

    def _bind(self, value: Value) -> str:
        self.parameters.append(value)
        if len(self.parameters) > MOST_VALUES:
            raise self._error(self.next, f"more than {MOST_VALUES:,} values")
        return "?"

    def _advance(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def _take_word(self, word: str) -> bool:
        is_next = self.next.is_word(word)
        self.place += is_next
        return is_next

    def _expect(self, sign: str, opening: Token) -> None:
        if self.next.is_sign(sign):
            self.place += 1
        elif sign == ")" and self.next.kind == "end":
            raise self._error(opening, "this parenthesis is not closed")
        else:
            after = " or ," if opening.start and self.tokens[self.place - 1].kind in KINDS and sign == ")" else ""
            raise self._error(self.next, f"{sign}{after} is missing here")

    def _report(self, token: Token, message: str, code: str = "not-a-condition") -> None:
        self.problems.append(problem_at(self.text, token.start, token.stop, message, code))
        if len(self.problems) >= MOST_PROBLEMS:
            raise ConfigError(self.problems)

    def _error(self, token: Token, message: str) -> ConfigError:
        """Return the error for what cannot be read on from, after the problems before it."""
        self._report(token, message)
        return ConfigError(self.problems)


def _quoted(token: Token) -> str:
    """Return the text of a token in quotes, cut where it is long."""
    text = str(token.value)
    return f"'{text}'" if len(text) <= LONGEST_QUOTE else f"'{text[:LONGEST_QUOTE]}…'"


def _describe(operand: Operand) -> str:
    return f"{spelt(str(operand.token.value))} holds {PLURALS[operand.kind or 'text']}"


def _advice(column: Operand, literal: Operand) -> str:
    """Return what to write in place of a literal of another kind than the column."""
    spelling = str(literal.token.value)
    match column.kind:
        case "text":
            return f"write '{spelling}' in quotes"
        case "number" if literal.kind == "text" and re.fullmatch(NUMBER, spelling.strip()):
            return f"write {spelling} without quotes"
        case "number":
            return "compare it with a number"
        case _ if spelling.lower() in TRUTHS:
            return f"write {TRUTHS[spelling.lower()]}"
        case _:
            return "compare it with true or false"
