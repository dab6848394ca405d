"""`eml report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eml.cli.app import command_line
from eml.cli.options import Dataset, Json, Overwrite, Root

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.reports.data import DataReport

PAGE = "data_report.html"


def report(
    context: typer.Context,
    dataset: Dataset,
    threshold: Annotated[
        int | None,
        typer.Option(
            min=0, max=63, show_default=False, help="Bits of 64 by which look-alikes may differ.  [default: 10]"
        ),
    ] = None,
    root: Root = None,
    out: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help=f"The page to write (NAME.html), or a folder for it.  [default: {PAGE} beside the table]",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Show what is in a dataset, what is wrong with it and what to run, on one HTML page that needs nothing else.

    Reads the table that scan left in the folder (scans first when there is none) or the given one, the tables beside
    it, and the images that the page shows. Class sizes, image sizes, formats, unusable files, near-duplicates,
    label conflicts, and the commands that the data call for.
    """
    from eml.cli.display import console
    from eml.dataset.pipeline import resolve
    from eml.dataset.table import check_outputs

    page = page_path(dataset, out)
    check_outputs([page], overwrite=overwrite)  # before the work, not after it
    table = resolve(dataset, "filter", root, report=console.say, progress=console.progress)
    facts = write_report(
        table, dataset, page, root=root, threshold=threshold, command=command_line(context), overwrite=overwrite
    )
    for step in facts["suggestions"]:
        console.say(f"next: {step['command']}")
    if json:
        console.print_json(facts | {"written": [str(page)]})


def page_path(dataset: Path, out: Path | None) -> Path:
    """The page: `out` where that is one, else in that folder, else where DATASET is."""
    if out is not None and out.suffix.lower() in (".html", ".htm"):
        return out
    if out is not None:
        from eml.files import refuse_file_name

        refuse_file_name(out, "the page to write (NAME.html), or a folder for it")
    return (out or (dataset if dataset.is_dir() else dataset.parent)) / PAGE


def write_report(
    table: "Table",
    dataset: Path,
    page: Path,
    *,
    command: str,
    root: Path | None = None,
    threshold: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Examines the table, writes the page, shows the main lines; returns the numbers."""
    from eml.cli.display import console
    from eml.dataset.filter import THRESHOLD
    from eml.reports.data import examine, write_page

    bits = THRESHOLD if threshold is None else threshold
    made = examine(table, dataset=dataset, root=root, threshold=bits, progress=console.progress)
    replaced = write_page(made, page, command=command, overwrite=overwrite, progress=console.progress)
    _show(made)
    console.say(f"{'replaced' if replaced else 'wrote'} {page}")
    return made.to_json()


def _show(made: "DataReport") -> None:
    from eml.cli.display import console

    facts = made.facts
    rows: list[list[Any]] = [
        ["images", facts.images],
        ["classes", facts.classes],
        ["classes of one image", facts.class_sizes.of_one],
    ]
    if facts.errors:
        rows.append(["files that cannot be used", facts.errors.files])
    if counts := facts.look_alikes:
        rows.append(["near-duplicates within a class", counts.within_classes.images_to_spare])
        rows.append(["images with another label too", counts.label_conflicts.images])
    console.table("", ["", ""], rows)
    if facts.not_compared:
        console.warn(facts.not_compared)
