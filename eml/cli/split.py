"""`eml split`."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eml.cli.app import command_line
from eml.cli.options import Dataset, GroupBy, Json, NearThreshold, NoNear, Out, Overwrite, Root, out_folder
from eml.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from eml.dataset.duplicates.components import Indices
    from eml.dataset.splits.split import SplitTables
    from eml.dataset.table import Table

By = Literal["counts", "ratio", "alternate", "column"]
READ_BY = {
    "min_n_samples": "counts",
    "max_n_samples": "counts",
    "test_ratio": "ratio",
    "random_seed": "ratio",
    "column": "column",
}


def split(
    context: typer.Context,
    dataset: Dataset,
    column: Annotated[
        str | None,
        typer.Argument(metavar="COLUMN", show_default=False, help="By column: the one that says train or test."),
    ] = None,
    by: Annotated[
        By,
        typer.Option(
            help="counts: classes of a medium number of images train. ratio: a share of the classes is the test. "
            "alternate: every second class name is the test. column: as COLUMN says."
        ),
    ] = "counts",
    min_n_samples: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="By counts: fewest images of a training class.  [default: 3]"),
    ] = None,
    max_n_samples: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="By counts: most images of a training class.  [default: 50]"),
    ] = None,
    test_ratio: Annotated[
        float | None,
        typer.Option(show_default=False, help="By ratio: share of the classes that is the test.  [default: 0.2]"),
    ] = None,
    random_seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default=False,
            help="By ratio: draws the test classes. With --query-gallery: draws the queries.  [default: 28]",
        ),
    ] = None,
    group_by: GroupBy = None,
    threshold: NearThreshold = None,
    no_near: NoNear = False,
    query_gallery: Annotated[
        bool,
        typer.Option(
            "--query-gallery",
            help="Mark each test image as query or gallery, never images of a class that look alike as both: one "
            "query per class, or --query-share.",
        ),
    ] = False,
    query_share: Annotated[
        float | None,
        typer.Option(show_default=False, help="With --query-gallery: share of a class's images that are queries."),
    ] = None,
    root: Root = None,
    out: Out = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Set classes aside for the test, never seen in training.

    Reads the table that filter or scan left in the folder (scans first when there is none) or the given one. Writes
    dataset_train.csv and dataset_test.csv, and classes_train.csv and classes_test.csv with the count of each class.
    Classes that share images that look alike, or a value of --group-by, go to one side by ratio; the other ways have
    their own rule, and what then stands on both sides is reported.
    """
    seed = None if random_seed is None or (query_gallery and by != "ratio") else random_seed
    options = _options_of(
        by,
        min_n_samples=min_n_samples,
        max_n_samples=max_n_samples,
        test_ratio=test_ratio,
        random_seed=seed,
        column=column,
    )
    if query_share is not None and not query_gallery:
        raise DataError("--query-share: only with --query-gallery")

    from eml.cli.display import console
    from eml.cli.grouping import check_near, grouped, notes
    from eml.dataset.pipeline import resolve
    from eml.dataset.splits import split as library
    from eml.dataset.splits.groups import group_rows
    from eml.dataset.splits.query_gallery import mark_query_gallery
    from eml.dataset.table import Table, check_outputs, write_tables

    check_near(threshold, no_near)
    folder = out_folder(dataset, out)
    table = resolve(dataset, "split", root, out=folder, report=console.say, progress=console.progress)
    paths = [folder / f"dataset_{side}{table.source.suffix}" for side in ("train", "test")]
    paths += [folder / f"classes_{side}.csv" for side in ("train", "test")]
    check_outputs(paths, inputs=[table.source], overwrite=overwrite)  # before the work, not after it
    groups = grouped(table, group_by, threshold, no_near, whole_classes=True)
    if by == "ratio":
        options["groups"] = groups.ids
    sides = getattr(library, f"split_by_{by}")(table, **options)
    test = sides.test
    if query_gallery:
        seen = Table(test, table.root)
        bits = groups.threshold
        within = group_rows(seen, group_by=group_by or (), near=not no_near, threshold=bits, within_class=True)
        test = mark_query_gallery(
            test, within.ids, query_share, library.RANDOM_SEED if random_seed is None else random_seed
        )
    counts = [library.class_counts(side) for side in (sides.train, test)]
    frames = dict(zip(paths, (sides.train, test, *counts), strict=True))
    replaced = write_tables(
        frames,
        command=command_line(context),
        root=table.root,
        inputs=[table.source],
        overwrite=overwrite,
        notes=notes(groups),
    )
    counted = _counts(table, sides) | _leaks(table, sides, groups.ids) | (_protocol(test) if query_gallery else {})
    _show(counted)
    _show_leaks(counted, bool(group_by), table.source)
    console.written(paths, replaced, following=shlex.join(["eml", "kfold", str(folder)]))
    if json:
        console.print_json(counted | {"written": [str(path) for path in paths]})


def _leaks(table: "Table", sides: "SplitTables", groups: "Indices") -> dict[str, Any]:
    """What groups have on both sides."""
    from eml.dataset.splits.split import shared_groups

    return {"on_both_sides": asdict(shared_groups(table, sides, groups))}


def _protocol(test: "pd.DataFrame") -> dict[str, Any]:
    from eml.dataset.splits.query_gallery import count_query_gallery

    return {"protocol": asdict(count_query_gallery(test))}


def _show_leaks(counted: dict[str, Any], group_by: bool, source: Path) -> None:
    from eml.cli.display import console

    if found := counted["on_both_sides"]["groups"]:
        told = counted["on_both_sides"]
        what = "look alike or share a value of --group-by" if group_by else "look alike"
        images = f"{told['train_images']:,} images to train on and {told['test_images']:,} of the test {what}"
        classes = console.some(told["test_classes"], "test class", "test classes")
        console.warn(f"{images} ({console.count(found, 'group', 'groups')}, {classes})")
        console.say("  --by ratio keeps their classes on one side; this leaves out images that look alike:")
        console.say(f"  {shlex.join(['eml', 'filter', str(source), '--dedup', '--scope', 'dataset'])}")
    if protocol := counted.get("protocol"):
        rest = f", {protocol['neither']:,} neither (they look like a query)" if protocol["neither"] else ""
        console.say(f"test: {protocol['queries']:,} queries, {protocol['gallery']:,} gallery{rest}")
        if without := protocol["classes_without_query"]:
            told = console.some(without, "test class of one single group", "test classes of one single group each")
            console.warn(f"no query, gallery only: {told}")


def _options_of(by: By, **given: Any) -> dict[str, Any]:
    """The options of the strategy; another strategy's would be ignored, and are refused."""
    given = {name: value for name, value in given.items() if value is not None}
    problems = [
        f"{'COLUMN' if name == 'column' else '--' + name.replace('_', '-')} goes with --by {READ_BY[name]}, "
        f"not with --by {by}"
        for name in given
        if READ_BY[name] != by
    ]
    if by == "column" and "column" not in given:
        problems.append("--by column needs the column's name: eml split DATASET --by column NAME")
    if problems:
        raise DataError(problems)
    return given


def _counts(table: "Table", sides: "SplitTables") -> dict[str, Any]:
    return {"table": str(table.source), "train": asdict(sides.train_counts), "test": asdict(sides.test_counts)}


def _show(counted: dict[str, Any]) -> None:
    from eml.cli.display import console

    rows = []
    for side in ("train", "test"):
        facts = counted[side]
        sizes = console.between(facts["smallest_class"], facts["largest_class"])
        rows.append([side, facts["images"], facts["classes"], sizes])
    console.table("", ["side", "images", "classes", "images per class"], rows)
    if alone := counted["test"]["classes_of_one"]:
        of = console.count(counted["test"]["classes"], "test class has", "test classes have")
        told = "nothing else of the class can be found, so they are left out as queries"
        console.warn(f"{alone:,} of {of} one image: {told}")
    if counted["train"]["classes"] < 2:
        console.warn("there is one class to train on; training needs two")
