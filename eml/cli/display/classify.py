"""`eml classify` in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.cli.adapter import Terminal
from eml.commands.classify import ClassifyResult, classify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eml.indexing.answers import ClassifiedImage
    from eml.indexing.truth import TruthFigures

LISTED = 10  # unreadable images, and classes of the summary


def show(result: ClassifyResult) -> None:
    """Print the answers, or where they were written to a file their counts."""
    from eml.cli.display import console

    if result.images is not None:
        probabilities = result.unknown is not None or result.zero_shot is not None
        console.table("", *_table(result.images, probabilities=probabilities))
    if result.total > 1:
        console.table("", *result.summary_table())
    if result.truth is not None:
        _show_truth(result.truth)
    for name, reason in result.problems[:LISTED]:
        console.warn(f"{name}: {reason}")
    if result.unreadable > LISTED:
        console.warn(f"and {result.unreadable - LISTED:,} more that cannot be read")
    if result.sorting is not None:
        there = f", {result.sorting.in_place:,} were there already" if result.sorting.in_place else ""
        console.say(f"sorted {console.count(result.sorting.placed, 'image', 'images')} into folders{there}")


def _table(images: Sequence[ClassifiedImage], *, probabilities: bool) -> tuple[list[str], list[list[str | None]]]:
    """Return the answers as a table; the cosine stands for the probability where there is none."""
    if not probabilities:
        columns = ["image", "label", "cosine", "runner-up", "margin"]
        return columns, [
            [
                image.file_name,
                image.label or image.reason,
                _number(image.cosine),
                image.runner_up,
                _number(image.margin),
            ]
            for image in images
        ]
    columns = ["image", "label", "probability", "runner-up", "probability"]
    rows = []
    for image in images:
        label = f"unknown ({image.label}?)" if image.unknown else image.label or image.reason
        rows.append(
            [image.file_name, label, _number(image.probability), image.runner_up, _number(image.runner_up_probability)]
        )
    return columns, rows


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _show_truth(truth: TruthFigures) -> None:
    from eml.cli.display import console

    known = f"{truth.known:,} images of {console.count(truth.known_classes, 'class', 'classes')} {truth.place}"
    others = f"{truth.others:,} of {console.count(truth.other_classes, 'other class', 'other classes')}"
    console.table(f"Against the true classes: {known}, {others}", ["", "", "95 % interval"], truth.rows())
    if truth.without:
        without = console.count(truth.without, "image has", "images have")
        console.say(f"{without} no true class or no answer, left out here")


terminal = Terminal(
    classify,
    show,
    short={"out": "-o"},
    metavars={
        "out": "FILE",
        "html": "FILE",
        "truth": "COLUMN|TABLE",
        "move": "FOLDER",
        "copy_to": "FOLDER",
        "model": "CHECKPOINT",
        "image_size": "PIXELS",
        "class_level": "N|last",
        "unknown_share": "SHARE",
    },
)
