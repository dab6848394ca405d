"""Which folder of an image's path is its class: that of a level, counted from the root, or the last one."""

from collections.abc import Sequence
from typing import Literal

ClassLevel = int | Literal["last"]
"""1: the folders in the root; 2: the folders in these, …; last: the folder that the image lies in."""
FIRST: ClassLevel = 1
LAST: ClassLevel = "last"
DESCRIBED = 4  # levels whose classes are counted


def parse_class_level(value: object) -> ClassLevel:
    """Return the level that a text or a number means. Raises ValueError."""
    if value == LAST:
        return "last"
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal() or not 0 < int(text[:9]) <= 1000:
        raise ValueError(f"must be a level from 1 (the first folder), or last, got {value!r}")
    return int(text)


def class_of(file_name: str, level: ClassLevel) -> str:
    """Return the class of a file: the folders of its path down to the level, joined, so that no two become one.

    Of `whale/7/1.jpg` it is `whale` at level 1, and `whale/7` at level 2 and at `last`; "" where the file lies higher.
    """
    if level == FIRST:
        first, inside, _ = file_name.partition("/")
        return first if inside else ""
    folders = file_name.split("/")[:-1]
    if level == LAST:
        return "/".join(folders)
    return "/".join(folders[: int(level)]) if len(folders) >= int(level) else ""


def class_of_packed(file_name: str, key: str, level: ClassLevel) -> str:
    """Return the class of an image inside a packed file that says no label: by the folders of its key, else around it.

    Args:
        file_name: The packed file, relative to the root.
        key: The image in it.
        level: As of `class_of`.
    """
    folder = file_name.rpartition("/")[0]
    return class_of(key if "/" in key or not folder else f"{folder}/{key}", level)


def describe_levels(file_names: Sequence[str], level: ClassLevel) -> str | None:
    """Return how many classes each level would give; None where folders lie one level deep or the choice is the same.

    Args:
        file_names: Of the images.
        level: The level that was chosen.
    """
    deepest = max((name.count("/") for name in file_names), default=0)
    counts = {str(number): _count(file_names, number) for number in range(1, min(deepest, DESCRIBED) + 1)}
    if deepest > DESCRIBED or len({name.count("/") for name in file_names}) > 1:
        counts[str(LAST)] = _count(file_names, LAST)
    chosen = counts.pop(str(level), None) or _count(file_names, level)
    if deepest < 2 or all(count == chosen for count in counts.values()):
        return None
    where = "the folder that an image lies in" if level == LAST else f"folders of level {level}"
    choices = ", ".join(f"{count:,} at {'' if key == LAST else 'level '}{key}" for key, count in counts.items())
    return f"folders are {deepest} levels deep; the classes are {where}: {chosen:,}. There would be {choices}"


def _count(file_names: Sequence[str], level: ClassLevel) -> int:
    return len({class_of(name, level) for name in file_names} - {""})
