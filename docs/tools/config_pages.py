"""Make the reference pages of the config keys from the config's models: `config.md`, and a page for each family."""

import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eml.config.model import Choice, is_family
from eml.config.text import number
from eml.config.type_info import plain, unit
from eml.images.image_size import LEAST, MOST, ImageSize

SCALARS = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Path: "path", Any: "any value"}
BOUNDS = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))

INTRODUCTION = """# Config keys

Every key of a training config, with its type, its default and what it does. `eml train` reads them from a YAML file;
`eml train CONFIG --set head.scale=30` sets one on the command line, and `eml.train("config.yaml", epochs=3)` in
Python. `eml config example` writes a file with all of them, and `eml config schema` a schema for editors.

A key that names a member of a family, such as `margin: arcface`, has the keys of that member
(`margin: {type: arcface, m: 0.4}`): they are on the family's page.

"""


@dataclass(frozen=True)
class Section:
    """A section of the config.

    Args:
        path: Its dotted key; empty: the whole config.
        model: Its model.
        field: The field that holds it; None: the whole config.
        in_list: Whether it is an entry of a list.
    """

    path: str
    model: type[BaseModel]
    field: FieldInfo | None = None
    in_list: bool = False

    def key(self, name: str) -> str:
        """Return the dotted key of a field."""
        return f"{self.path}.{name}" if self.path else name

    @property
    def title(self) -> str:
        """Its heading with its anchor."""
        if self.in_list:
            return f"Entries of `{self.path}` {{ #{self.path}-entries }}"
        return f"`{self.path}` {{ #{self.path} }}" if self.path else "Top level"


@dataclass(frozen=True)
class Family:
    """A family and the key that picks a member of it."""

    path: str
    choice: type[Choice]

    @property
    def page(self) -> str:
        """The family's page, under reference/."""
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.choice.__name__).lower()
        return f"families/{name}.md"


Families = Mapping[type[Choice], Family]


def config_pages(config: type[BaseModel] | None = None) -> dict[str, str]:
    """Return path under reference/ → Markdown. config: the model whose keys are shown; None: that of a run."""
    if config is None:
        from eml.training.config import RunConfig

        config = RunConfig
    sections, families = everything_in(config)
    pages = {"config.md": config_page(sections, families)}
    return pages | {family.page: family_page(family, families) for family in families.values()}


def everything_in(config: type[BaseModel]) -> tuple[list[Section], dict[type[Choice], Family]]:
    """Return the sections in order, and the families, also those of members."""
    sections = [Section("", config)]
    families: dict[type[Choice], Family] = {}

    def visit(section: Section, around: tuple[type, ...]) -> None:
        for name, field in section.model.model_fields.items():
            key = section.key(name)
            for branch, in_list in leaves(field.annotation):
                if branch in around or not is_model(branch):
                    continue
                if not is_family(branch):
                    inner = Section(key, branch, field, in_list)
                    sections.append(inner)
                    visit(inner, (*around, branch))
                elif branch not in families:
                    families[branch] = Family(key, branch)
                    for member, model in branch.members().items():
                        visit(Section(f"{key}{{{member}}}", model), (*around, branch, model))

    visit(sections[0], (config,))
    return [section for section in sections if "{" not in section.path], families


def is_model(branch: object) -> bool:
    """Return whether a type is a section or a family."""
    return isinstance(branch, type) and issubclass(branch, BaseModel)


def leaves(annotation: Any, in_list: bool = False) -> Iterator[tuple[Any, bool]]:
    """Yield the plain types of an annotation, and whether they are those of a list's entries."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from leaves(arguments[0], in_list)
    elif origin in (Union, types.UnionType):
        for branch in arguments:
            yield from leaves(branch, in_list)
    elif isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
        for branch in arguments:
            yield from leaves(branch, True)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from leaves(arguments[1], in_list)
    else:
        yield annotation, in_list


def config_page(sections: Sequence[Section], families: Families) -> str:
    """Return the page of all sections."""
    inner = {section.path: section for section in sections if not section.in_list}
    shown = "\n".join(skeleton(sections[0], inner))
    lines = [INTRODUCTION, "## All keys", "", "With their defaults; a key leads to its description.", ""]
    lines += [f'<pre class="eml-keys"><code>{shown}</code></pre>', ""]
    for section in sections:
        lines += [f"{'###' if '.' in section.path else '##'} {section.title}", ""]
        if section.field is not None and not section.in_list:
            lines += [facts(section.field, families, ""), "", prose(section.field.description or ""), ""]
        if section.path:
            lines += [prose(inspect.getdoc(section.model) or ""), ""]
        for name, field in section.model.model_fields.items():
            if section.key(name) not in inner:
                lines += [*key_lines(section.key(name), field, families, "")]
    return "\n".join(lines)


def skeleton(section: Section, inner: Mapping[str, Section], indent: str = "") -> Iterator[str]:
    """Yield the lines of a config with its defaults as HTML, in which each key is a link."""
    for name, field in section.model.model_fields.items():
        key = section.key(name)
        is_open = key in inner and (field.is_required() or isinstance(default_of(field), BaseModel))
        value = "" if is_open else " …" if field.is_required() else f" {escape(default_text(field))}"
        yield f'{indent}<a href="#{key}">{name}</a>:{value}'
        if is_open:
            yield from skeleton(inner[key], inner, indent + "  ")


def family_page(family: Family, families: Families) -> str:
    """Return the page of a family: its members, each with its keys."""
    members = family.choice.members()
    names = ", ".join(f"[`{name}`](#{name})" for name in members)
    key = family.path.rpartition(".")[2]
    lines = [f"# The family `{key}`", "", prose(inspect.getdoc(family.choice) or ""), ""]
    lines += [f"Members: {names}. The key: [`{family.path}`](../{anchor_of(family.path)}).", ""]
    for name, model in members.items():
        keys = {inner: field for inner, field in model.model_fields.items() if inner != "type"}
        required = "".join(f", {inner}: …" for inner, field in keys.items() if field.is_required())
        lines += [f"## `{name}` {{ #{name} }}", "", prose(inspect.getdoc(model) or ""), ""]
        lines += ["```yaml", f"{key}: {f'{{type: {name}{required}}}' if required else name}", "```", ""]
        lines += member_lines(Section(name, model), families)
        lines += [] if keys else ["It has no keys of its own.", ""]
    return "\n".join(lines)


def member_lines(section: Section, families: Families) -> list[str]:
    """Return the description of the keys of a family's member, and of those of its sections."""
    lines = []
    for name, field in section.model.model_fields.items():
        if name != "type":
            lines += key_lines(section.key(name), field, families, "../")
        for branch, _ in leaves(field.annotation):
            if is_model(branch) and not is_family(branch):
                lines += member_lines(Section(section.key(name), branch), families)
    return lines


def anchor_of(path: str) -> str:
    """Return page and anchor, under reference/, of the key that picks a family's member."""
    inside = re.fullmatch(r".*?(\w+)\{(\w+)\}\.(\w+)", path)  # head.mode{sampled}.optimizer
    return f"families/{inside[1]}.md#{inside[2]}.{inside[3]}" if inside else f"config.md#{path}"


def key_lines(key: str, field: FieldInfo, families: Families, up: str) -> list[str]:
    """Return the description of a key. up: the way to reference/ from the page."""
    text = re.sub(r"^\([^()]+\) ?|\s\(\w+\)$", "", field.description or "")
    if not text:
        chosen = next((branch for branch, _ in leaves(field.annotation) if is_model(branch)), None)
        text = (inspect.getdoc(chosen) or "").partition("\n\n")[0] if chosen else ""
    lines = [f"#### `{key}` {{ #{key} }}", "", facts(field, families, up), ""]
    return [*lines, prose(text), ""] if text else lines


def facts(field: FieldInfo, families: Families, up: str) -> str:
    """Return a line with a key's type, bounds, unit and default."""
    words = [type_words(field.annotation, families, up, tuple(field.metadata))]
    words += [unit(field)] if unit(field) else []
    default = "required" if field.is_required() else f"default `{default_text(field)}`"
    if isinstance(default_of(field), BaseModel) and not isinstance(default_of(field), Choice):
        return f"{'; '.join(words)}\n{{ .eml-facts }}"
    return f"{'; '.join([*words, default])}\n{{ .eml-facts }}"


def type_words(annotation: Any, families: Families, up: str, limits: tuple[object, ...] = ()) -> str:
    """Return what a value may be, in words. limits: what pydantic knows of its bounds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == ImageSize:
        return f"side, or `[height, width]`, from {LEAST} to {MOST:,}"
    if origin is Annotated:
        return type_words(arguments[0], families, up, limits + arguments[1:])
    if origin in (Union, types.UnionType):
        ordered = sorted(arguments, key=lambda branch: branch is types.NoneType)
        words = dict.fromkeys(type_words(branch, families, up, limits) for branch in ordered)
        return " or ".join(words)
    if origin is Literal:
        return ", ".join(f"`{plain(value)}`" for value in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"names, each with {type_words(arguments[1], families, up)}"
    if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
        entries = " or ".join(dict.fromkeys(type_words(item, families, up) for item in arguments if item is not ...))
        several = f"{len(arguments)} entries" if origin is tuple and arguments[-1] is not ... else "list"
        return f"{several}: {entries}"
    if annotation is types.NoneType:
        return "`null`"
    if is_model(annotation) and is_family(annotation):
        family = families[annotation]
        return f"one of the family [{family.path.rpartition('.')[2]}]({up}{family.page})"
    if is_model(annotation):
        return "section"
    return SCALARS.get(annotation, getattr(annotation, "__name__", str(annotation))) + bounds(limits, annotation)


def bounds(limits: Iterable[object], annotation: object) -> str:
    """Return `, at least 1`."""
    if annotation not in (int, float):
        return ""
    flat = [inner for limit in limits for inner in [limit, *getattr(limit, "metadata", ())]]
    words = [
        f"{word} {number(getattr(limit, name))}"
        for kind, name, word in BOUNDS
        for limit in flat
        if isinstance(limit, kind)
    ]
    return "".join(f", {word}" for word in words)


def default_of(field: FieldInfo) -> Any:
    """Return the default; None where there is none."""
    return None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def default_text(field: FieldInfo) -> str:
    """Return the default as YAML on one line; of a family the member's name where nothing else differs from its own."""
    value = default_of(field)
    if isinstance(value, Choice) and value == type(value).model_validate({"type": value.type}):
        return value.type
    text = yaml.safe_dump(plain(value), default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


def prose(text: str) -> str:
    """Return a docstring or description as Markdown, without the attributes that it lists, which are the keys."""
    parts = re.split(r"(`[^`]*`)", text.partition("\n\nAttributes:")[0])
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", r"\*") for part in parts)
