"""`eml filter`."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eml.cli.app import command_line
from eml.cli.options import Dataset, Json, Out, Overwrite, Root, out_folder
from eml.errors import DataError

if TYPE_CHECKING:
    from eml.dataset.filter import FilteredTable


def filter(
    context: typer.Context,
    dataset: Dataset,
    dedup: Annotated[bool, typer.Option("--dedup", help="Leave one of each group of near-duplicates.")] = False,
    threshold: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=63,
            show_default=False,
            help="With --dedup: bits of 64 by which hashes may differ; a look at the images then decides.  "
            "[default: 10]",
        ),
    ] = None,
    scope: Annotated[
        Literal["class", "dataset"] | None,
        typer.Option(
            show_default=False,
            help="With --dedup: compare within each class, or all images with one another; twins with different "
            "labels then all leave.  [default: class]",
        ),
    ] = None,
    keep: Annotated[
        Literal["largest", "most-bytes", "first", "last"] | None,
        typer.Option(
            show_default=False,
            help="With --dedup: which twin stays: of most pixels, of most bytes, first or last by name.  "
            "[default: largest]",
        ),
    ] = None,
    hash_only: Annotated[
        bool,
        typer.Option(
            "--hash-only",
            help="With --dedup: look at no images; within a class the hash decides, which thins look-alikes too.",
        ),
    ] = False,
    conflicts: Annotated[
        Literal["remove", "keep"] | None,
        typer.Option(
            show_default=False,
            help="With --dedup: whether images that are there with different labels leave, or are only listed.  "
            "[default: remove]",
        ),
    ] = None,
    min_size: Annotated[
        int | None, typer.Option(min=1, help="Fewest pixels of the shorter side.", show_default=False)
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Most pixels of the longer side.", show_default=False)
    ] = None,
    min_per_class: Annotated[
        int | None,
        typer.Option(min=1, help="Fewest images of a class, after all other removals.", show_default=False),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="TABLE",
            show_default=False,
            help="A table whose column file_name lists what to leave out, such as suspects.csv of eml suspects. "
            "Repeatable.",
        ),
    ] = None,
    root: Root = None,
    out: Out = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Leave out duplicates, small or large images, small classes.

    Reads the folder's dataset_info.csv (scans first when there is none) or the given table. Writes
    dataset_info_filtered.csv, dataset_removed.csv (with the reason and the twin that stayed) and, with --dedup,
    label_conflicts.csv (images that are there with different labels). No image is touched.
    """
    options = {
        "--threshold": threshold,
        "--scope": scope,
        "--keep": keep,
        "--hash-only": hash_only or None,
        "--conflicts": conflicts,
    }
    if not dedup and (given := [name for name, value in options.items() if value is not None]):
        raise DataError(f"{', '.join(given)}: only with --dedup")

    from eml.cli.display import console
    from eml.dataset.duplicates.dedup import THRESHOLD, DedupRules
    from eml.dataset.filter import FilterRules, filter_table
    from eml.dataset.pipeline import resolve
    from eml.dataset.sidecar import written_by_eml
    from eml.dataset.table import check_outputs, read_file_names, write_tables

    names = {path: read_file_names(path) for path in exclude or ()}
    bits = THRESHOLD if threshold is None else threshold
    duplicates = DedupRules(bits, scope or "class", keep or "largest", hash_only, conflicts or "remove")
    rules = FilterRules(names, min_size, max_size, duplicates if dedup else None, min_per_class)
    rules.check()
    folder = out_folder(dataset, out)
    table = resolve(dataset, "filter", root, out=folder, report=console.say, progress=console.progress)
    suffix = table.source.suffix
    paths = [folder / f"dataset_info_filtered{suffix}", folder / f"dataset_removed{suffix}"]
    if dedup or written_by_eml(folder / "label_conflicts.csv"):  # that one is out of date
        paths.append(folder / "label_conflicts.csv")
    inputs = [table.source, *names]
    check_outputs(paths, inputs=inputs, overwrite=overwrite)  # before the work, not after it
    filtered = filter_table(table, rules, console.progress)
    frames = dict(zip(paths, (filtered.kept, filtered.removed, filtered.conflicts), strict=False))
    replaced = write_tables(frames, command=command_line(context), root=table.root, inputs=inputs, overwrite=overwrite)
    counts = {"table": str(table.source)} | asdict(filtered.counts)
    _show(counts, filtered, bits, kept=conflicts == "keep", exact=scope != "dataset")
    console.written(paths, replaced, following=shlex.join(["eml", "split", str(folder)]))
    if json:
        console.print_json(counts | {"written": [str(path) for path in paths]})


def _show(counts: dict[str, Any], filtered: "FilteredTable", bits: int, *, kept: bool, exact: bool) -> None:
    from eml.cli.display import console

    rows = [["before", counts["images_before"], counts["classes_before"]]]
    rows += [[f"  {reason}", -count, None] for reason, count in counts["removed"].items()]
    rows += [["after", counts["images"], counts["classes"]]]
    console.table("", ["", "images", "classes"], rows)
    if across := counts["pairs_across_classes"]:
        expected = across["near_expected_by_chance"]
        console.say(f"pairs with different labels within {bits} bits: {across['near']:,}")
        console.say(f"  expected by chance: about {expected:,.0f}" if expected >= 1 else "  expected by chance: none")
        console.say(f"  the same image when compared: {across['same_image']:,}")
    if lost := counts["classes_lost"]:
        console.warn(f"no image is left of {console.some(lost, 'class', 'classes')}")
    if groups := counts["conflict_groups"]:
        images = f"{counts['conflict_images']:,} images in {console.count(groups, 'group', 'groups')}"
        done = "were kept" if kept else "were removed"
        console.warn(f"{images} are there with another label too and {done}: see label_conflicts.csv")
        if exact:
            console.say("  these are identical files; --scope dataset finds near-duplicates too")
