"""Configs of earlier versions: renamed keys and values are found and reported with their new names."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from eml.config.locations import ConfigProblem, Loc, Locations, dotted, nearest_location, rename_subtree
from eml.config.model import Strict, move_key
from eml.config.text import shown
from eml.config.type_info import FieldSpec, as_section, sections, step_into


def normalise_section(model: type[BaseModel], data: Any, locations: Locations) -> list[ConfigProblem]:
    """Replace short forms by sections and old names by new ones, in place; return a problem for each old name.

    The values are then validated under their new names, so that all other problems are reported along with these.
    """
    walk = _Walk(locations)
    walk.visit(FieldSpec(model), data, ())
    return walk.problems


def key_renames(cls: type) -> dict[str, str]:
    """Return old key → new key of a section, its base classes included."""
    return _merged([base.__dict__.get("renamed_keys", {}) for base in cls.__mro__])


def value_renames(cls: type) -> dict[str, Mapping[str, str]]:
    """Return key → (old value → new value) of a section, its base classes included."""
    tables: list[Mapping[str, Mapping[str, str]]] = [base.__dict__.get("renamed_values", {}) for base in cls.__mro__]
    return {key: _merged([table.get(key, {}) for table in tables]) for table in tables for key in table}


def _merged(tables: list[Mapping[str, str]]) -> dict[str, str]:
    return {key: value for table in reversed(tables) for key, value in table.items()}


class _Walk:
    """Goes through the values along their types."""

    def __init__(self, locations: Locations) -> None:
        self.locations = locations
        self.problems: list[ConfigProblem] = []

    def visit(self, spec: FieldSpec, value: Any, loc: Loc) -> Any:
        """Return the value with its short forms and old names replaced."""
        value = self.member(spec, value, loc)
        value = as_section(spec, value) or value
        if isinstance(value, dict):
            for section in sections(spec, value):
                if issubclass(section, Strict):
                    self.keys(section, value, loc)
                    self.values(section, value, loc)
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in list(items):
            if (inner := step_into(spec, key, value)) is not None:
                value[key] = self.visit(inner, item, (*loc, key))
        return value

    def member(self, spec: FieldSpec, value: Any, loc: Loc) -> Any:
        """Replace the old name of a family's member."""
        name = value.get("type") if isinstance(value, dict) else value
        for family in spec.families:
            new = value_renames(family).get("type", {}).get(name) if isinstance(name, str) else None
            if new is not None and name not in family.members():
                self.report(loc if name is value else (*loc, "type"), shown(name), shown(new), "renamed-value")
                return new if name is value else value | {"type": new}
        return value

    def keys(self, section: type[Strict], value: dict[str, Any], loc: Loc) -> None:
        for old in section.moved_keys.keys() & value.keys():
            try:
                move_key(section, value, old)
            except ValueError as error:
                where, key = nearest_location(self.locations, (*loc, old)), dotted((*loc, old))
                self.problems.append(ConfigProblem(where, str(error), "conflicting-settings", key))
                del value[old]
            else:
                rename_subtree(self.locations, (*loc, old), (*loc, *section.moved_keys[old].split(".")))
        for old, new in key_renames(section).items():
            if old in value and old not in section.model_fields:
                self.report((*loc, old), "", dotted((*loc, new)), "renamed-key")
                item = value.pop(old)
                if new not in value:
                    value[new] = item
                    rename_subtree(self.locations, (*loc, old), (*loc, new))

    def values(self, section: type[Strict], value: dict[str, Any], loc: Loc) -> None:
        for key, names in value_renames(section).items():
            old = value.get(key)
            if key != "type" and isinstance(old, str) and old in names:
                self.report((*loc, key), shown(old), shown(names[old]), "renamed-value")
                value[key] = names[old]

    def report(self, loc: Loc, old: str, new: str, code: str) -> None:
        key = dotted(loc)
        message = f"{key}: {old} is now called {new}" if old else f"{key} is now called {new}"
        self.problems.append(ConfigProblem(nearest_location(self.locations, loc), message, code, key))
