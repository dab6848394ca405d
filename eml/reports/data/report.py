"""A table → its report: the numbers, and the page that shows them."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eml.dataset.filter import THRESHOLD
from eml.dataset.sidecar import write_sidecar
from eml.dataset.table import Table, check_outputs
from eml.files import whole_file
from eml.progress import Progress
from eml.reports.data.facts import DataReport, class_facts, error_facts, format_facts, headline, size_facts, table_facts
from eml.reports.data.near import Near, look_alikes
from eml.reports.data.suggestions import suggest

ERRORS_LISTED = 50  # files of each reason


def examine(
    table: Table,
    *,
    dataset: Path,
    root: Path | None = None,
    threshold: int = THRESHOLD,
    progress: Progress | None = None,
) -> DataReport:
    """All that is to be said of a table. Reads the tables beside it, and no image.

    dataset, root: as the user would give them to a command. threshold: bits of 64 by which look-alikes may differ.
    Raises DataError where the table's hashes cannot be used.
    """
    whole = Table(table.frame.drop_duplicates("file_name").reset_index(drop=True), table.root, table.path)
    near, why = None, _no_comparison(table)
    if why is None:
        near = look_alikes(whole, threshold, progress)
    facts = {
        "dataset": str(dataset),
        "table": str(table.path) if table.path else None,
        "root": str(table.root),
        **headline(whole),
        "boxes": len(table.frame) if len(table.frame) > len(whole.frame) else None,
        "class_sizes": class_facts(table.frame["label"]),
        "sizes": size_facts(whole.frame),
        "formats": format_facts(whole.frame),
        "errors": error_facts(table.path, ERRORS_LISTED),
        "look_alikes": near_facts(near) if near else None,
        "not_compared": why,
        "tables": table_facts(table.path.parent if table.path else table.root),
    }
    facts["suggestions"] = [asdict(each) for each in suggest(whole, near, facts, dataset=dataset, root=root)]
    return DataReport(table=whole, facts=facts, near=near)


def near_facts(near: Near) -> dict[str, Any]:
    """The numbers of the look-alikes."""
    sizes = [len(group.others) + 1 for group in near.groups]
    return {
        "threshold": near.threshold,
        "within_classes": {
            "images_to_spare": int((near.twin >= 0).sum()),
            "same_hash": int((near.identical >= 0).sum()),
            "groups": len(sizes),
            "largest_group": max(sizes, default=0),
        },
        "label_conflicts": {
            "images": int((near.conflicting >= 0).sum()),
            "same_bytes": int(near.copied.sum()),
            "class_pairs": len(near.clashes),
        },
        "over_classes": {
            "pairs_compared": near.chance.compared,
            "pairs_found": near.chance.found,
            "pairs_expected_by_chance": near.chance.expected,
        },
    }


def _no_comparison(table: Table) -> str | None:
    """Why the images cannot be compared; None where they can."""
    if "hash" not in table.frame.columns:
        return "The table has no hashes. Run eml scan without --no-hashes to have look-alikes found."
    if table.frame["file_name"].duplicated().any():
        return "Hashes are of whole images, and some images of this table are there with several boxes."
    return None


def write_page(
    report: DataReport, path: Path, *, command: str, overwrite: bool = False, progress: Progress | None = None
) -> list[Path]:
    """Writes the page whole, its sidecar beside it; returns [path] where it replaced an older one.

    Reads the images that it shows. Raises OutputError by the rules of `check_outputs`.
    """
    from eml.reports.data.page import render, shown_names
    from eml.reports.thumbnails import thumbnails

    inputs = [report.table.path] if report.table.path and report.table.path.is_file() else []
    replaced = check_outputs([path], inputs=inputs, overwrite=overwrite)
    names = shown_names(report)
    with progress("thumbnails", len(names)) if progress and names else nullcontext() as advance:
        small = thumbnails(report.table.root, names, advance)
    with whole_file(path) as temporary:
        temporary.write_text(render(report, small), encoding="utf-8")
        write_sidecar(path, temporary, command=command, root=report.table.root, inputs=inputs, notes=None)
    return replaced
