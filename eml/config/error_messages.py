"""Pydantic's errors as lines that say where, what was found and what is allowed."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from eml.config.locations import ConfigProblem, Loc, Locations, dotted, nearest_location
from eml.config.text import alternatives, closest, did_you_mean, listed, normalised, number, shown
from eml.config.type_info import FieldSpec, child, described, fields, find_field, key_paths, literals, unit

# The value is of another kind than the type; the message is made from the type.
_WRONG_KIND = set(
    """
    int_type int_parsing int_parsing_size int_from_float float_type float_parsing bool_type bool_parsing
    string_type string_sub_type literal_error enum list_type tuple_type set_type frozen_set_type dict_type
    mapping_type model_type model_attributes_type path_type none_required is_instance_of choice_section wrong_kind
    """.split()  # noqa: SIM905 - a column of quoted words is no easier to read
)
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_LENGTHS = {
    "too_short": ("at least", "min_length", "items"),
    "too_long": ("at most", "max_length", "items"),
    "string_too_short": ("at least", "min_length", "characters"),
    "string_too_long": ("at most", "max_length", "characters"),
}


MOST_PROBLEMS = 20  # that are listed; the rest are counted
ELSEWHERE = 0.75  # similarity of a key that is a misspelling of one in another section
MOST_PATHS = 3  # keys elsewhere in the config that the hint for an unknown key names

_CODES = {"missing": "missing-key", "extra_forbidden": "unknown-key", "choice_unknown": "unknown-choice"}
_CODES |= {"choice_missing": "missing-key"}


@dataclass(frozen=True)
class FieldError:
    """One of pydantic's errors: its place in the file, and the branches of unions through which it came."""

    loc: Loc
    kind: str
    value: object
    message: str = ""
    context: dict[str, Any] | None = None
    unions: tuple[tuple[Loc, str | int], ...] = ()


def explain_errors(
    error: ValidationError | None, model: type[BaseModel], data: object, locations: Locations
) -> tuple[list[ConfigProblem], int]:
    """Return the first problems in `data`, including those where pydantic accepts true for 1, and how many more."""
    explainer = _Explainer(model, data, locations)
    errors = [explainer.field_error(details) for details in error.errors(include_url=False)] if error else []
    flags = explainer.flags()
    flagged = {flag.loc for flag in flags}
    settled = [entry for entry in _settle(errors, 0) if entry.loc not in flagged]
    entries = explainer.without_misspelt(settled + flags)
    entries.sort(key=lambda entry: nearest_location(locations, entry.loc)[:2])
    return [explainer.problem(entry) for entry in entries[:MOST_PROBLEMS]], max(0, len(entries) - MOST_PROBLEMS)


class _Explainer:
    def __init__(self, model: type[BaseModel], data: object, locations: Locations) -> None:
        self.model, self.data, self.locations = model, data, locations

    def spec(self, loc: Loc) -> FieldSpec | None:
        return find_field(self.model, loc, self.data)

    def value(self, loc: Loc) -> object:
        value = self.data
        for part in loc:
            value = child(value, part)
        return value

    def known(self, loc: Loc) -> list[str]:
        return list(fields(self.spec(loc), self.value(loc)))

    def field_error(self, details: ErrorDetails) -> FieldError:
        """Split pydantic's loc: its parts that are not keys of the file are the names of branches of unions."""
        loc: Loc = ()
        unions: list[tuple[Loc, str | int]] = []
        for index, part in enumerate(details["loc"]):
            missing = details["type"] == "missing" and index == len(details["loc"]) - 1
            value = self.value(loc)
            present = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
            if present or missing or part in self.known(loc):
                loc = (*loc, part)
            elif part != "[key]":
                unions.append((loc, part))
        return FieldError(loc, details["type"], details["input"], details["msg"], details.get("ctx"), tuple(unions))

    def flags(self) -> list[FieldError]:
        """Return an error for each true or false where only a number is allowed; pydantic accepts them as 1 and 0."""
        errors = []
        for loc, value in _leaves(self.data, ()):
            spec = self.spec(loc) if isinstance(value, bool) else None
            if spec and spec.only_numbers:
                errors.append(FieldError(loc, "wrong_kind", value))
        return errors

    def without_misspelt(self, errors: list[FieldError]) -> list[FieldError]:
        """Drop `data is required` where the error for `dta` already suggests `data`."""
        missing = {error.loc for error in errors if error.kind == "missing"}
        if not missing:
            return errors
        suggested = set()
        for error in errors:
            match = closest(str(error.loc[-1]), self.known(error.loc[:-1])) if error.kind == "extra_forbidden" else None
            suggested |= {(*error.loc[:-1], match)} if match else set()
        return [error for error in errors if error.loc not in missing & suggested]

    def problem(self, error: FieldError) -> ConfigProblem:
        loc, kind = error.loc, error.kind
        if kind == "missing" and isinstance(loc[-1], int):  # a tuple with too few items
            loc, kind = loc[:-1], "too_short"
            error = replace(error, loc=loc, value=self.value(loc))
        describe: Callable[[FieldError], str] | None = {
            "missing": lambda e: f"{dotted(e.loc)} is required.",
            "extra_forbidden": self.unknown_key,
            "choice_unknown": lambda e: e.message,
            "choice_missing": lambda e: f"{dotted(e.loc)} {e.message}".lstrip(),
        }.get(kind)
        code = _CODES.get(kind, "out-of-range")
        if describe is None and kind in get_args(ErrorType) and kind not in ("value_error", "assertion_error"):
            describe = self.out_of_range
        if kind in _WRONG_KIND:
            describe, code = self.wrong_kind, "wrong-type"
        if describe is None:
            return self.raised_by_validator(error)
        place = (*loc, "type") if kind == "choice_unknown" else loc
        return ConfigProblem(nearest_location(self.locations, place), describe(error), code, dotted(loc) or None)

    def unknown_key(self, error: FieldError) -> str:
        *section, key = error.loc
        known, text = self.known(tuple(section)), f"unknown key {dotted(error.loc)!r}"
        near_elsewhere = [] if closest(str(key), known) else self.similar_keys(str(key))
        if paths := self.keys_ending_with(str(key)) or near_elsewhere:
            return f"{text} (did you mean {alternatives(paths)}?)"
        return f"{text}{did_you_mean(key, known)}; known: {listed(known)}"

    def keys_ending_with(self, key: str) -> list[str]:
        """Return up to three dotted keys, anywhere in the config, whose last part is `key`.

        If there is none, the keys of a section that is called `key`, or keys whose last parts are joined differently:
        `image_size` finds `image.size`.
        """
        paths = key_paths(self.model, self.data)
        ending = [path for path in paths if path[-1] == key]
        inside = [path for path in paths if key in path[:-1]]
        joined = [path for path in paths if f"_{'_'.join(map(str, path))}".endswith(f"_{normalised(key)}")]
        return [dotted(path) for path in (ending or inside or joined)[:MOST_PATHS]]

    def similar_keys(self, key: str) -> list[str]:
        """Return up to three dotted keys, anywhere in the config, whose last part is close to `key`."""
        paths = key_paths(self.model, self.data)
        match = closest(key, [str(path[-1]) for path in paths], ELSEWHERE)
        return [dotted(path) for path in paths if path[-1] == match][:MOST_PATHS]

    def wrong_kind(self, error: FieldError) -> str:
        spec, value = self.spec(error.loc), error.value
        allowed = described(spec) if spec else "another kind of value"
        text = f"{dotted(error.loc)} must be {allowed}, got {shown(value)}".lstrip()
        if spec is None:
            return f"{text}."
        for family in spec.families:
            return f"{text}; known: {listed(sorted(family.members()))}"
        if str in spec.branches and isinstance(value, int | float):
            return f"{text}. Put it in quotes."
        return f"{text}{did_you_mean(value, literals(spec))}."

    def out_of_range(self, error: FieldError) -> str:
        name, context, value = dotted(error.loc), error.context or {}, error.value
        spec = self.spec(error.loc)
        got = f"got {shown(value)}."
        if error.kind in _BOUNDS:
            return f"{name} {_bound(error, unit(spec.field) if spec else '')}"
        if error.kind in _LENGTHS or error.kind == "missing":
            return f"{name} {_length(error, spec)}"
        if error.kind == "finite_number":
            return f"{name} must be a finite number, {got}"
        if error.kind == "multiple_of":
            return f"{name} must be a multiple of {number(context['multiple_of'])}, {got}"
        if error.kind == "string_pattern_mismatch":
            return f"{name} must match the pattern {context['pattern']}, {got}"
        return f"{name}: {error.message}, {got}".removeprefix(": ")

    def raised_by_validator(self, error: FieldError) -> ConfigProblem:
        """Return a validator's own message after its field's name; a section's validator names the field to blame."""
        loc, raised = error.loc, (error.context or {}).get("error")
        message = str(raised) if isinstance(raised, Exception) else error.message
        section = self.known(loc) if self.spec(loc) else []
        word = re.match(r"[\w.]+", message)
        blamed = tuple(word[0].rstrip(".").split(".")) if word else ()
        if not section:
            text = f"{dotted(loc)} {message}".lstrip()
        elif blamed and blamed[0] in section:
            text, loc = f"{dotted((*loc, ''))}{message}", (*loc, *blamed)
        else:
            text = f"{dotted(loc)}: {message}".removeprefix(": ")
        return ConfigProblem(nearest_location(self.locations, loc), text, "invalid-value", dotted(loc) or None)


def _settle(errors: list[FieldError], depth: int) -> list[FieldError]:
    """Keep one branch's errors of each union: of the branches that fit the value's kind, the one with the fewest."""
    settled = [error for error in errors if len(error.unions) <= depth]
    unions: dict[Loc, dict[str | int, list[FieldError]]] = {}
    for error in errors:
        if len(error.unions) > depth:
            place, branch = error.unions[depth]
            unions.setdefault(place, {}).setdefault(branch, []).append(error)
    for place, branches in unions.items():
        fitting = [
            inner
            for inner in (_settle(branch_errors, depth + 1) for branch_errors in branches.values())
            if not any(error.kind in _WRONG_KIND and error.loc == place for error in inner)
        ]
        if fitting:
            settled += sorted(fitting, key=len)[0]
        else:
            first = next(iter(branches.values()))[0]
            settled.append(FieldError(place, "wrong_kind", first.value))
    return settled


def _leaves(value: object, loc: Loc) -> list[tuple[Loc, object]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*loc, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, (*loc, index))]
    return [(loc, value)]


def _bound(error: FieldError, name: str) -> str:
    word, key = _BOUNDS[error.kind]
    limit, value = (error.context or {})[key], error.value
    text = f"must be {word} {number(limit)}{f' ({name})' if name else ''}, got {shown(value)}."
    try:
        degrees = float(str(value))
    except ValueError:
        return text
    radians = math.radians(degrees)
    if name == "radians" and error.kind.startswith("less") and degrees > math.pi and radians < limit:
        text += f" {degrees:g} degrees is {radians:.3g}."
    return text


def _length(error: FieldError, spec: FieldSpec | None) -> str:
    got = f"got {len(error.value)}." if isinstance(error.value, list | str | dict) else ""
    exact = [get_args(b) for b in spec.branches if getattr(b, "__origin__", None) is tuple] if spec else []
    if exact and exact[0][-1] is not Ellipsis:
        return f"must have {len(exact[0])} items, {got}"
    word, key, things = _LENGTHS[error.kind]
    limit = (error.context or {})[key]
    if limit == 1 and word == "at least":
        return "must not be empty."
    return f"must have {word} {limit} {things if limit != 1 else things[:-1]}, {got}"
