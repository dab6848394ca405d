"""`eml audit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eml.cli.app import command_line
from eml.cli.options import Json, Overwrite

if TYPE_CHECKING:
    from eml.dataset.splits.leak_audit import LeakAudit

SHOWN = 5  # pairs


def audit(
    context: typer.Context,
    train: Annotated[
        Path,
        typer.Argument(
            metavar="TRAIN",
            show_default=False,
            help="A table, or a folder (the table furthest along the way is taken).",
        ),
    ],
    test: Annotated[
        Path | None,
        typer.Argument(
            metavar="TEST", show_default=False, help="Another; without it the folds of the first are compared."
        ),
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            show_default=False,
            help="A column whose values should be on one side, as camera, track or designer. Repeatable.",
        ),
    ] = None,
    threshold: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=63,
            show_default=False,
            help="Bits of 64 by which the hashes of images that look alike may differ.  [default: as kfold and split "
            "used, else 6]",
        ),
    ] = None,
    same_classes: Annotated[
        bool, typer.Option("--same-classes", help="Classes on both sides are meant, and no finding.")
    ] = False,
    root: Annotated[
        Path | None, typer.Option(help="The folder that the file names of TRAIN are relative to.", show_default=False)
    ] = None,
    test_root: Annotated[Path | None, typer.Option(help="The same for TEST.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Table (.csv, .parquet) for the pairs that look alike.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when anything is found.")] = False,
    json: Json = False,
) -> None:
    """Look for what train and test, or the folds of a table, have in common and should not.

    Images that look alike, files that are the same, values of --group-by, and between two tables also classes; of
    folds, classes in several are only told. Nothing is written but the table of --out.
    """
    from eml.cli.display import console
    from eml.dataset.pipeline import resolve
    from eml.dataset.splits.leak_audit import audit_folds, audit_tables
    from eml.dataset.table import SUFFIXES, check_outputs, write_tables
    from eml.errors import DataError, OutputError

    if test is None and (given := [name for name, on in (("--same-classes", same_classes), ("--test-root", test_root))
                                   if on]):  # fmt: skip
        raise DataError(f"{' and '.join(given)}: only with two tables")
    if out is not None and out.suffix not in SUFFIXES:
        raise OutputError(f"--out {out}: a table's name ends in {' or '.join(SUFFIXES)}")
    tables = [resolve(train, "audit", root, report=console.say, progress=console.progress)]
    if test is not None:
        tables.append(resolve(test, "audit", test_root, report=console.say, progress=console.progress))
    inputs = [table.source for table in tables]
    if out is not None:
        check_outputs([out], inputs=inputs, overwrite=overwrite)
    bits = _threshold(inputs) if threshold is None else threshold
    with console.progress("comparing", sum(len(table.frame) for table in tables)) as advance:
        compare = audit_folds if test is None else audit_tables
        found = compare(*tables, group_by=group_by or (), threshold=bits, progress=advance)
    if strict and found.warnings:
        raise DataError([f"--strict: cannot tell: {line}" for line in found.warnings])
    meant = test is None or same_classes
    clean = found.clean and (meant or not found.shared_classes)
    _show(found, bits, meant, clean)
    replaced = []
    if out is not None:
        replaced = write_tables({out: found.pairs}, command=command_line(context), root=tables[0].root, inputs=inputs,
                                overwrite=overwrite)  # fmt: skip
        console.say(f"{'replaced' if replaced else 'wrote'} {out}")
    if json:
        console.print_json(_facts(found, inputs, bits, clean) | {"written": [str(out)] if out else []})
    if strict and not clean:
        raise typer.Exit(1)


def _threshold(inputs: list[Path]) -> int:
    """The one that the tables were folded or split by, as their sidecars say; else the usual one."""
    from eml.cli.display import console
    from eml.dataset.sidecar import read_sidecar
    from eml.dataset.splits.groups import THRESHOLD

    known = [
        sidecar.notes["threshold"]
        for path in inputs
        if (sidecar := read_sidecar(path)) and "threshold" in sidecar.notes
    ]
    found = min(known, default=THRESHOLD)
    if found != THRESHOLD:
        console.say(f"looking within {found} bits, as the table was made by; --threshold chooses others")
    return found


def _facts(found: "LeakAudit", inputs: list[Path], bits: int, clean: bool) -> dict[str, Any]:
    return {
        "tables": [str(path) for path in inputs],
        "threshold": bits,
        "images": found.images,
        "pairs": found.num_pairs,
        "pairs_of_same_content": found.pairs_of_same_content,
        "images_with_pair": found.images_with_pair,
        "shared_values": found.shared_values,
        "shared_classes": found.shared_classes,
        "clean": clean,
    }


def _show(found: "LeakAudit", bits: int, meant: bool, clean: bool) -> None:
    from eml.cli.display import console

    rows = [[name, images, found.images_with_pair[name]] for name, images in found.images.items()]
    console.table("", ["side", "images", "with a look-alike on another side"], rows)
    if found.num_pairs:
        same = f", {found.pairs_of_same_content:,} of them the same file" if found.pairs_of_same_content else ""
        apart = f"within {bits} of 64 bits" if not found.warnings else "of equal content"
        console.warn(f"{console.count(found.num_pairs, 'pair looks', 'pairs look')} alike {apart}{same}. The nearest:")
        for pair in found.pairs.head(SHOWN).itertuples():
            where = f"{pair.side}: {pair.file_name} ({pair.label})"
            console.say(
                f"  {pair.distance} bits  {where}  {pair.other_side}: {pair.other_file_name} ({pair.other_label})"
            )
        if len(found.pairs) > SHOWN:
            console.say("  … all of them with --out pairs.csv")
    for column, values in found.shared_values.items():
        if values:
            console.warn(f"{column} is on both sides for {console.some(values, 'value', 'values')}")
    if found.shared_classes:
        told = f"on more than one side: {console.some(found.shared_classes, 'class', 'classes')}"
        if meant:
            console.say(f"{told} (meant, so no finding)")
        else:
            console.warn(f"{told}. If known classes are to be recognised, give --same-classes")
    for line in found.warnings:
        console.warn(line)
    if clean:
        console.say("clean: the sides have nothing in common that was looked for")
