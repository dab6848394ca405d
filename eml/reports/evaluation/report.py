"""An evaluation → report.html."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eml.errors import OutputError
from eml.files import whole_file
from eml.progress import Progress
from eml.reports.evaluation.evaluated import Evaluated, Found
from eml.reports.evaluation.page import SMALL, Additions, choose_shown, render, thumbnails_of

MARK = '<meta name="generator" content="eml '
HEAD = 4096  # characters in which the mark stands


def refuse_page(path: Path) -> None:
    """Raises OutputError when the file is there and is no page of eml's: that is not replaced."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; the report is to be written there. Move it, or give another --out")
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            if MARK not in file.read(HEAD):
                raise OutputError(f"{path}: is there and was not written by eml; give another --out, or --no-report")


def write_report(
    evaluation: Evaluated,
    path: Path,
    *,
    command: str,
    additions: Additions | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes the page whole. Reads only the images that it shows; one that cannot be read is shown as such.

    command: as it was typed. additions: intervals, slices and more, where they are known.
    Raises OutputError by `refuse_page`, and where it cannot be written.
    """
    refuse_page(path)
    additions = additions or Additions()
    shown = choose_shown(evaluation, additions.comparison)
    rows, small = shown.rows(), shown.small_rows()
    with progress("thumbnails", len(rows) + len(small)) if progress else nullcontext() as advance:
        large = thumbnails_of(evaluation, rows, progress=advance)
        of_map = thumbnails_of(evaluation, small, SMALL, progress=advance)
    text = render(evaluation, shown, large, of_map, command=command, additions=additions)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Page:
    """Writes the page of what an evaluation found. command: as it was typed."""

    command: str
    progress: Progress | None = None

    def refuse(self, path: Path) -> None:
        """Raises OutputError by `refuse_page`."""
        refuse_page(path)

    def write(self, found: Found, facts: Mapping[str, Any], path: Path) -> None:
        """facts: as in metrics.json. Otherwise as `write_report`."""
        evaluation = found.evaluation
        additions = Additions.of_facts(facts, roc=found.roc or None, threshold=evaluation.threshold)
        write_report(evaluation, path, command=self.command, additions=additions, progress=self.progress)
