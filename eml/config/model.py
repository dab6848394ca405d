"""Sections and families."""

import builtins
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from eml.config.registries import MemberError, enter, new_registry
from eml.config.text import did_you_mean, listed, shown, spaced

# Families whose JSON schema is being written, so that a family that contains itself ends in references.
_in_progress: ContextVar[frozenset[type]] = ContextVar("_in_progress", default=frozenset())


class Strict(BaseModel):
    """A section of a config: frozen, refuses unknown keys, infinities and NaN.

    A field's unit is the bracketed word with which its description begins or ends, `"(radians) added to …"`, or
    `json_schema_extra={"unit": "radians"}`; every error about the field's range names it.
    A validator raises ValueError with a message that continues the field's name: `must be divisible by 32, got 100`.
    A validator of several fields begins its message with the field to blame, which gives the error its line.

    `renamed_keys` and `renamed_values` list what a section's keys and values were called in earlier versions, so that
    an old config gets an error with the new name. Entries of base classes count too, those of a family for all of its
    members; a renamed member stands in its family's `renamed_values["type"]`. `moved_keys` lists keys that are read
    as before and stand in an inner section now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    renamed_keys: ClassVar[Mapping[str, str]] = {}
    """Old key → new key."""
    renamed_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """Key → (old value → new value)."""
    moved_keys: ClassVar[Mapping[str, str]] = {}
    """Old key → `SECTION.KEY`, where it is now."""

    @model_validator(mode="before")
    @classmethod
    def _read_moved_keys(cls, value: Any) -> Any:
        """Put the values of moved keys where they are now, in a copy."""
        if not isinstance(value, dict) or cls.moved_keys.keys().isdisjoint(value):
            return value
        moved = dict(value)
        for old in cls.moved_keys.keys() & value.keys():
            move_key(cls, moved, old)
        return moved


def move_key(section: type[Strict], value: dict[str, Any], old: str) -> None:
    """Put the value of a moved key where it is now, in place.

    Raises:
        ValueError: The new key is set too; the message begins with the old one.
    """
    new = section.moved_keys[old]
    outer, _, key = new.partition(".")
    inner = value.get(outer, {})
    if isinstance(inner, BaseModel):
        inner = {name: getattr(inner, name) for name in inner.model_fields_set}
    if not isinstance(inner, dict):
        return  # which the section's own check reports
    if key in inner:
        raise ValueError(f"{old} is now {new}, which is set too; leave {old} out")
    value[outer] = inner | {key: value.pop(old)}


def is_family(cls: type) -> bool:
    """Return whether `cls` is a direct subclass of Choice."""
    return Choice in cls.__bases__


class Choice(Strict):
    """The base of families: a direct subclass is a family, whose direct subclasses are its members.

    A member is picked by its literal `type`. The annotation stays plain, `margin: Margin`, and accepts
    `{type: arcface, m: 0.5}`, the short form `arcface` for the member with its defaults, or an instance of a member.
    The members are looked up when a value is validated, so a member that is defined later counts too.
    Raises TypeError when a member is defined without `type: Literal["name"] = "name"`, with a `type` that is taken, or
    as a subclass of another member. Defining the same class again (a notebook's cell, a reload) replaces it.
    """

    _registry: ClassVar[dict[str, builtins.type[BaseModel]]] = {}

    type: str

    @classmethod
    def members(cls) -> dict[str, builtins.type[Self]]:
        """Return the family's members by their `type`."""
        return {name: member for name, member in cls._registry.items() if issubclass(member, cls)}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Give a family its registry; enter a member into its family's."""
        super().__pydantic_init_subclass__(**kwargs)
        if is_family(cls):
            cls._registry = new_registry(spaced(cls.__name__))
            return
        family = next((base for base in cls.__bases__ if is_family(base)), None)
        if family is None:
            raise MemberError(f"{cls.__qualname__} extends a member; extend its family instead")
        enter(cls._registry, _literal_type(cls), cls, family)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: builtins.type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """Return pydantic's own schema for a member, and for a family a function that picks the member."""
        if Strict in cls.__bases__ or not is_family(cls):
            return handler(source)
        return core_schema.with_info_plain_validator_function(
            cls._pick, serialization=core_schema.simple_ser_schema("any")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        """Return a member with `type` required; a family as one of its members, or the name of one with defaults."""
        if not is_family(cls):
            written = handler(core)
            member = handler.resolve_ref_schema(written)
            member["required"] = ["type", *(key for key in member.get("required", []) if key != "type")]
            return written
        outer = _in_progress.get()
        token = _in_progress.set(outer | {cls})
        try:
            cores = {name: member.__pydantic_core_schema__ for name, member in cls.members().items()}
            choices = {name: _reference(core) if cls in outer else core for name, core in cores.items()}
            if not choices:
                return {"not": {}}
            members = handler(core_schema.tagged_union_schema(choices, discriminator="type"))
        finally:
            _in_progress.reset(token)
        complete = [name for name, member in cls.members().items() if not _required_keys(member)]
        return {"anyOf": [members, {"enum": complete, "type": "string"}]} if complete else members

    @classmethod
    def _pick(cls, value: object, info: ValidationInfo) -> BaseModel:
        """Return the member that `value` names, validated by the member itself; errors keep their place."""
        if isinstance(value, cls):
            return value
        members, known = cls.members(), listed(sorted(cls.members()))
        if isinstance(value, str):
            value = {"type": value}
        if not isinstance(value, dict):
            text = "must be a name or a section with a 'type', got {got}; known: {known}"
            raise PydanticCustomError("choice_section", text, {"got": shown(value), "known": known})
        name = value.get("type")
        if name is None:
            raise PydanticCustomError("choice_missing", "needs a 'type'; known: {known}", {"known": known})
        if not isinstance(name, str) or name not in members:
            context = {"family": spaced(cls.__name__), "got": shown(name), "hint": did_you_mean(name, members)}
            text = "unknown {family} {got}{hint}; known: {known}"
            raise PydanticCustomError("choice_unknown", text, {**context, "known": known})
        return members[name].model_validate(value, context=info.context)


def _literal_type(member: type[BaseModel]) -> str:
    field = member.model_fields["type"]
    if get_origin(field.annotation) is Literal and isinstance(field.default, str):
        (name, *more) = get_args(field.annotation)
        if name == field.default and not more:
            return field.default
    raise MemberError(f"{member.__qualname__} needs a literal type, for example type: Literal['name'] = 'name'")


def _required_keys(member: type[BaseModel]) -> list[str]:
    return [key for key, field in member.model_fields.items() if field.is_required()]


def _reference(core: CoreSchema) -> CoreSchema:
    """Return a reference to a model's schema, which an outer call is writing."""
    inner = core["schema"] if core["type"] == "definitions" else core
    ref = inner.get("schema_ref") or inner.get("ref")
    assert isinstance(ref, str)  # pydantic gives every model one
    return core_schema.definition_reference_schema(ref)
