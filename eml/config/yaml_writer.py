"""Configs as YAML text."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eml.config.locations import Loc, dotted
from eml.config.text import alternatives, listed
from eml.config.type_info import FieldSpec, as_section, fields, items, plain, sections, unit
from eml.config.yaml_reader import add_core_scalars

WIDTH = 100


def dump(config: BaseModel) -> str:
    """Return the config as YAML with every key, in the order of declaration; `load` reads it as an equal config."""
    return _yaml(plain(config))


def document(model: type[BaseModel], values: Mapping[str, object]) -> str:
    """Return YAML with every key of `model` under a comment, with `values` in place of the defaults.

    The comment is the field's description, or the docstring of its section; a family's comment lists its types.
    Values are not changed: a relative path stays relative.
    Raises ValueError when a required key has no value, or a key is unknown.
    """
    blocks = _blocks(FieldSpec(model), plain(values), ())
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _blocks(spec: FieldSpec, values: dict[str, Any], loc: Loc) -> Iterator[list[str]]:
    """Yield the lines of each key of a section: the comment, then the key and its value."""
    known = fields(spec, values)
    if unknown := [key for key in values if key not in known]:
        raise ValueError(f"unknown key {dotted((*loc, unknown[0]))}; known: {listed(known)}")
    for key, field in known.items():
        if key not in values and field.is_required():
            raise ValueError(f"{dotted((*loc, key))} has no value")
        value = values[key] if key in values else field.get_default(call_default_factory=True, validated_data={})
        inner = FieldSpec(field.annotation, field)
        value = as_section(inner, value) or plain(value)
        comment = [] if key == "type" and spec.families else _comment(field, inner, value, WIDTH - 2 * len(loc))
        yield [*comment, *_entry(key, inner, value, (*loc, key))]


def _entry(key: str, spec: FieldSpec, value: Any, loc: Loc) -> list[str]:
    if isinstance(value, dict) and fields(spec, value):
        return [f"{key}:", *_indented(_blocks(spec, value, loc))]
    item = items(spec)
    if isinstance(value, list) and item:
        value = [as_section(item, entry) or entry for entry in value]
    if isinstance(value, list) and item and value and all(isinstance(v, dict) and fields(item, v) for v in value):
        lines = [f"{key}:"]
        for index, section in enumerate(value):
            first, *rest = _indented(_blocks(item, section, (*loc, index)), "    ")
            lines += [f"  - {first[4:]}", *rest]
        return lines
    return _yaml({key: value}).rstrip("\n").split("\n")


def _indented(blocks: Iterable[list[str]], margin: str = "  ") -> list[str]:
    return [margin + line if line else line for block in blocks for line in block]


def _comment(field: FieldInfo, spec: FieldSpec, value: object, width: int) -> list[str]:
    text, name = field.description or _docstring(spec, value), unit(field)
    paragraphs = [f"({name}) {text}" if name and f"({name})" not in text else text]
    item = items(spec)
    for family in [*spec.families, *(item.families if item else ())]:
        paragraphs.append(f"type: {alternatives(sorted(family.members()))}")
    return [f"# {line}" for text in paragraphs for line in textwrap.wrap(text, width - 2, break_long_words=False)]


def _docstring(spec: FieldSpec, value: object) -> str:
    """Return the first paragraph of the section's own docstring."""
    for section in sections(spec, value):
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
    escape = any(
        mark in text for mark in "\r\x85\u2028\u2029\ufeff"
    )  # line breaks that PyYAML changes when it reads them
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if escape else None)


_Dumper.add_representer(list, _sequence)
_Dumper.add_representer(str, _text)
add_core_scalars(_Dumper)  # in addition to PyYAML's own: text that either would read as a number is quoted


def _yaml(value: object) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return text.removesuffix("...\n")
