"""What a config's types say: which keys stand where, what a value may be, in which unit."""

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
    """A place in a config: the type of its value, and the field that declares it (a list's, for its items)."""

    annotation: object
    field: FieldInfo | None = None

    @property
    def branches(self) -> list[object]:
        """The types a value may have, unions taken apart."""
        return list(_branches(self.annotation))

    @property
    def only_numbers(self) -> bool:
        """Whether a number may stand here, but not true or false."""
        branches = self.branches
        flags = any(isinstance(v, bool) for b in branches for v in _values(b))
        return (int in branches or float in branches) and not flags and not {bool, Any, object} & set(branches)

    @property
    def families(self) -> list[type[Choice]]:
        """The families a value may belong to."""
        return [b for b in self.branches if isinstance(b, type) and issubclass(b, Choice) and is_family(b)]


def spot(model: type[BaseModel], loc: Loc, data: object) -> FieldSpec | None:
    """What the types say about `loc`; `data` says which member of a family stands on the way. None if nothing."""
    here: FieldSpec | None = FieldSpec(model)
    for part in loc:
        if here is None:
            return None
        here = _step(here, part, data)
        data = child(data, part)
    return here


def child(data: object, part: str | int) -> object:
    """The value under a key or index, None if there is none."""
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None


def sections(here: FieldSpec, data: object) -> Iterator[type[BaseModel]]:
    """The sections that may stand here; of a family the member that `data` names."""
    for branch in here.branches:
        if isinstance(branch, type) and issubclass(branch, BaseModel):
            if not (issubclass(branch, Choice) and is_family(branch)):
                yield branch
            elif isinstance(name := child(data, "type"), str) and name in branch.members():
                yield branch.members()[name]


def fields(here: FieldSpec | None, data: object) -> dict[str, FieldInfo]:
    """The keys that a section may have; in a family those of the member that `data` names."""
    known: dict[str, FieldInfo] = {}
    for section in sections(here, data) if here else ():
        known |= section.model_fields
    return known


def items(here: FieldSpec) -> FieldSpec | None:
    """What the items of a list may be; None where no list may stand."""
    return _step(here, 0, None)


def plain(value: object) -> Any:
    """A config, or what it holds, as YAML can hold it. Not by pydantic: 2.10 writes a section as the text of a path."""
    if isinstance(value, BaseModel):
        return {key: plain(getattr(value, key)) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [plain(item) for item in value]
    return to_jsonable_python(value)


def unit(field: FieldInfo | None) -> str:
    """`radians`, or nothing."""
    extra = field.json_schema_extra if field else None
    if isinstance(extra, Mapping) and "unit" in extra:
        return str(extra["unit"])
    found = re.search(r"^\(([^()]+)\)|\((\w+)\)$", (field.description if field else None) or "")
    return found[1] or found[2] if found else ""


def described(here: FieldSpec) -> str:
    """What a value may be, as `a number or 'auto'`."""
    branches = here.branches
    if float in branches:
        branches = [branch for branch in branches if branch is not int]
    return alternatives(word for branch in branches for word in _described(branch))


def literals(here: FieldSpec) -> list[str]:
    """The texts that a value may be."""
    return [v for b in here.branches for v in _values(b) if isinstance(v, str)]


def _branches(annotation: object) -> Iterator[object]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif origin is Union or origin is types.UnionType:
        for branch in get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _step(here: FieldSpec, part: str | int, data: object) -> FieldSpec | None:
    if isinstance(part, str) and (field := fields(here, data).get(part)):
        return FieldSpec(field.annotation, field)
    for branch in here.branches:
        args, origin = get_args(branch), get_origin(branch)
        if not args or not isinstance(origin, type):
            continue
        if isinstance(part, str) and issubclass(origin, Mapping):
            return FieldSpec(args[1], here.field)
        if isinstance(part, int) and issubclass(origin, Sequence | AbstractSet):
            item = args[part] if origin is tuple and args[-1] is not Ellipsis and part < len(args) else args[0]
            return FieldSpec(item, here.field)
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
        return ["a section with a 'type'"]
    if issubclass(origin, BaseModel):
        return [f"a section (keys: {listed(origin.model_fields)})"]
    if issubclass(origin, Mapping):
        return ["a section"]
    if issubclass(origin, Sequence | AbstractSet):
        args = get_args(branch)
        return [f"a list of {len(args)} items" if origin is tuple and args and args[-1] is not Ellipsis else "a list"]
    return [origin.__name__]
