"""Configs as YAML text."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eml.config.locations import Loc, dotted
from eml.config.text import alternatives, listed
from eml.config.type_info import FieldSpec, fields, items, plain, sections, unit
from eml.config.yaml_reader import add_core_scalars

WIDTH = 100


def dump(config: BaseModel) -> str:
    """The config as YAML with every key, in the order of declaration; `load` makes an equal config of it."""
    return _yaml(plain(config))


def document(model: type[BaseModel], values: Mapping[str, object]) -> str:
    """YAML with every key of `model` under a comment; `values` where given, else defaults.

    The comment is the field's description, or the docstring of the section that stands there; a family's lists its
    types. Values are written as they are: a relative path stays relative.
    Raises ValueError when a required key has no value, or a key is unknown.
    """
    blocks = _blocks(FieldSpec(model), plain(values), ())
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _blocks(here: FieldSpec, values: dict[str, Any], loc: Loc) -> Iterator[list[str]]:
    """For each key of a section its lines: the comment, then the key and what it holds."""
    known = fields(here, values)
    if unknown := [key for key in values if key not in known]:
        raise ValueError(f"unknown key {dotted((*loc, unknown[0]))}; known: {listed(known)}")
    for key, field in known.items():
        if key not in values and field.is_required():
            raise ValueError(f"{dotted((*loc, key))} has no value")
        value = values[key] if key in values else field.get_default(call_default_factory=True, validated_data={})
        inner = FieldSpec(field.annotation, field)
        value = plain(value)
        comment = [] if key == "type" and here.families else _comment(field, inner, value, WIDTH - 2 * len(loc))
        yield [*comment, *_entry(key, inner, value, (*loc, key))]


def _entry(key: str, here: FieldSpec, value: Any, loc: Loc) -> list[str]:
    if isinstance(value, dict) and fields(here, value):
        return [f"{key}:", *_indented(_blocks(here, value, loc))]
    item = items(here)
    if isinstance(value, list) and item and value and all(isinstance(v, dict) and fields(item, v) for v in value):
        lines = [f"{key}:"]
        for index, section in enumerate(value):
            first, *rest = _indented(_blocks(item, section, (*loc, index)), "    ")
            lines += [f"  - {first[4:]}", *rest]
        return lines
    return _yaml({key: value}).rstrip("\n").split("\n")


def _indented(blocks: Iterable[list[str]], margin: str = "  ") -> list[str]:
    return [margin + line if line else line for block in blocks for line in block]


def _comment(field: FieldInfo, here: FieldSpec, value: object, width: int) -> list[str]:
    text, name = field.description or _docstring(here, value), unit(field)
    paragraphs = [f"({name}) {text}" if name and f"({name})" not in text else text]
    item = items(here)
    for family in [*here.families, *(item.families if item else ())]:
        paragraphs.append(f"type: {alternatives(sorted(family.members()))}")
    return [f"# {line}" for text in paragraphs for line in textwrap.wrap(text, width - 2, break_long_words=False)]


def _docstring(here: FieldSpec, value: object) -> str:
    """The first paragraph of the own docstring of the section that stands there."""
    for section in sections(here, value):
        if "__doc__" in vars(section):
            return " ".join((section.__doc__ or "").split("\n\n")[0].split())
    return ""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _sequence(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    short = not any(isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    escape = any(mark in text for mark in "\r\x85\u2028\u2029\ufeff")  # line breaks that PyYAML reads back as others
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if escape else None)


_Dumper.add_representer(list, _sequence)
_Dumper.add_representer(str, _text)
add_core_scalars(_Dumper)  # beside PyYAML's own: what either would read as a number is quoted


def _yaml(value: object) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return text.removesuffix("...\n")
