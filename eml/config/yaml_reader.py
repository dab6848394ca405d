"""YAML text as plain values, each with its origin. Scalars follow the YAML 1.2 core schema, so 1e-4 is a float."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from eml.config.locations import Loc, Origins, Problem, SourceLocation, dotted
from eml.errors import ConfigError

MOST_VALUES = 10_000  # aliases of aliases can multiply a small file beyond any memory

_CORE = "tag:yaml.org,2002:"
# The core schema, but a leading zero makes text: 007 is somebody's label.
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
    """What a YAML text holds; `value` is usable even when there are problems."""

    value: Any = None
    origins: Origins = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(text: str, place: Callable[[int], SourceLocation], string: type[str] = str) -> Document:
    """The values of one YAML document; `place` gives the origin of a line (from 1), `string` is the class of texts.

    Raises ConfigError when the text is no YAML; all other problems are returned, so that they can be told together.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{place(line).text}: not YAML: the control character U+{error.character:04X}") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_not_yaml(error, place)) from None
    except RecursionError:
        raise ConfigError(f"{place(1).text}: is nested too deeply") from None
    document = Document(origins={(): place(1 if root is None else root.start_mark.line + 1)})
    document.problems += [
        Problem(place(line), f"the tag {tag} is not supported; write the plain value") for line, tag in loader.tags
    ]
    if root is not None:
        document.value = _Builder(document, place, string).build(root, ())
    return document


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML has it

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
    """Turns nodes into values; the nodes around the current one are kept, to see an alias that holds itself."""

    document: Document
    place: Callable[[int], SourceLocation]
    string: type[str]
    around: list[int] = field(default_factory=list)

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        if id(node) in self.around:
            return self.report(self.document.origins[loc], f"{dotted(loc)} is an alias of a section that holds it")
        if len(self.document.origins) > MOST_VALUES:
            return self.report(self.document.origins[loc], f"aliases make more than {MOST_VALUES} values of this file")
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
            origin = self.place(key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                self.report(origin, "a key must be a plain word")
            elif key.value == "<<" and key.style is None:
                self.report(origin, "merge keys (<<) are not supported; write the keys out")
            elif key.value in values:
                name = dotted((*loc, key.value))
                self.report(origin, f"{name} is given twice, first on line {first[key.value]}")
            else:
                first[key.value] = key.start_mark.line + 1
                self.document.origins[*loc, key.value] = origin
                values[key.value] = self.build(value, (*loc, key.value))
        return values

    def sequence(self, node: yaml.Node, loc: Loc) -> list[Any]:
        values = []
        for index, value in enumerate(node.value):
            self.document.origins[*loc, index] = self.place(value.start_mark.line + 1)
            values.append(self.build(value, (*loc, index)))
        return values

    def scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        text, kind = str(node.value), str(node.tag).removeprefix(_CORE)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if kind == "float":
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except ValueError:  # more digits than Python reads, or a tag that says what the text is not
            return self.report(self.document.origins[loc], f"{dotted(loc)} is no usable number")
        return self.string(text)

    def report(self, origin: SourceLocation, message: str) -> None:
        self.document.problems.append(Problem(origin, message))


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
