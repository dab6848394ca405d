"""`--set a.b=c`: one value of a config, given on the command line."""

from typing import Any

from pydantic import BaseModel

from eml.config.locations import Loc, Origins, Problem, SourceLocation, dotted
from eml.config.paths import OverrideText
from eml.config.text import shown
from eml.config.type_info import FieldSpec, fields, plain, spot
from eml.config.yaml_reader import read
from eml.errors import ConfigError


class Overrides:
    """Applies overrides to a document's values and origins, in the order given; gathers what is wrong with them."""

    def __init__(self, model: type[BaseModel], data: dict[str, Any], origins: Origins) -> None:
        self.model, self.data, self.origins = model, data, origins
        self.problems: list[Problem] = []
        self.count = 0

    def apply(self, item: str) -> None:
        """Put the value of `a.b=c` in its place; a `type` clears the rest of its section."""
        self.count += 1
        origin = SourceLocation(self.count, 0, f"--set {item}")
        dotted_key, equals, text = item.partition("=")
        parts = dotted_key.strip().split(".")
        try:
            if not equals:
                raise ConfigError("must be key=value, for example section.key=value")
            if not all(parts):
                raise ConfigError("a part of the key is empty" if any(parts) else "the key is empty")
            document = read(text, lambda line: origin, OverrideText)
            self.problems += document.problems
            self._put(parts, document.value, origin)
        except ConfigError as error:
            self.problems += [Problem(origin, text.removeprefix(f"{origin.text}: ")) for text in error.problems]

    def _put(self, parts: list[str], value: object, origin: SourceLocation) -> None:
        container: Any = self.data
        loc: Loc = ()
        for part in parts[:-1]:
            key = _key(container, part, loc)
            here: Loc = (*loc, key)
            if isinstance(container, dict) and container.get(key) is None:
                container[key] = self._missing(here, written=key in container)
                self.origins[here] = origin
            container, loc = container[key], here
        key = _key(container, parts[-1], loc)
        if key == "type" and self._is_family(loc):
            self._clear(loc, origin)
            container.clear()
            self.origins[loc] = origin
        container[key] = value
        self._forget((*loc, key))
        self.origins[*loc, key] = origin

    def _missing(self, loc: Loc, *, written: bool) -> Any:
        """What an override changes where the file has nothing: the default section, or an empty one."""
        parent = spot(self.model, loc[:-1], self.data)
        field = fields(parent, _at(self.data, loc[:-1])).get(str(loc[-1]))
        if field is None or written or field.is_required():
            return {}
        default = plain(field.get_default(call_default_factory=True, validated_data={}))
        return {} if default is None else default

    def _is_family(self, loc: Loc) -> bool:
        here: FieldSpec | None = spot(self.model, loc, self.data)
        return bool(here and here.families)

    def _clear(self, loc: Loc, origin: SourceLocation) -> None:
        for key, earlier in list(self.origins.items()):
            if earlier.override and len(key) > len(loc) and key[: len(loc)] == loc and key[len(loc)] != "type":
                self.problems.append(Problem(earlier, f"is undone by the later {origin.text}; give the type first"))
        self._forget(loc)

    def _forget(self, loc: Loc) -> None:
        for key in [key for key in self.origins if len(key) > len(loc) and key[: len(loc)] == loc]:
            del self.origins[key]


def _key(container: object, part: str, loc: Loc) -> str | int:
    """`part` as a key of the container, checked if that is a list. Raises ConfigError."""
    if isinstance(container, dict):
        return part
    if not isinstance(container, list):
        raise ConfigError(f"{dotted(loc)} is {shown(container)}, which has no key {part!r}")
    allowed = f"from 0 to {len(container) - 1}" if container else "but it is empty"
    if not (part.isascii() and part.isdigit() and int(part) < len(container)):
        raise ConfigError(f"{dotted(loc)} is a list and needs an index {allowed}, got {part!r}")
    return int(part)


def _at(data: Any, loc: Loc) -> Any:
    for part in loc:
        data = data[part]
    return data
