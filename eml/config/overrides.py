"""Overrides: `a.b=c` sets one value of a config."""

from typing import Any

from pydantic import BaseModel

from eml.config.locations import ConfigProblem, Loc, Locations, SourceLocation, dotted, forget_below
from eml.config.paths import OverrideText
from eml.config.text import shown
from eml.config.type_info import as_section, fields, find_field, plain
from eml.config.yaml_reader import MOST_DEPTH, read_yaml
from eml.errors import ConfigError, Problem

LONGEST_SHOWN = 200  # characters of an override


class Overrides:
    """Applies overrides to a document's values and locations, in order, and collects their problems.

    Args:
        model: The config's model.
        data: The values of the file; changed in place.
        locations: The locations of the values; changed in place.
        name: What an error calls an override: `override`, or `--set` on the command line.
    """

    def __init__(self, model: type[BaseModel], data: dict[str, Any], locations: Locations, name: str) -> None:
        self.model, self.data, self.locations, self.name = model, data, locations, name
        self.problems: list[ConfigProblem] = []
        self.count = 0

    def apply(self, item: str) -> None:
        """Set the value of `a.b=c`. A `type` clears the rest of its section."""
        self.count += 1
        location = SourceLocation(self.count, 0, f"{self.name} {_cut(item)}")
        dotted_key, equals, text = item.partition("=")
        parts = dotted_key.strip().split(".")
        try:
            if not equals:
                raise ConfigError("must be key=value, for example section.key=value", code="not-an-override")
            if not all(parts):
                message = "a part of the key is empty" if any(parts) else "the key is empty"
                raise ConfigError(message, code="not-an-override")
            if len(parts) > MOST_DEPTH:
                message = f"the key has {len(parts):,} parts; at most {MOST_DEPTH} lie within one another"
                raise ConfigError(message, code="not-an-override")
            document = read_yaml(text, lambda line: location, OverrideText)
            self.problems += document.problems
            self._put(parts, document.value, location)
        except ConfigError as error:
            for problem in error.problems:
                message = problem.removeprefix(f"{location.text}: ")
                self.problems.append(ConfigProblem(location, message, problem.code, dotted_key.strip() or None))

    def _put(self, parts: list[str], value: object, location: SourceLocation) -> None:
        container: Any = self.data
        loc: Loc = ()
        for part in parts[:-1]:
            key = _key(container, part, loc)
            inner: Loc = (*loc, key)
            self._make_section(container, inner, location)
            container, loc = container[key], inner
        key = _key(container, parts[-1], loc)
        target: Loc = (*loc, key)
        if key == "type" and self._is_family(loc):
            self._refuse_undone(loc, location, "give the type first")
            container.clear()
            forget_below(self.locations, loc)
            self.locations[loc] = location
        self._refuse_undone(target, location, "give the whole section first")
        if value is None and isinstance(container, dict) and self._has_default_but_null(target):
            container.pop(key, None)
            forget_below(self.locations, target)
            self.locations.pop(target, None)
            return
        container[key] = value
        forget_below(self.locations, target)
        self.locations[target] = location

    def _make_section(self, container: Any, loc: Loc, location: SourceLocation) -> None:
        """Put a section at `loc` where the file has nothing, or only the name of a family's member."""
        key = loc[-1]
        if isinstance(container, dict) and container.get(key) is None:
            container[key] = self._missing(loc, written=key in container)
            self.locations[loc] = location
        elif section := as_section(find_field(self.model, loc, self.data), container[key]):
            container[key] = section

    def _missing(self, loc: Loc, *, written: bool) -> Any:
        """Return the section that an override changes where the file has nothing: the default one, or an empty one."""
        parent = find_field(self.model, loc[:-1], self.data)
        field = fields(parent, _at(self.data, loc[:-1])).get(str(loc[-1]))
        if field is None or written or field.is_required():
            return {}
        default = plain(field.get_default(call_default_factory=True, validated_data={}))
        return {} if default is None else default

    def _has_default_but_null(self, loc: Loc) -> bool:
        """Return whether a key has a default and cannot be null, so that null can only mean the default."""
        spec = find_field(self.model, loc, self.data)
        if spec is None or spec.field is None or spec.field.is_required():
            return False
        return not {type(None), None, Any, object} & set(spec.branches)

    def _is_family(self, loc: Loc) -> bool:
        spec = find_field(self.model, loc, self.data)
        return bool(spec and spec.families)

    def _refuse_undone(self, loc: Loc, location: SourceLocation, advice: str) -> None:
        """Report earlier overrides of the keys of a section that is now replaced."""
        for key, earlier in self.locations.items():
            inside = len(key) > len(loc) and key[: len(loc)] == loc and key[len(loc)] != "type"
            if earlier.override and inside and earlier != location:
                message = f"is undone by the later {location.text}; {advice}"
                self.problems.append(ConfigProblem(earlier, message, "undone-override", dotted(key)))


def _cut(item: str) -> str:
    return item if len(item) <= LONGEST_SHOWN else f"{item[:LONGEST_SHOWN]}…"


def _key(container: object, part: str, loc: Loc) -> str | int:
    """Return `part` as a key of the container, or as an index of a list. Raises ConfigError when there is none."""
    if isinstance(container, dict):
        return part
    if not isinstance(container, list):
        text = f"{dotted(loc)} is {shown(container)}, which has no key {part!r}"
        raise ConfigError(Problem(text, "unknown-key", dotted((*loc, part))))
    allowed = f"from 0 to {len(container) - 1}" if container else "but it is empty"
    if not (part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(container)):
        text = f"{dotted(loc)} is a list and needs an index {allowed}, got {part!r}"
        raise ConfigError(Problem(text, "unknown-key", dotted((*loc, part))))
    return int(part)


def _at(data: Any, loc: Loc) -> Any:
    for part in loc:
        data = data[part]
    return data
