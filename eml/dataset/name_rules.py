"""Which rule would find the images of a table whose file names are nearly right."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from eml.images.name_search import SUFFIXES, ImageFinder

SAMPLE = 200  # names that the rules are tried on
_MOST_FOLDERS = 2_000  # that are looked into
_MOST_PARTS = 12  # of a name, that are tried without


class NameRule(NamedTuple):
    """Parameters to set, and how many of the names would then be found."""

    advice: str
    """`path_prefix="train/"`, in backquotes."""
    parameter: str
    hits: int
    tried: int

    def sentence(self) -> str:
        """Return the advice with the count."""
        count = f"all {self.tried:,}" if self.hits == self.tried else f"{self.hits:,} of {self.tried:,}"
        return f"With {self.advice} {count}{' that were tried' if self.tried == SAMPLE else ''} would be found"


class _Try(NamedTuple):
    parameters: tuple[tuple[str, str], ...]
    root: Path
    rewrite: Callable[[str, str], str]
    similar: bool = False


def find_rule(names: Sequence[str], labels: Sequence[str], root: Path) -> NameRule | None:
    """Return the simplest rule that finds most of the images, None where none finds half of them.

    Args:
        names: File names that are not under the root.
        labels: Their classes.
        root: The folder of the images.
    """
    step = max(1, len(names) // SAMPLE)
    sample = [(name, label) for name, label in zip(names[::step], labels[::step], strict=True) if name][:SAMPLE]
    finders: dict[Path, ImageFinder] = {}
    best, most = None, 0
    for attempt in _tries(sample, root, finders):
        finder = finders.setdefault(attempt.root, ImageFinder(attempt.root))
        look_up = finder.similar if attempt.similar else finder.exact
        hits = sum(len(look_up(attempt.rewrite(name, label))) == 1 for name, label in sample)
        if hits > most:
            best, most = attempt, hits
            if most == len(sample):
                break
    parameters = [*best.parameters, *([("match_names", "")] if best.similar else [])] if best else []
    if best is None or not parameters or most * 2 < len(sample):
        return None
    advice = " and ".join(f'`{name}="{value}"`' if value else f"`{name}`" for name, value in parameters)
    return NameRule(advice + _reason(best, sample), parameters[0][0], most, len(sample))


def swap_advice(names: Sequence[str], labels: Sequence[str], root: Path, columns: tuple[str, str]) -> str | None:
    """Return the advice to swap the columns of a table where most of its labels are images, else None.

    Args:
        names: File names, none of which is an image.
        labels: Their classes.
        root: The folder of the images.
        columns: The columns of the names and of the labels, as the file has them.
    """
    finder = ImageFinder(root)
    sample = list(labels[:: max(1, len(labels) // SAMPLE)][:SAMPLE])
    hits = sum(len(finder.similar(label)) == 1 for label in sample)
    if hits * 2 < len(sample) and find_rule(labels, names, root) is None:
        return None
    name, label = columns
    text = f"The values of {label!r} are images there, so the two columns look swapped"
    return f'{text}: set `file_column="{label}"` `label_column="{name}"`'


def _reason(attempt: _Try, sample: Sequence[tuple[str, str]]) -> str:
    if not attempt.similar:
        return ""
    if any("\\" in name for name, _ in sample):
        return " (it takes backslashes as slashes)"
    return " (it takes names in another case or with another suffix)"


def _tries(sample: Sequence[tuple[str, str]], root: Path, finders: dict[Path, ImageFinder]) -> Iterator[_Try]:
    """Yield the rules, the simplest first: another root, a suffix, a prefix less, a prefix more, similar names."""
    if not sample:
        return
    names = [name for name, _ in sample]
    moves = [_Try((), root, lambda name, label: name)]
    moves += [_stripped(prefix, root) for prefix in _shared_prefixes(names)]
    moves += _prefixes(sample, root, finders)
    yield from moves
    yield from (_with_suffix(move, suffix) for move in moves for suffix in _suffixes(names))
    yield from (move._replace(similar=True) for move in moves)


def _stripped(prefix: str, root: Path) -> _Try:
    return _Try((("strip_prefix", prefix),), root, lambda name, label: name.removeprefix(prefix))


def _with_suffix(move: _Try, suffix: str) -> _Try:
    return move._replace(
        parameters=(*move.parameters, ("path_suffix", suffix)),
        rewrite=lambda name, label: move.rewrite(name, label) + suffix,
    )


def _suffixes(names: Sequence[str]) -> list[str]:
    """Return the suffixes to try, where the names have none."""
    if any(PurePosixPath(name).suffix.lower() in SUFFIXES for name in names):
        return []
    return [".jpg", ".png", ".jpeg", ".JPG", ".webp"]


def _shared_prefixes(names: Sequence[str]) -> list[str]:
    """Return the folders that all names begin with, each with its slash, the shortest first."""
    ends = [match.end() for match in re.finditer(r"[\\/]+", names[0])][:_MOST_PARTS]
    return [names[0][:end] for end in ends if all(name.startswith(names[0][:end]) for name in names)]


def _prefixes(sample: Sequence[tuple[str, str]], root: Path, finders: dict[Path, ImageFinder]) -> Iterator[_Try]:
    """Yield what puts a folder before the names: the class, a folder under the root, or one that is above it."""
    yield _prefixed("{label}/", root)
    names = [name for name, _ in sample]
    here = finders.setdefault(root, ImageFinder(root))
    for folder in here.folders(_MOST_FOLDERS):
        for prefix in (f"{folder}/", f"{folder}/{{label}}/"):
            if _holds_any(here, _prefixed(prefix, root).rewrite, (sample[0], sample[-1])):
                yield _prefixed(prefix, root)
    for above in list(root.absolute().parents)[:2]:
        if len(above.parts) < 3:  # the whole disk, or a folder of the system
            return
        finder = finders.setdefault(above, ImageFinder(above))
        for prefix in ("", *(prefix for prefix in _shared_prefixes(names) if prefix.startswith(".."))):
            move = _stripped(prefix, above)._replace(parameters=_root_and(above, prefix))
            if _holds_any(finder, move.rewrite, (sample[0], sample[-1])):
                yield move


def _root_and(root: Path, prefix: str) -> tuple[tuple[str, str], ...]:
    return (("root", str(root)), *((("strip_prefix", prefix),) if prefix else ()))


def _holds_any(finder: ImageFinder, rewrite: Callable[[str, str], str], sample: Sequence[tuple[str, str]]) -> bool:
    """Return whether one of the names is found after the rewriting, if need be with a suffix."""
    suffixes = ("", *_suffixes([name for name, _ in sample]))
    return any(
        look_up(rewrite(name, label) + suffix)
        for name, label in sample
        for suffix in suffixes
        for look_up in (finder.exact, finder.similar)
    )


def _prefixed(prefix: str, root: Path) -> _Try:
    return _Try((("path_prefix", prefix),), root, lambda name, label: prefix.replace("{label}", label) + name)
