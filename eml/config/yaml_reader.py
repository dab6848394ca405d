"""YAML text as plain values with their locations. Scalars follow the YAML 1.2 core schema, so 1e-4 is a float."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from eml.config.locations import ConfigProblem, Loc, Locations, SourceLocation, dotted
from eml.config.text import is_utf_8, shown
from eml.errors import ConfigError

MOST_DEPTH = 32  # sections within sections; no config needs half of it
LONGEST_NUMBER = 100  # characters
MOST_VALUES = 10_000  # aliases of aliases can multiply a small file beyond any memory

_CORE = "tag:yaml.org,2002:"
# The core schema, except that a leading zero makes text: 007 can be a label.
_SCALARS = {
    f"{_CORE}bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    f"{_CORE}int": (r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    f"{_CORE}float": (
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*)([eE][-+]?[0-9]+)?"
        r"|[-+]?(0|[1-9][0-9]*)[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    f"{_CORE}null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
}


def add_core_scalars(resolver: type[yaml.resolver.BaseResolver]) -> None:
    """Teach a PyYAML loader or dumper which plain scalars are not text."""
    for tag, (pattern, first) in _SCALARS.items():
        resolver.add_implicit_resolver(tag, re.compile(f"(?:{pattern})$"), list(first))


@dataclass
class Document:
    """The content of a YAML text; `value` is usable even when there are problems."""

    value: Any = None
    locations: Locations = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)


def read_yaml(text: str, place: Callable[[int], SourceLocation], string: type[str] = str) -> Document:
    """Read the values of one YAML document.

    Args:
        text: The document.
        place: Returns the location of a line, counted from 1.
        string: The class of text values.

    Raises:
        ConfigError: The text is not YAML. All other problems are returned, so that they can be reported together.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"{place(line).text}: not YAML: the control character U+{error.character:04X}"
        raise ConfigError(message, code="not-yaml") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_not_yaml(error, place), code="not-yaml") from None
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode
        raise ConfigError(f"{place(1).text}: not YAML: {error}", code="not-yaml") from None
    except RecursionError:
        raise ConfigError(f"{place(1).text}: is nested too deeply", code="not-yaml") from None
    document = Document(locations={(): place(1 if root is None else root.start_mark.line + 1)})
    document.problems += [
        ConfigProblem(place(line), f"the tag {tag} is not supported; write the plain value", "unsupported-yaml")
        for line, tag in loader.tags
    ]
    if root is not None:
        document.value = _Builder(document, place, string).build(root, ())
    return document


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tags: list[tuple[int, str]] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if tag := getattr(event, "tag", None):
            self.tags.append((event.start_mark.line + 1, str(tag).replace(_CORE, "!!")))
        return super().compose_node(parent, index)


add_core_scalars(_Loader)


@dataclass
class _Builder:
    """Turns nodes into values. Keeps the nodes around the current one, to detect an alias that contains itself."""

    document: Document
    place: Callable[[int], SourceLocation]
    string: type[str]
    around: list[int] = field(default_factory=list)

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        if id(node) in self.around:
            return self.report(loc, f"{dotted(loc)} is an alias of a section that contains it", "unsupported-yaml")
        if len(loc) > MOST_DEPTH:
            text = f"{dotted(loc[:3])}…: is nested too deeply; at most {MOST_DEPTH} sections lie within one another"
            return self.report(loc, text, "unsupported-yaml")
        if len(self.document.locations) > MOST_VALUES:
            return self.report(loc, f"aliases make more than {MOST_VALUES} values of this file", "unsupported-yaml")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, loc)
        self.around.append(id(node))
        value = self.mapping(node, loc) if isinstance(node, yaml.MappingNode) else self.sequence(node, loc)
        self.around.pop()
        return value

    def mapping(self, node: yaml.Node, loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, value in node.value:
            location = self.place(key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                self.report(location, "a key must be a plain word", "unsupported-yaml")
            elif key.value == "<<" and key.style is None:
                self.report(location, "merge keys (<<) are not supported; write the keys out", "unsupported-yaml")
            elif not is_utf_8(key.value):
                self.report(location, f"a key has half a character, got {shown(key.value)}", "unsupported-yaml")
            elif key.value in values:
                name = dotted((*loc, key.value))
                self.report(location, f"{name} is given twice, first on line {first[key.value]}", "repeated-key", name)
            else:
                first[key.value] = key.start_mark.line + 1
                self.document.locations[*loc, key.value] = location
                values[key.value] = self.build(value, (*loc, key.value))
        return values

    def sequence(self, node: yaml.Node, loc: Loc) -> list[Any]:
        values = []
        for index, value in enumerate(node.value):
            self.document.locations[*loc, index] = self.place(value.start_mark.line + 1)
            values.append(self.build(value, (*loc, index)))
        return values

    def scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        text, kind = str(node.value), str(node.tag).removeprefix(_CORE)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind in ("int", "float") and len(text) > LONGEST_NUMBER:
                raise ValueError
            if kind == "int":
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if kind == "float":
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except ValueError:  # too long, or a tag that contradicts the text
            return self.report(loc, f"{dotted(loc)} is not a number that can be read", "wrong-type", dotted(loc))
        if not is_utf_8(text):
            return self.report(loc, f"{dotted(loc)} has half a character, got {shown(text)}", "wrong-type", dotted(loc))
        return self.string(text)

    def report(self, place: SourceLocation | Loc, message: str, code: str, key: str | None = None) -> None:
        location = place if isinstance(place, SourceLocation) else self.document.locations[place]
        self.document.problems.append(ConfigProblem(location, message, code, key))


def _not_yaml(error: yaml.MarkedYAMLError, place: Callable[[int], SourceLocation]) -> str:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be read"
    if "'\\t'" in problem:
        problem = "a tab; indent with spaces"
    elif "single document" in str(error.context):
        problem = "a second document begins (---); a config is one"
    elif error.context and error.context_mark and mark and error.context_mark.line != mark.line:
        problem = f"{problem} {error.context} that begins on line {error.context_mark.line + 1}"
    return f"{place(mark.line + 1 if mark else 1).text}: not YAML: {problem}"
