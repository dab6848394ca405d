"""Facts from a config's types: which keys a section has, what a value may be, and its unit."""

import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from eml.config.locations import Loc
from eml.config.model import Choice, is_family
from eml.config.text import alternatives, listed, shown

_SCALARS: dict[object, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    types.NoneType: "null",
}


@dataclass(frozen=True)
class FieldSpec:
    """The type of a value and the field that declares it; the items of a list have the list's field."""

    annotation: object
    field: FieldInfo | None = None

    @property
    def branches(self) -> list[object]:
        """The allowed types, with unions split."""
        return list(_branches(self.annotation))

    @property
    def only_numbers(self) -> bool:
        """Whether a number is allowed here, but not true or false."""
        branches = self.branches
        flags = any(isinstance(v, bool) for b in branches for v in _values(b))
        return (int in branches or float in branches) and not flags and not {bool, Any, object} & set(branches)

    @property
    def families(self) -> list[type[Choice]]:
        """The families of the value."""
        return [b for b in self.branches if isinstance(b, type) and issubclass(b, Choice) and is_family(b)]


def find_field(model: type[BaseModel], loc: Loc, data: object) -> FieldSpec | None:
    """Return the type and field at `loc`, or None when the types do not know it.

    data: the config's values, which name the members of the families on the way.
    """
    spec: FieldSpec | None = FieldSpec(model)
    for part in loc:
        if spec is None:
            return None
        spec = step_into(spec, part, data)
        data = child(data, part)
    return spec


def child(data: object, part: str | int) -> object:
    """Return the value under a key or index, or None if there is none."""
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None


def as_section(spec: FieldSpec | None, value: object) -> dict[str, Any] | None:
    """Return `{"type": value}` where `value` is the short form of a family's member, its name alone; else None."""
    if spec is None or not isinstance(value, str) or value in literals(spec):
        return None
    return {"type": value} if any(value in family.members() for family in spec.families) else None


def sections(spec: FieldSpec, data: object) -> Iterator[type[BaseModel]]:
    """Yield the sections that are allowed here; of a family the member that `data` names."""
    for branch in spec.branches:
        if isinstance(branch, type) and issubclass(branch, BaseModel):
            if not (issubclass(branch, Choice) and is_family(branch)):
                yield branch
            elif isinstance(name := data if isinstance(data, str) else child(data, "type"), str):
                yield from [member for key, member in branch.members().items() if key == name]


def fields(spec: FieldSpec | None, data: object) -> dict[str, FieldInfo]:
    """Return the keys that a section may have; in a family those of the member that `data` names."""
    known: dict[str, FieldInfo] = {}
    for section in sections(spec, data) if spec else ():
        known |= section.model_fields
    return known


def items(spec: FieldSpec) -> FieldSpec | None:
    """Return the type of a list's items, or None where a list is not allowed."""
    return step_into(spec, 0, None)


def key_paths(model: type[BaseModel], data: object) -> list[Loc]:
    """Return the path to each key that takes a plain value; `data` names the members of families.

    A family counts too, since the name of a member is a value.
    Where `data` lacks a section, its default counts; an optional section counts as present.
    """
    return list(_key_paths(FieldSpec(model), data, (), frozenset()))


def _key_paths(spec: FieldSpec, data: object, loc: Loc, outer: frozenset[type]) -> Iterator[Loc]:
    inside = list(sections(spec, data))
    if outer & set(inside):  # a section that contains itself
        return
    for section in inside:
        for key, field in section.model_fields.items():
            value = child(data, key)
            if value is None and not field.is_required():
                value = plain(field.get_default(call_default_factory=True, validated_data={}))
            inner = FieldSpec(field.annotation, field)
            nested = list(sections(inner, value))
            if inner.families or not nested:
                yield (*loc, key)
            if nested:
                yield from _key_paths(inner, value, (*loc, key), outer | set(inside))


def plain(value: object) -> Any:
    """Return a config, or a part of it, as the values that YAML has.

    Pydantic's own conversion does not do: 2.10 writes a section as the text of a path.
    """
    if isinstance(value, BaseModel):
        return {key: plain(getattr(value, key)) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [plain(item) for item in value]
    return to_jsonable_python(value)


def unit(field: FieldInfo | None) -> str:
    """Return `radians`, or an empty text."""
    extra = field.json_schema_extra if field else None
    if isinstance(extra, Mapping) and "unit" in extra:
        return str(extra["unit"])
    match = re.search(r"^\(([^()]+)\)|\((\w+)\)$", (field.description if field else None) or "")
    return match[1] or match[2] if match else ""


def described(spec: FieldSpec) -> str:
    """Return the allowed kinds of a value, as `a number or 'auto'`."""
    branches = spec.branches
    if float in branches:
        branches = [branch for branch in branches if branch is not int]
    return alternatives(word for branch in branches for word in _described(branch))


def literals(spec: FieldSpec) -> list[str]:
    """Return the texts that are allowed as a value."""
    return [v for b in spec.branches for v in _values(b) if isinstance(v, str)]


def _branches(annotation: object) -> Iterator[object]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif origin is Union or origin is types.UnionType:
        for branch in get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def step_into(spec: FieldSpec, part: str | int, data: object) -> FieldSpec | None:
    """Return the type and field under a key or index of a section or list with the values `data`, or None."""
    if isinstance(part, str) and (field := fields(spec, data).get(part)):
        return FieldSpec(field.annotation, field)
    for branch in spec.branches:
        args, origin = get_args(branch), get_origin(branch)
        if not args or not isinstance(origin, type):
            continue
        if isinstance(part, str) and issubclass(origin, Mapping):
            return FieldSpec(args[1], spec.field)
        if isinstance(part, int) and issubclass(origin, Sequence | AbstractSet):
            item = args[part] if origin is tuple and args[-1] is not Ellipsis and part < len(args) else args[0]
            return FieldSpec(item, spec.field)
    return None


def _values(branch: object) -> Iterable[object]:
    if get_origin(branch) is Literal:
        return get_args(branch)
    return [member.value for member in branch] if isinstance(branch, type) and issubclass(branch, Enum) else ()


def _described(branch: object) -> list[str]:
    if values := _values(branch):
        return [shown(value) for value in values]
    if branch in _SCALARS:
        return [_SCALARS[branch]]
    origin = get_origin(branch) or branch
    if not isinstance(origin, type):
        return ["another kind of value"]
    if issubclass(origin, Choice) and is_family(origin):
        return ["a name", "a section with a 'type'"]
    if issubclass(origin, BaseModel):
        return [f"a section (keys: {listed(origin.model_fields)})"]
    if issubclass(origin, Mapping):
        return ["a section"]
    if issubclass(origin, Sequence | AbstractSet):
        args = get_args(branch)
        return [f"a list of {len(args)} items" if origin is tuple and args and args[-1] is not Ellipsis else "a list"]
    return [origin.__name__]
