"""Sections and families."""

import builtins
from contextvars import ContextVar
from typing import ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from eml.config.text import did_you_mean, listed, shown, spaced

# Families whose JSON schema is being written, so that a family that contains itself ends in references.
_in_progress: ContextVar[frozenset[type]] = ContextVar("_in_progress", default=frozenset())


class Strict(BaseModel):
    """A section of a config: frozen, refuses unknown keys, infinities and NaN.

    A field's unit is the bracketed word with which its description begins or ends, `"(radians) added to …"`, or
    `json_schema_extra={"unit": "radians"}`; it is then named in every error about the field's range.
    A validator raises ValueError with a message that continues the field's name: `must be divisible by 32, got 100`.
    One that looks at several fields begins its message with the field to blame, which gives the error its line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def is_family(cls: type) -> bool:
    """Whether `cls` is a direct subclass of Choice."""
    return Choice in cls.__bases__


class Choice(Strict):
    """A direct subclass is a family; the family's direct subclasses are its members, picked by their literal `type`.

    The annotation stays plain, `margin: Margin`, and takes `{type: arcface, m: 0.5}` or an instance of a member. The
    members are looked up when a value is validated, so one that is defined later counts too.
    Raises TypeError when a member is defined without `type: Literal["name"] = "name"`, with a `type` that is taken, or
    as a subclass of another member. Defining the same class again (a notebook's cell, a reload) replaces it.
    """

    _registry: ClassVar[dict[str, builtins.type[BaseModel]]] = {}

    type: str

    @classmethod
    def members(cls) -> dict[str, builtins.type[Self]]:
        """The family's members by their `type`."""
        return {name: member for name, member in cls._registry.items() if issubclass(member, cls)}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Give a family its registry; enter a member into its family's."""
        super().__pydantic_init_subclass__(**kwargs)
        if is_family(cls):
            cls._registry = {}
            return
        if not any(is_family(base) for base in cls.__bases__):
            raise TypeError(f"{cls.__qualname__} extends a member; extend its family instead")
        name = _literal_type(cls)
        others = {other: member for other, member in cls._registry.items() if not _same_place(member, cls)}
        if name in others:
            raise TypeError(f"{cls.__qualname__}: type {name!r} is taken by {_place(others[name])}")
        others[name] = cls
        cls._registry.clear()
        cls._registry.update(others)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: builtins.type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """A member as pydantic has it; a family as a function that picks the member."""
        if Strict in cls.__bases__ or not is_family(cls):
            return handler(source)
        return core_schema.with_info_plain_validator_function(
            cls._pick, serialization=core_schema.simple_ser_schema("any")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        """A member with `type` required; a family as `oneOf` its members."""
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
            return handler(core_schema.tagged_union_schema(choices, discriminator="type")) if choices else {"not": {}}
        finally:
            _in_progress.reset(token)

    @classmethod
    def _pick(cls, value: object, info: ValidationInfo) -> BaseModel:
        """The member that `value` names, validated by the member itself; its errors keep their place in the whole."""
        if isinstance(value, cls):
            return value
        members, known = cls.members(), listed(sorted(cls.members()))
        if not isinstance(value, dict):
            text = "must be a section with a 'type', got {got}; known: {known}"
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
    raise TypeError(f"{member.__qualname__} needs a literal type, for example type: Literal['name'] = 'name'")


def _same_place(one: type, other: type) -> bool:
    return _place(one) == _place(other)


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _reference(core: CoreSchema) -> CoreSchema:
    """A reference to a model's schema, which is being written further out."""
    inner = core["schema"] if core["type"] == "definitions" else core
    ref = inner.get("schema_ref") or inner.get("ref")
    assert isinstance(ref, str)  # pydantic gives every model one
    return core_schema.definition_reference_schema(ref)
