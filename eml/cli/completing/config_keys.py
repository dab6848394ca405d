"""Keys of a training config and their values, as `--set KEY=VALUE` and `--vary KEY=VALUES` take them."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from eml.cli.completing.completions import Completion, Completions, of_words
from eml.cli.completing.tables import read_tables

CONFIG_NAME = "config.yaml"
MOST_BYTES = 1 << 20  # of a config

Values = Callable[[str, str], Completions]
"""(kind, what is typed) → what completes a value of that kind."""


def read_config(place: str | None) -> dict[str, Any]:
    """Return the values of a config, or of the one in a folder; nothing of one that cannot be read."""
    if not place:
        return {}
    path = Path(os.path.expanduser(place))  # noqa: PTH111 - a Path would refuse the home of an unknown user
    with suppress(Exception):  # of any type: what is being written is often broken
        import yaml

        file = path / CONFIG_NAME if path.is_dir() else path
        if file.is_file() and file.stat().st_size <= MOST_BYTES:
            values = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            return values if isinstance(values, dict) else {}
    return {}


def with_overrides(values: Mapping[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Return the config's values with those of `KEY=VALUE` in their places, as text."""
    result = dict(values)
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals:
            _put(result, key.split("."), value)
    return result


def _put(section: dict[str, Any], parts: list[str], value: str) -> None:
    first, *rest = parts
    if not rest:
        section[first] = value
        return
    inner = section.get(first)
    section[first] = dict(inner) if isinstance(inner, dict) else {"type": inner} if isinstance(inner, str) else {}
    _put(section[first], rest, value)


def overrides(typed: str, config: Mapping[str, Any], values: Values, *, several: bool = False) -> Completions:
    """Return the keys, or behind `=` the values, that begin with what is typed.

    Args:
        typed: `mar`, `margin=arc` or `margin.m=`.
        config: The values of the config, which say the types of its sections.
        values: Completes values by their kind.
        several: Whether values are joined with commas.
    """
    key, equals, value = typed.partition("=")
    if not equals:
        return Completions(tuple(keys(typed, config)))
    node, now = find_key(key, config)
    lead = f"{key}="
    if several and "," in value:
        before, _, value = value.rpartition(",")
        lead += f"{before},"
    return _values_of(node, now, value, values).after(lead) if node else Completions()


def keys(typed: str, config: Mapping[str, Any]) -> list[Completion]:
    """Return the keys that begin with what is typed; of sections what is in them, once a single one is left."""
    outer, dot, _ = typed.rpartition(".")
    section: Mapping[str, Any] = read_tables()["config"]
    now: Any = config
    if dot:
        node, now = find_key(outer, config)
        section = {"keys": _inner_keys(node, now)} if node else {}
    lead = outer + dot
    inside = {name: node for name, node in section.get("keys", {}).items() if (lead + name).startswith(typed)}
    found_keys = [
        completion for name, node in inside.items() for completion in _key(lead + name, node, _child(now, name))
    ]
    if len(inside) == 1:
        ((name, node),) = inside.items()
        value = _child(now, name)
        for inner, inner_node in _inner_keys(node, value).items():
            found_keys += _key(f"{lead}{name}.{inner}", inner_node, _child(value, inner))
        found_keys = [key for key in found_keys if key.text != f"{lead}{name}."]
    return found_keys


def _key(name: str, node: Mapping[str, Any], now: Any) -> Iterator[Completion]:
    """Yield `margin=` where a key takes a value, and `model.` where it is a section."""
    if "keys" not in node or "values" in node or "members" in node:
        yield Completion(f"{name}=", str(node.get("help", "")), is_open=True)
    if _inner_keys(node, now):
        yield Completion(f"{name}.", str(node.get("help", "")), is_open=True)


def find_key(key: str, config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    """Return what may be the value of a key, None where there is no such key, and its value in the config."""
    node: dict[str, Any] | None = read_tables()["config"]
    now: Any = config
    for part in key.split("."):
        inside = _inner_keys(node, now) if node else {}
        node, now = inside.get(part), _child(now, part)
    return node, now


def _inner_keys(node: Mapping[str, Any], now: Any) -> dict[str, Any]:
    """Return the keys of a section; of a family those of the member that the config or the default names."""
    keys_inside = dict(node.get("keys", {}))
    if members := node.get("members"):
        name = now.get("type") if isinstance(now, dict) else now
        member = members.get(name if isinstance(name, str) else node.get("default"))
        keys_inside |= member["keys"] if member else {}
    return keys_inside


def _child(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, dict) else None


def _values_of(node: Mapping[str, Any], now: Any, typed: str, values: Values) -> Completions:
    words = dict.fromkeys(node.get("values", ()), "")
    words |= {name: member["help"] for name, member in node.get("members", {}).items()}
    known = of_words(words, typed)
    if kind := node.get("kind"):
        special = values(kind, typed)
        return replace(special, words=(*known.words, *special.words))
    if words or typed:
        return known
    if isinstance(now, int | float | str) and not isinstance(now, bool):
        return Completions((Completion(str(now), "as in the config"),))
    return Completions((Completion(node["default"], "default"),)) if node.get("default") else known
