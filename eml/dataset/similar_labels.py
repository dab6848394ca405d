"""Labels that a reader could not tell apart: another Unicode form, blanks, case, invisible or look-alike characters."""

import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import pandas as pd

SHOWN = 5  # groups that are listed; the rest are counted
_JOINERS = "\u200d\ufe0e\ufe0f"  # between and after emoji they are seen


@dataclass(frozen=True)
class SimilarLabels:
    """Different labels that read the same.

    Attributes:
        labels: Sorted.
        difference: What they differ in, in words.
    """

    labels: tuple[str, ...]
    difference: str

    def __str__(self) -> str:
        """`'Weber' and 'Weber ' (blanks)`; with code points where the labels look the same in quotes too."""
        quote = repr if self.difference in ("case", "blanks") else ascii
        *first, last = map(quote, self.labels)
        return f"{', '.join(first)} and {last} ({self.difference})"


def canonical(label: str) -> str:
    """Return the label in the composed Unicode form (NFC): two forms of one text are then equal."""
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def composed(labels: "pd.Series[str]") -> "pd.Series[str]":
    """Return labels in the composed Unicode form, by which those of two tables are compared."""
    return labels.map({label: canonical(label) for label in labels.unique()})


def labels_among(labels: Iterable[str], trained: Iterable[str]) -> set[str]:
    """Return those of `labels` that are among the trained ones, in whichever Unicode form either is written."""
    known = {canonical(label) for label in trained}
    return {label for label in labels if canonical(label) in known}


def reading_of(label: str) -> str:
    """Return a text that is equal for labels that a reader could not tell apart.

    That is NFKC without case, invisible characters and blanks at the ends, and with one space for several blanks.
    Letters of other alphabets that look alike (Latin a, Cyrillic а) stay different.
    """
    if not label.isascii():
        if not label.isprintable() or any(joiner in label for joiner in _JOINERS):
            label = "".join(_visible(label))
        label = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return " ".join(label.casefold().split())


def find_similar(labels: Iterable[str]) -> list[SimilarLabels]:
    """Return the groups of different labels that read the same, in the order of their first label."""
    groups: dict[str, set[str]] = {}
    for label in labels:
        groups.setdefault(reading_of(label), set()).add(label)
    several = [sorted(group) for group in groups.values() if len(group) > 1]
    return [SimilarLabels(tuple(group), _difference(group)) for group in sorted(several)]


def similar_labels_line(labels: Iterable[str]) -> str | None:
    """Return a line that names the classes of a table that read the same; None without such."""
    groups = find_similar(labels)
    if not groups:
        return None
    number = sum(len(group.labels) for group in groups)
    text = f"{number:,} classes have labels that read like another one's: {_listed(groups)}"
    return f"{text}. Give them one name if they are one class"


def similar_to_trained_line(labels: Iterable[str], trained: Collection[str]) -> str | None:
    """Return a line that names the classes of a table that read like another label that was trained on.

    None without such. Two forms of one text count as the same class, and are not named.
    """
    known = {canonical(label) for label in trained}
    new = {canonical(label) for label in labels} - known
    groups = [group for group in find_similar(new | known) if new & set(group.labels) and known & set(group.labels)]
    if not groups:
        return None
    number = sum(len(new & set(group.labels)) for group in groups)
    count = "1 class has a label that reads" if number == 1 else f"{number:,} classes have labels that read"
    return f"{count} like one that was trained on, and counts as a class that was not: {_listed(groups)}"


def merged_forms(labels: Iterable[str]) -> list[str]:
    """Return the labels, sorted and composed, that occur in several Unicode forms."""
    forms: dict[str, set[str]] = {}
    for label in labels:
        forms.setdefault(canonical(label), set()).add(label)
    return sorted(label for label, group in forms.items() if len(group) > 1)


def _visible(label: str) -> Iterable[str]:
    emoji = any(unicodedata.category(character) == "So" for character in label)
    for character in label:
        hidden = unicodedata.category(character) == "Cf" or character in _JOINERS
        if not hidden or (emoji and character in _JOINERS):
            yield character


def _difference(labels: Collection[str]) -> str:
    """Return what labels of one reading differ in: the one kind that makes them equal, else all that play a part."""
    kinds: dict[str, Callable[[str], str]] = {
        "Unicode form": canonical,
        "blanks": lambda label: " ".join(label.split()),
        "invisible characters": lambda label: "".join(_visible(label)),
        "look-alike characters": lambda label: unicodedata.normalize("NFKC", label),
        "case": str.casefold,
    }
    for name, equal in kinds.items():
        if len({equal(label) for label in labels}) == 1:
            return name
    left, names = set(labels), list[str]()
    for name, equal in kinds.items():
        if len(fewer := {equal(label) for label in left}) < len(left) or any(equal(label) != label for label in left):
            names.append(name)
        left = fewer
    return ", ".join(names)


def _listed(groups: Collection[SimilarLabels]) -> str:
    shown = "; ".join(str(group) for group in list(groups)[:SHOWN])
    return shown if len(groups) <= SHOWN else f"{shown}; and {len(groups) - SHOWN:,} more groups"
