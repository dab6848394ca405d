"""`eml scan`."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eml.cli.app import command_line
from eml.cli.options import Json, Overwrite
from eml.errors import DataError

if TYPE_CHECKING:
    from eml.dataset.scanning.scan import FolderScan


def scan(
    context: typer.Context,
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET", show_default=False, help="The folder of images: one folder per class, however deep."
        ),
    ],
    hashes: Annotated[
        bool, typer.Option("--hashes/--no-hashes", help="Perceptual hashes, by which duplicates are found.")
    ] = True,
    hash_exact: Annotated[
        bool, typer.Option("--hash-exact", help="The bits of imagehash.phash instead of our faster near-equal ones.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="Processes that read images.  [default: one per core]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="The table to write (NAME.csv or NAME.parquet), or a folder for it.  "
            "[default: DATASET/dataset_info.csv]",
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Also write data_report.html beside the table, as eml report does.")
    ] = False,
    reread: Annotated[
        bool, typer.Option("--reread", help="Read all files again, those too that are unchanged since the last scan.")
    ] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """List a folder's images in a table: class, size, format, hashes. Every file is read once and decoded to its end.

    Writes dataset_info.csv and dataset_errors.csv (the files that cannot be used, each with the reason). A scan that
    was stopped goes on where it was; a later one reads only the files whose size or time has changed.
    """
    if hash_exact and not hashes:
        raise DataError("--hash-exact goes with --hashes, not with --no-hashes")

    from eml.cli.display import console
    from eml.dataset.scanning.listing import check_folder
    from eml.dataset.scanning.scan import errors_path, scan_folder, summarise
    from eml.dataset.table import SUFFIXES, check_outputs, write_tables
    from eml.files import refuse_file_name

    check_folder(dataset)
    if out is not None and out.suffix not in SUFFIXES:
        refuse_file_name(out, "the table to write (NAME.csv or NAME.parquet), or a folder for it")
    table = out if out and out.suffix in SUFFIXES else (out or dataset) / "dataset_info.csv"
    errors = errors_path(table)
    page = table.with_name("data_report.html")
    check_outputs([table, errors, *([page] if report else [])], overwrite=overwrite)  # before the work, not after it
    scanned = scan_folder(
        dataset,
        hashes=hashes,
        hash_kind="phash-imagehash" if hash_exact else "phash-luma256",
        workers=workers,
        progress=console.progress,
        table_path=table,
        reread=reread,
        report=console.say,
    )
    frames = {errors: scanned.errors, table: scanned.table}
    replaced = write_tables(frames, command=command_line(context), root=dataset, overwrite=overwrite)
    summary = asdict(summarise(scanned))
    _show(scanned, summary)
    following = shlex.join(["eml", "filter", str(table if out else dataset), "--dedup"])
    written = [table, errors]
    if report:
        from eml.cli.report import write_report
        from eml.dataset.table import Table

        made, source = Table(scanned.table, dataset, table), table if out else dataset
        facts = write_report(made, source, page, command=command_line(context), overwrite=overwrite)
        following = next((step["command"] for step in facts["suggestions"]), following)
        written.append(page)
    console.written([table, errors], replaced, following=following)
    if json:
        rest = {
            "cached_files": scanned.cached_files,
            "warnings": scanned.warnings,
            "written": [str(path) for path in written],
        }
        console.print_json({"folder": str(dataset)} | summary | rest)


def _show(scanned: "FolderScan", summary: dict[str, Any]) -> None:
    from eml.cli.display import console

    formats = ", ".join(f"{name} {count:,}" for name, count in summary["formats"].items())
    size = summary["bytes"] / 1e6
    classes = f"{summary['classes']:,} {'class' if summary['classes'] == 1 else 'classes'}"
    console.say(f"{summary['images']:,} images in {classes}, {size:,.1f} MB: {formats}")
    ranges = {
        "images per class": summary["images_per_class"],
        "shorter side (pixels)": summary["short_side"],
        "longer side (pixels)": summary["long_side"],
    }
    console.table("", ["", *summary["short_side"]], [[name, *values.values()] for name, values in ranges.items()])
    if len(scanned.errors):
        first = scanned.errors.drop_duplicates("reason").set_index("reason")["file_name"]
        rows = [[reason, count, first[reason]] for reason, count in summary["errors"].items()]
        console.table("files that cannot be used", ["reason", "files", "the first"], rows)
    for line in scanned.warnings:
        console.warn(line)
