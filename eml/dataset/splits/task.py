"""The task that a model is for: answers about classes that may be new (open), or about known ones (closed)."""

from typing import Literal

Task = Literal["open", "closed"]
"""open: answers about classes that may be new. closed: all classes are known."""

USUAL: Task = "open"
MANY_CLASSES, MOST_PARTS, FEWER_PARTS = 72, 5, 3
"""Whole classes are held out: a fifth of them from 72 on, a third below, so that their figure is of enough classes."""
FEW_CLASSES = 12
"""With fewer classes one part says too little, so each of the folds is held out in turn."""


def number_of_folds(classes: int) -> int:
    """Return the number of folds by class for so many classes of several images."""
    return MOST_PARTS if classes >= MANY_CLASSES else FEWER_PARTS


def folds_rule(classes: int, k: int, *, is_given: bool = False) -> str:
    """Return the rule by which an open task holds out whole classes, in a few words.

    Args:
        classes: Classes of several images.
        k: The folds that were made.
        is_given: Whether the user asked for so many.
    """
    share = {5: "a fifth", 4: "a quarter", 3: "a third", 2: "half"}.get(k, f"1 of {k}")
    text = f"task open holds out whole classes, {share} of {classes:,}"
    if is_given:
        return text
    if k != number_of_folds(classes):
        return f"{text}, since these do not allow {number_of_folds(classes)} folds"
    if classes < FEW_CLASSES:
        return f"{text}; with fewer than {FEW_CLASSES}, each fold in turn says more (eml train with `fold=all`)"
    return f"{text} (from {MANY_CLASSES} on a fifth)" if classes < MANY_CLASSES else text


def too_few_rule(classes: int) -> str:
    """Return why an open task is validated by images, in a few words. classes: of several images."""
    several = "1 class of several images" if classes == 1 else f"{classes:,} classes of several images"
    return f"{several} cannot be held out whole, so new images of known classes are measured"
