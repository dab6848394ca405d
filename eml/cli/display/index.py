"""`eml index …` in a terminal."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from eml.cli.adapter import Terminal
from eml.cli.groups import TerminalGroup
from eml.commands.index_add import add_to_index
from eml.commands.index_build import build_index
from eml.commands.index_calibrate import CalibrateIndexResult, calibrate_index
from eml.commands.index_compact import CompactResult, compact_index
from eml.commands.index_export import ExportIndexResult, export_index
from eml.commands.index_info import index_info
from eml.commands.index_remove import RemoveResult, remove_from_index
from eml.commands.index_verify import VerifyResult, verify_index
from eml.commands.indexing import AddedImagesResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from eml.commands.base import CommandFunction
    from eml.commands.index_info import IndexInfoResult

LISTED = 10  # images that cannot be read


def show_added(result: AddedImagesResult) -> None:
    """Print the counts, and the images that could not be read."""
    from eml.cli.display import console

    console.table("", *result.summary_table())
    for name, reason in result.unreadable[:LISTED]:
        console.warn(f"{name}: {reason}")
    if len(result.unreadable) > LISTED:
        console.warn(f"and {len(result.unreadable) - LISTED:,} more that cannot be read")
    if result.rate:
        console.say(f"{result.rate:,.{0 if result.rate >= 10 else 1}f} images a second")
    if not result.calibrated:
        console.say(
            "not calibrated: no probabilities, and no image counts as unknown. Both come with: "
            f"eml calibrate {shlex.quote(str(result.index))} --data TABLE --far 0.05, "
            f"then eml index calibrate {shlex.quote(str(result.index))}"
        )


def show_removed(result: RemoveResult) -> None:
    """Print the counts."""
    from eml.cli.display import console

    left = f"{result.images:,} of {console.count(result.classes, 'class', 'classes')} left"
    _show_line(f"removed {console.count(result.removed, 'image', 'images')}; {left}")


def show_verified(result: VerifyResult) -> None:
    """Print what is damaged, or that nothing is."""
    from eml.cli.display import console

    for problem in result.problems:
        repaired = " (repaired)" if problem.is_repaired else ""
        console.show(f"{problem.place}: {problem.text}{repaired}")
    if not result.problems:
        console.show("sound: all checksums fit")


def show_compacted(result: CompactResult) -> None:
    """Print the sizes."""
    _show_line(result.summary())


def show_exported(result: ExportIndexResult) -> None:
    """Print the counts."""
    _show_line(result.summary())


def show_calibrated(result: CalibrateIndexResult) -> None:
    """Print what the index does now."""
    _show_line(result.summary())


def show_info(result: IndexInfoResult) -> None:
    """Print a line for each fact, with its text."""
    from eml.cli.display import console

    console.table(str(result.facts.folder), *result.summary_table(), plain=True)
    if result.engines is not None:
        _show_engines(result)
    if (drift := result.drift) is not None:
        console.table(
            f"{drift.queries:,} new images beside those of the calibration",
            ["", "now", "expected"],
            [
                ["counted as unknown", f"{drift.unknown_rate:.3f}", f"{drift.expected_unknown_rate:.3f}"],
                ["of classes that are not in the index", f"{drift.estimated_share:.2f}", f"{drift.assumed_share:.2f}"],
                ["distance of the scores", f"{drift.distance:.3f}", f"up to {drift.usual:.3f}"],
            ],
        )
        advice = drift.advice.replace("`unknown_share`", "--unknown-share of eml classify")
        (console.warn if drift.is_large else console.show)(advice)


def _show_engines(result: IndexInfoResult) -> None:
    from eml.cli.display import console

    engines = result.engines or ()
    exact = [["exact", "1.000", f"{engines[0].exact_milliseconds:.2f}"]] if engines else []
    rows = [[engine.engine, f"{engine.recall:.3f}", f"{engine.milliseconds:.2f}"] for engine in engines]
    if rows:
        console.table("Engines, by queries from the index", ["engine", "recall@10", "ms a query"], exact + rows)
    else:
        console.show("no other engine is installed: pip install 'easy-metric-learning[usearch]', or [faiss]")
    if result.float16_recall is not None:
        console.show(f"storage float16 would have recall@10 {result.float16_recall:.4f}")


def _show_line(text: str) -> None:
    from eml.cli.display import console

    console.show(text)


def _says_no(config: Any, result: VerifyResult) -> bool:
    return not result.sound


def _command(function: CommandFunction[Any], show: Callable[[Any], None], **options: Any) -> Terminal:
    """Return a command of the group, with the names of the values that several of them share."""
    fields = function.config_type.model_fields
    return Terminal(
        function, show, metavars={name: text for name, text in METAVARS.items() if name in fields}, **options
    )


METAVARS = {
    "model": "CHECKPOINT",
    "class_level": "N|last",
    "image_size": "PIXELS",
    "checkpoint": "CHECKPOINT",
    "drift": "IMAGES",
    "label": "NAME",
    "labels": "NAME",
    "file_names": "NAME",
    "ids": "N",
    "where": "CONDITION",
}

terminal = TerminalGroup(
    "Make and change an index of images.",
    {
        "build": _command(build_index, show_added),
        "add": _command(add_to_index, show_added),
        "remove": _command(remove_from_index, show_removed),
        "info": _command(index_info, show_info),
        "verify": _command(verify_index, show_verified, says_no=_says_no),
        "compact": _command(compact_index, show_compacted),
        "calibrate": _command(calibrate_index, show_calibrated),
        "export": _command(export_index, show_exported),
    },
)
