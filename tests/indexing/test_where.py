"""Conditions on rows: what they mean, against plain Python; what they refuse; that nothing of them becomes SQL."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.errors import ConfigError
from eml.indexing.condition_time import conditions_within, timed
from eml.indexing.where import (
    DEEPEST,
    LONGEST_PATTERN,
    MOST_COMPARISONS,
    MOST_PROBLEMS,
    MOST_VALUES,
    ColumnKind,
    parse_where,
)
from eml.indexing.where_tokens import KEYWORDS, LONGEST, spelt
from tests.examples import examples

PAGE = Path(__file__).parents[2] / "docs" / "where.md"

COLUMNS: dict[str, ColumnKind] = {
    **{"category": "text", "label": "text", 'a "b" [c]] \\': "text", "price": "number", "größe": "number"},
    **{"in": "number", "in_stock": "bool", "[[x]]": "bool"},
}
Row = dict[str, str | float | None]
Truth = bool | None
Test = tuple[str, Callable[[Row], Truth]]
"""A condition and the same in Python: true, false or, with an empty value, None."""

TEXTS = st.sampled_from(["", "a", "A", "ab", "B", "it's", '"', "%", "a_b", "ä", "日本", "\\", "7", "\n"])
NUMBERS = st.sampled_from([0, 1, -1, 7, 2**63 - 1, 0.5, -2.5, 1e300])
BOOLS = st.booleans()
VALUES = {"text": TEXTS, "number": NUMBERS, "bool": BOOLS}
OPERATORS: dict[str, Callable[[object, object], bool]] = {
    "==": lambda a, b: a == b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}


def literal(value: object, quote: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{quote}{value.replace(quote, quote * 2)}{quote}" if isinstance(value, str) else repr(value)


def is_like(text: str, pattern: str) -> bool:
    """Compare by recursion: `%` is any characters, `_` one, a backslash makes the next character an ordinary one."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(is_like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    ordinary = pattern[0] == "\\"
    letter, rest = (pattern[1], pattern[2:]) if ordinary else (pattern[0], pattern[1:])
    fits = bool(text) and ((letter == "_" and not ordinary) or lower(text[0]) == lower(letter))
    return fits and is_like(text[1:], rest)


def lower(letter: str) -> str:
    return letter.lower() if letter.isascii() else letter


def both(first: Truth, second: Truth) -> Truth:
    if first is False or second is False:
        return False
    return None if first is None or second is None else True


def inverse(truth: Truth) -> Truth:
    return None if truth is None else not truth


@st.composite
def comparisons(draw: st.DrawFn) -> Test:
    name = draw(st.sampled_from([*COLUMNS]))
    kind, column = COLUMNS[name], spelt(name)
    values, quote = VALUES[kind], draw(st.sampled_from("'\""))
    negated = draw(BOOLS)
    not_ = "not " if negated else ""

    def perhaps(truth: Truth) -> Truth:
        return inverse(truth) if negated else truth

    match draw(st.sampled_from(["compare", "turned", "columns", "in", "null", "like", "bare"])):
        case "in":
            chosen = draw(st.lists(values, min_size=1, max_size=3))
            listed = ", ".join(literal(value, quote) for value in chosen)
            return f"{column} {not_}in ({listed})", lambda row: perhaps(
                None if row[name] is None else row[name] in chosen
            )
        case "null":
            return f"{column} is {not_}null", lambda row: (row[name] is None) != negated
        case "like" if kind == "text":
            pattern = draw(st.sampled_from(["%", "a%", "_", "%_b", "\\%", "a\\_B", "", "Ä", "%\\\\%"]))
            text = f"{column} {not_}LIKE {literal(pattern, quote)}"
            return text, lambda row: perhaps(None if row[name] is None else is_like(str(row[name]), pattern))
        case "bare" if kind == "bool":
            return column, lambda row: None if row[name] is None else bool(row[name])
        case "columns":
            partner = draw(st.sampled_from([key for key in COLUMNS if COLUMNS[key] == kind]))
            return compared(draw, kind, f"{column} {{}} {spelt(partner)}", lambda row: (row[name], row[partner]))
        case "turned":
            value = draw(values)
            return compared(draw, kind, f"{literal(value, quote)} {{}} {column}", lambda row: (value, row[name]))
        case _:
            value = draw(values)
            return compared(draw, kind, f"{column}{{}}{literal(value, quote)}", lambda row: (row[name], value))


def compared(draw: st.DrawFn, kind: str, text: str, sides: Callable[[Row], tuple[object, object]]) -> Test:
    operator = draw(st.sampled_from(["==", "!="] if kind == "bool" else [*OPERATORS]))

    def truth(row: Row) -> Truth:
        return None if None in sides(row) else OPERATORS[operator](*sides(row))

    return text.format(operator), truth


def joined(tests: st.SearchStrategy[Test]) -> st.SearchStrategy[Test]:
    pairs = st.tuples(tests, tests)
    return st.one_of(
        tests.map(lambda test: (f"not ({test[0]})", lambda row: inverse(test[1](row)))),
        pairs.map(
            lambda pair: (f"({pair[0][0]}) and ({pair[1][0]})", lambda row: both(pair[0][1](row), pair[1][1](row)))
        ),
        pairs.map(
            lambda pair: (
                f"( {pair[0][0]} )\nOR not not({pair[1][0]})",
                lambda row: inverse(both(inverse(pair[0][1](row)), inverse(pair[1][1](row)))),
            )
        ),
    )


TESTS = st.recursive(comparisons(), joined, max_leaves=4)
ROWS = st.fixed_dictionaries({name: st.none() | VALUES[kind] for name, kind in COLUMNS.items()})


opened: list[sqlite3.Connection] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close what a test opened, of which Python 3.13 warns."""
    yield
    while opened:
        opened.pop().close()


def table(rows: list[Row]) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    opened.append(database)
    names = [f'"{name.replace(chr(34), chr(34) * 2)}"' for name in COLUMNS]
    database.execute(f"CREATE TABLE images (id INTEGER PRIMARY KEY, {', '.join(names)})")
    marks = ", ".join("?" * len(names))
    database.executemany(
        f"INSERT INTO images VALUES (NULL, {marks})", [[row[name] for name in COLUMNS] for row in rows]
    )
    return database


@settings(max_examples=examples(60), deadline=None, database=None)
@given(TESTS, st.lists(ROWS, min_size=8, max_size=8))
def test_a_condition_selects_the_rows_for_which_it_is_true_in_python(test: Test, rows: list[Row]) -> None:
    text, truth = test
    condition = parse_where(text, COLUMNS)
    chosen = table(rows).execute(f"SELECT id - 1 FROM images WHERE {condition.sql}", condition.parameters)
    assert [place for (place,) in chosen] == [place for place, row in enumerate(rows) if truth(row)]


def test_and_binds_more_tightly_than_or_and_not_than_both() -> None:
    columns: dict[str, ColumnKind] = {"a": "bool", "b": "bool", "c": "bool"}
    assert parse_where("a or b and not c", columns).sql == '("a" = 1 OR "b" = 1 AND NOT ("c" = 1))'
    assert parse_where("(a or b) and c", columns).sql == '(("a" = 1 OR "b" = 1) AND "c" = 1)'


def test_the_caller_says_how_a_column_is_read() -> None:
    condition = parse_where("price < 3", COLUMNS, lambda name: f"json_extract(facts, '$.{name}')")
    assert (condition.sql, condition.parameters) == ("(json_extract(facts, '$.price') < ?)", (3,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("categry == 'shoes'", "character 1: there is no column 'categry' (did you mean category?). Columns: category"),
        ("category == shoes", "character 13: there is no column 'shoes'; text is written in quotes: 'shoes'."),
        ("price == '30'", "character 10: price holds numbers; write 30 without quotes"),
        ("price == 'x'", "character 10: price holds numbers; compare it with a number"),
        ("label == 7", "character 10: label holds text; write '7' in quotes"),
        ("label in ('a', 7)", "character 16: label holds text; write '7' in quotes"),
        ("in_stock == 1", "character 13: in_stock holds true and false; write true"),
        ("in_stock < true", "character 10: true and false have no order; write == or !="),
        ("price == label", "character 10: price holds numbers, and label holds text; they cannot be compared"),
        ("price like '3%'", "character 1: like compares text, and price holds numbers"),
        ("price = null", "character 9: nothing equals null; write price is null, or price is not null"),
        ("label in ('a', null)", "nothing equals null"),
        ("1 < price < 3", "character 11: a second comparison follows; write a < b and b < c"),
        ("1 == 1", "character 1: two values are compared; one side must be a column"),
        ("price", "a comparison is missing here, such as price == 3"),
        ("price <", "a value is missing here"),
        ("[[in]] == 3 and in == 3", "character 17: a column is missing here"),
        ("price < 3 label == 'a'", "character 11: and or or is missing here"),
        ("(price < 3", "character 1: this parenthesis is not closed"),
        ("price < 3)", "character 10: this parenthesis was not opened"),
        ("label in ('a' 'b')", "character 15: ) or , is missing here"),
        ("label == 'a", "character 10: the text has no closing quote"),
        ("`label` == 'a'", "a column whose name has blanks or signs is written [[my column]]"),
        ("price < 3 && in_stock", "character 11: '&&' is no operator; write and"),
        ("!in_stock", "'!' is no operator; write not"),
        ("price + 1 == 2", "'+' cannot be computed here"),
        ("price == 99999999999999999999", "the number is too large"),
        ("price == 1e999", "the number is too large"),
        ("label like 'a\\'", "a single \\ ends the pattern"),
        ("price < 3; drop table images", "character 10: this character has no meaning here"),
        (" ", "the condition is empty"),
        ("label == 'a\0'", "a character that no text can hold"),
        ("label == '\ud800'", "a character that no text can hold"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_where(text, COLUMNS)
    assert message in str(caught.value)
    assert caught.value.parameter == "where"


def test_all_problems_are_told_at_once_and_each_is_underlined() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_where("日本 == 3 and price == 'a' or not", COLUMNS)
    first, second, third = caught.value.problems
    assert first.splitlines()[1:] == ["  日本 == 3 and price == 'a' or not", "  ^^^^"]
    assert second.splitlines()[2] == "                         ^^^"
    assert third.startswith("condition, character 32: a column is missing here")
    assert [first.code, second.code, third.code] == ["missing-column", "wrong-type", "not-a-condition"]


def test_a_long_condition_is_shown_around_the_problem_only() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_where("label != 'aaaa' and " * 40 + "prize < 3" + " and label != 'bbbb'" * 40, COLUMNS)
    _, text, line = str(caught.value).splitlines()
    assert len(text) < 80
    assert text[line.index("^") : line.rindex("^") + 1] == "prize"


def limits(extra: int) -> dict[str, str]:
    """Return conditions at each limit, or beyond it by `extra`."""
    nested = "in_stock or label == 'a' and not (" * (DEEPEST // 2) + "(" * extra
    return {
        "comparisons": " or ".join(["in_stock and price < 3"] * (MOST_COMPARISONS // 2)) + " and in_stock" * extra,
        "negations": f"{nested}price < 3{')' * (DEEPEST // 2 + extra)}",
        "lists": f"{'in_stock or price < 3 and (' * (DEEPEST + extra)}price < 3{')' * (DEEPEST + extra)}",
        "parentheses": f"{'(' * (DEEPEST + extra)}price < 3{')' * (DEEPEST + extra)}",
        "values": f"price in ({', '.join(['1'] * (MOST_VALUES + extra))})",
        "characters": f"label != '{'a' * (LONGEST - 11 + extra)}'",
    }


@pytest.mark.parametrize("limit", limits(0))
def test_sqlite_takes_the_largest_conditions_and_larger_ones_are_refused(limit: str) -> None:
    condition = parse_where(limits(0)[limit], COLUMNS)
    query = f"SELECT id FROM images WHERE id IN (SELECT id FROM images WHERE id > ? AND {condition.sql})"
    table([]).execute(query, (0, *condition.parameters)).fetchall()
    with pytest.raises(ConfigError, match=r"more than|at most"):
        parse_where(limits(1)[limit], COLUMNS)


def test_a_pattern_longer_than_sqlite_takes_is_refused_and_one_that_it_takes_is_not() -> None:
    longest = parse_where(f"label like '{'a' * LONGEST_PATTERN}'", COLUMNS)
    row: Row = dict.fromkeys(COLUMNS) | {"label": "a"}
    assert table([row]).execute(f"SELECT id FROM images WHERE {longest.sql}", longest.parameters).fetchall() == []
    with pytest.raises(ConfigError, match="50,000 bytes"):
        parse_where(f"label like '{'ä' * (LONGEST_PATTERN // 2)}a'", COLUMNS)


def test_what_is_told_of_a_condition_full_of_problems_is_bounded() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_where(" or ".join(f"{'n' * 180}{number} = 1" for number in range(400)), COLUMNS)
    assert len(caught.value.problems) == MOST_PROBLEMS
    assert len(str(caught.value)) < 10_000


def test_a_condition_that_takes_long_is_interrupted_where_there_is_a_limit() -> None:
    database = table([dict.fromkeys(COLUMNS) | {"label": "a" * 100}] * 1500)
    condition = parse_where(" or ".join(["label like '%a%a%a%b'"] * 490), COLUMNS)
    query = f"SELECT id FROM images WHERE {condition.sql}"
    with (
        conditions_within(0.05),
        pytest.raises(ConfigError, match=r"takes more than 0\.05 seconds") as caught,
        timed(database),
    ):
        database.execute(query, condition.parameters).fetchall()
    assert caught.value.parameter == "where"
    with timed(database):  # and none outside; the connection can be used again
        assert len(database.execute("SELECT id FROM images WHERE label LIKE 'a%'").fetchall()) == 1500
    with conditions_within(30), timed(database), pytest.raises(sqlite3.OperationalError, match="no such table"):
        database.execute("SELECT id FROM elsewhere")


WORDS = [
    *sorted(KEYWORDS),
    *map(spelt, COLUMNS),
    *"()<>=,;'\"`[]\\+-*/%!&|.0",
    "--",
    "/*",
    "==",
    "'a'",
    "3",
    " ",
    " ",
    "SELECT",
]
WORDS += [
    "images",
    "rowid",
    "UNION",
    "x'00'",
    ":a",
    "?",
    "@b",
    "$c",
    "load_extension('x')",
    "\n",
    "1e5",
    "ä",
    "''",
    '"x"',
]
SAFE = re.compile(r"""(?:"(?:[^"]|"")*"|ESCAPE '\\'|NULL|AND|OR|NOT|IN|IS|LIKE|[?()<>=!, ]|= 1)*""")


@settings(max_examples=examples(150), deadline=None, database=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_nothing_of_a_text_becomes_sql(text: str) -> None:
    condition = None
    with suppress(ConfigError):
        condition = parse_where(text, COLUMNS)
    if condition is None:
        return
    assert SAFE.fullmatch(condition.sql)
    quoted = {name.replace('""', '"') for name in re.findall(r'"((?:[^"]|"")*)"', condition.sql)}
    assert quoted <= COLUMNS.keys()
    database = table([])
    database.set_authorizer(only_reads)
    database.execute(f"SELECT id FROM images WHERE {condition.sql}", condition.parameters).fetchall()


def only_reads(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    is_read = action == sqlite3.SQLITE_READ and first == "images" and second in {*COLUMNS, "id"}
    is_like = action == sqlite3.SQLITE_FUNCTION and second == "like"
    return sqlite3.SQLITE_OK if is_read or is_like or action == sqlite3.SQLITE_SELECT else sqlite3.SQLITE_DENY


def test_the_conditions_of_the_page_are_read() -> None:
    columns: dict[str, ColumnKind] = {
        **{"category": "text", "label": "text", "brand": "text", "price": "number", "size": "number"},
        "sold_out": "bool",
    }
    page = PAGE.read_text(encoding="utf-8")
    for line in page.split("```sql\n")[1].partition("```")[0].splitlines():
        assert parse_where(line, columns).text == line
    with pytest.raises(ConfigError) as caught:
        parse_where("categry == 'shoes'", {name: columns[name] for name in ("category", "label", "price")})
    assert str(caught.value) == page.split("```")[3].strip()
