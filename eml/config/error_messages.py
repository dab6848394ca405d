"""Pydantic's errors as lines that say where, what was found and what is allowed."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from eml.config.locations import Loc, Origins, Problem, dotted, nearest
from eml.config.text import closest, did_you_mean, listed, number, shown
from eml.config.type_info import FieldSpec, child, described, fields, literals, spot, unit

# The value is of another kind than the type: said in one way, from the type.
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


@dataclass(frozen=True)
class Finding:
    """One of pydantic's errors: where it is in the file's terms, and through which branches of unions it came."""

    loc: Loc
    kind: str
    value: object
    message: str = ""
    context: dict[str, Any] | None = None
    unions: tuple[tuple[Loc, str | int], ...] = ()


def explain(error: ValidationError | None, model: type[BaseModel], data: object, origins: Origins) -> list[Problem]:
    """A problem for each thing that is wrong with `data`, also where pydantic would take true for 1."""
    explainer = _Explainer(model, data, origins)
    found = [explainer.finding(details) for details in error.errors(include_url=False)] if error else []
    flags = explainer.flags()
    flagged = {flag.loc for flag in flags}
    settled = [finding for finding in _settle(found, 0) if finding.loc not in flagged]
    findings = explainer.without_misspelt(settled + flags)
    return [explainer.problem(finding) for finding in findings]


class _Explainer:
    def __init__(self, model: type[BaseModel], data: object, origins: Origins) -> None:
        self.model, self.data, self.origins = model, data, origins

    def spot(self, loc: Loc) -> FieldSpec | None:
        return spot(self.model, loc, self.data)

    def value(self, loc: Loc) -> object:
        value = self.data
        for part in loc:
            value = child(value, part)
        return value

    def known(self, loc: Loc) -> list[str]:
        return list(fields(self.spot(loc), self.value(loc)))

    def finding(self, details: ErrorDetails) -> Finding:
        """Parts of pydantic's loc that are no key of the file are the names of branches of unions."""
        here: Loc = ()
        unions: list[tuple[Loc, str | int]] = []
        for index, part in enumerate(details["loc"]):
            missing = details["type"] == "missing" and index == len(details["loc"]) - 1
            value = self.value(here)
            given = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
            if given or missing or part in self.known(here):
                here = (*here, part)
            elif part != "[key]":
                unions.append((here, part))
        return Finding(here, details["type"], details["input"], details["msg"], details.get("ctx"), tuple(unions))

    def flags(self) -> list[Finding]:
        """true and false where only a number may stand, which pydantic takes for 1 and 0."""
        found = []
        for loc, value in _leaves(self.data, ()):
            here = self.spot(loc) if isinstance(value, bool) else None
            if here and here.only_numbers:
                found.append(Finding(loc, "wrong_kind", value))
        return found

    def without_misspelt(self, findings: list[Finding]) -> list[Finding]:
        """Without `data is required` where `dta` was reported and suggests it."""
        missing = {f.loc for f in findings if f.kind == "missing"}
        meant = set()
        for f in findings:
            near = closest(str(f.loc[-1]), self.known(f.loc[:-1])) if f.kind == "extra_forbidden" else None
            meant |= {(*f.loc[:-1], near)} if near else set()
        return [f for f in findings if f.loc not in missing & meant]

    def problem(self, finding: Finding) -> Problem:
        loc, kind = finding.loc, finding.kind
        if kind == "missing" and isinstance(loc[-1], int):  # a tuple with too few items
            loc, kind = loc[:-1], "too_short"
            finding = replace(finding, loc=loc, value=self.value(loc))
        say: Callable[[Finding], str] | None = {
            "missing": lambda f: f"{dotted(f.loc)} is required.",
            "extra_forbidden": self.unknown_key,
            "choice_unknown": lambda f: f.message,
            "choice_missing": lambda f: f"{dotted(f.loc)} {f.message}".lstrip(),
        }.get(kind)
        if say is None and kind in get_args(ErrorType) and kind not in ("value_error", "assertion_error"):
            say = self.out_of_range
        if kind in _WRONG_KIND:
            say = self.wrong_kind
        if say is None:
            return self.ours(finding)
        place = (*loc, "type") if kind == "choice_unknown" else loc
        return Problem(nearest(self.origins, place), say(finding))

    def unknown_key(self, finding: Finding) -> str:
        *section, key = finding.loc
        known = self.known(tuple(section))
        return f"unknown key {dotted(finding.loc)!r}{did_you_mean(key, known)}; known: {listed(known)}"

    def wrong_kind(self, finding: Finding) -> str:
        here, value = self.spot(finding.loc), finding.value
        wanted = described(here) if here else "another kind of value"
        text = f"{dotted(finding.loc)} must be {wanted}, got {shown(value)}".lstrip()
        if here is None:
            return f"{text}."
        for family in here.families:
            names = family.members()
            near = closest(value, names) if isinstance(value, str) else None
            key = f"{finding.loc[-1]}: " if finding.loc and isinstance(finding.loc[-1], str) else ""
            return f"{text}. Write {key}{{type: {near}}}." if near else f"{text}; known: {listed(sorted(names))}"
        if str in here.branches and isinstance(value, int | float):
            return f"{text}. Put it in quotes."
        return f"{text}{did_you_mean(value, literals(here))}."

    def out_of_range(self, finding: Finding) -> str:
        name, context, value = dotted(finding.loc), finding.context or {}, finding.value
        here = self.spot(finding.loc)
        got = f"got {shown(value)}."
        if finding.kind in _BOUNDS:
            return f"{name} {_bound(finding, unit(here.field) if here else '')}"
        if finding.kind in _LENGTHS or finding.kind == "missing":
            return f"{name} {_length(finding, here)}"
        if finding.kind == "finite_number":
            return f"{name} must be a finite number, {got}"
        if finding.kind == "multiple_of":
            return f"{name} must be a multiple of {number(context['multiple_of'])}, {got}"
        if finding.kind == "string_pattern_mismatch":
            return f"{name} must match the pattern {context['pattern']}, {got}"
        return f"{name}: {finding.message}, {got}".removeprefix(": ")

    def ours(self, finding: Finding) -> Problem:
        """A validator's own message, after the name of its field; a section's validator names the field to blame."""
        loc, raised = finding.loc, (finding.context or {}).get("error")
        message = str(raised) if isinstance(raised, Exception) else finding.message
        here = self.spot(loc)
        section = self.known(loc) if here else []
        if not section:
            return Problem(nearest(self.origins, loc), f"{dotted(loc)} {message}".lstrip())
        word = re.match(r"[\w.]+", message)
        blamed = tuple(word[0].rstrip(".").split(".")) if word else ()
        if blamed and blamed[0] in section:
            return Problem(nearest(self.origins, (*loc, *blamed)), f"{dotted((*loc, ''))}{message}")
        return Problem(nearest(self.origins, loc), f"{dotted(loc)}: {message}".removeprefix(": "))


def _settle(findings: list[Finding], depth: int) -> list[Finding]:
    """One branch's errors for each union: of those branches that the value's kind fits, the one with the fewest."""
    settled = [f for f in findings if len(f.unions) <= depth]
    groups: dict[Loc, dict[str | int, list[Finding]]] = {}
    for f in findings:
        if len(f.unions) > depth:
            place, branch = f.unions[depth]
            groups.setdefault(place, {}).setdefault(branch, []).append(f)
    for place, branches in groups.items():
        fitting = [
            found
            for found in (_settle(each, depth + 1) for each in branches.values())
            if not any(f.kind in _WRONG_KIND and f.loc == place for f in found)
        ]
        if fitting:
            settled += sorted(fitting, key=len)[0]
        else:
            first = next(iter(branches.values()))[0]
            settled.append(Finding(place, "wrong_kind", first.value))
    return settled


def _leaves(value: object, loc: Loc) -> list[tuple[Loc, object]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*loc, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, (*loc, index))]
    return [(loc, value)]


def _bound(finding: Finding, name: str) -> str:
    word, key = _BOUNDS[finding.kind]
    limit, value = (finding.context or {})[key], finding.value
    text = f"must be {word} {number(limit)}{f' ({name})' if name else ''}, got {shown(value)}."
    try:
        given = float(str(value))
    except ValueError:
        return text
    turned = math.radians(given)
    if name == "radians" and finding.kind.startswith("less") and given > math.pi and turned < limit:
        text += f" {given:g} degrees is {turned:.3g}."
    return text


def _length(finding: Finding, here: FieldSpec | None) -> str:
    got = f"got {len(finding.value)}." if isinstance(finding.value, list | str | dict) else ""
    exact = [get_args(b) for b in here.branches if getattr(b, "__origin__", None) is tuple] if here else []
    if exact and exact[0][-1] is not Ellipsis:
        return f"must have {len(exact[0])} items, {got}"
    word, key, things = _LENGTHS[finding.kind]
    limit = (finding.context or {})[key]
    if limit == 1 and word == "at least":
        return "must not be empty."
    return f"must have {word} {limit} {things if limit != 1 else things[:-1]}, {got}"
