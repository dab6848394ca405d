"""Registries of members, of which the entries that a module makes can be seen, undone and replaced."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_registries: list[tuple[str, dict[str, type[Any]]]] = []


class MemberError(TypeError):
    """A class that cannot be a member of its family, such as one whose name is taken."""

    code = "plugin-failed"


class NameTakenError(MemberError):
    """A member whose name another one has."""

    code = "type-taken"


def new_registry(kind: str) -> dict[str, type[Any]]:
    """Return an empty registry, name → member. kind: what its members are, such as `margin`."""
    registry: dict[str, type[Any]] = {}
    _registries.append((kind, registry))
    return registry


def enter(registry: dict[str, type[Any]], name: str, member: type[Any], family: type[Any], word: str = "type") -> None:
    """Enter a member. The same class defined again (a notebook's cell, a reload) replaces itself.

    Args:
        registry: As `new_registry` returned it.
        name: That of the member.
        member: The class.
        family: The base of its family.
        word: What the name is, for the message.

    Raises:
        NameTakenError: Another class has the name.
        MemberError: The class lacks what each member has.
    """
    for key, entry in list(registry.items()):
        if (entry.__module__, entry.__qualname__) == (member.__module__, member.__qualname__):
            del registry[key]
    if name in registry:
        raise NameTakenError(f"{member.__qualname__}: {word} {name!r} is taken by {place_of(registry[name])}")
    if missing := _missing_parts(member, family):
        raise MemberError(f"{member.__qualname__} lacks {', '.join(missing)}; see the docstring of {family.__name__}")
    registry[name] = member


def _missing_parts(member: type[Any], family: type[Any]) -> list[str]:
    """Return the methods that a member has to override, and the class variables that it has to set, and does not."""
    methods = [name for name, value in vars(family).items() if _is_abstract(value)]
    unset = [name for name in sorted(getattr(family, "__class_vars__", ())) if not hasattr(family, name)]
    return [
        *(f"{name}()" for name in methods if getattr(member, name) is getattr(family, name)),
        *(name for name in unset if not hasattr(member, name)),
    ]


def _is_abstract(value: object) -> bool:
    names = getattr(getattr(value, "__code__", None), "co_names", ())
    return "NotImplementedError" in names or getattr(value, "__isabstractmethod__", False)


def members_of(module: str) -> list[str]:
    """Return the members that a module, or one inside it, has defined, as `margin my_margin`."""
    return [
        f"{kind} {name}".strip()
        for kind, registry in _registries
        for name, member in registry.items()
        if member.__module__ == module or member.__module__.startswith(f"{module}.")
    ]


def forget(module: str) -> None:
    """Take the members out that a module has defined."""
    for _, registry in _registries:
        for name in [name for name, member in registry.items() if member.__module__ == module]:
            del registry[name]


@contextmanager
def undone_on_error() -> Iterator[None]:
    """Give all registries their entries of before where the block raises."""
    count, before = len(_registries), [dict(registry) for _, registry in _registries]
    try:
        yield
    except BaseException:
        del _registries[count:]
        for (_, registry), entries in zip(_registries, before, strict=True):
            registry.clear()
            registry.update(entries)
        raise


def place_of(cls: type[Any]) -> str:
    """Return where a class is defined: `MyMargin of /home/me/my_margin.py`, or `eml.margins.arcface.ArcFace`."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is not None and cls.__module__.startswith(FILE_MODULE):
        return f"{cls.__qualname__} of {file}"
    return f"{cls.__module__}.{cls.__qualname__}"


FILE_MODULE = "eml_plugin_"
"""The names of modules that are made of files begin with this."""
