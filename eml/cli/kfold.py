"""`eml kfold`."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eml.cli.app import command_line
from eml.cli.options import Dataset, GroupBy, Json, NearThreshold, NoNear, Out, Overwrite, Root, out_folder

if TYPE_CHECKING:
    from eml.dataset.splits.folds import FoldBalance


def kfold(
    context: typer.Context,
    dataset: Dataset,
    k: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    random_seed: Annotated[int, typer.Option(min=0, help="Draws the folds.")] = 28,
    by: Annotated[
        Literal["images", "class"],
        typer.Option(
            help="images: each class is spread over all folds, classes of fewer than k images are always trained on "
            "(fold -1). class: each class is in one fold."
        ),
    ] = "images",
    group_by: GroupBy = None,
    threshold: NearThreshold = None,
    no_near: NoNear = False,
    root: Root = None,
    out: Out = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Number the folds, one of which is held out for validation. Images that look alike are in one fold.

    Reads the table that split, filter or scan left in the folder (the training side of a split; scans first when there
    is none) or the given one. Writes folds.csv: the same rows with the column fold. Rows of fold -2 (always test, never
    looked at while training) keep it. eml audit shows what the folds still have in common.
    """
    from eml.cli.display import console
    from eml.cli.grouping import check_near, grouped, note, notes
    from eml.dataset.pipeline import resolve
    from eml.dataset.splits.folds import add_folds, balance
    from eml.dataset.table import check_outputs, write_tables

    check_near(threshold, no_near)
    folder = out_folder(dataset, out)
    table = resolve(dataset, "kfold", root, out=folder, report=console.say, progress=console.progress)
    path = folder / f"folds{table.source.suffix}"
    check_outputs([path], inputs=[table.source], overwrite=overwrite)  # before the work, not after it
    groups = grouped(table, group_by, threshold, no_near, whole_classes=by == "class")
    frame = add_folds(table, k, random_seed, by, groups.ids)
    found = balance(table, frame, k, by, groups.ids)
    replaced = write_tables(
        {path: frame},
        command=command_line(context),
        root=table.root,
        inputs=[table.source],
        overwrite=overwrite,
        notes=notes(groups),
    )
    if "fold" in table.frame.columns:
        kept = " but for its rows of -2" if (table.frame["fold"] == -2).any() else ""
        console.say(f"the column fold of {table.source} was replaced{kept}")
    _show(found)
    note(found.groups.of_several, found.groups.images, found.groups.largest, len(frame))
    _remarks(found, k)
    console.written([path], replaced, following=shlex.join(["eml", "init", str(folder)]))
    if json:
        facts: dict[str, Any] = {"table": str(table.source), "by": by, "folds": [asdict(fold) for fold in found.folds]}
        facts["groups"] = notes(groups) | asdict(found.groups)
        console.print_json(facts | {"written": [str(path)]})


def _show(found: "FoldBalance") -> None:
    from eml.cli.display import console

    names = {-1: "-1 (always train)", -2: "-2 (always test)"}
    rows: list[list[Any]] = []
    for facts in found.folds:
        number, images = facts.fold, facts.images
        off = f"{images - found.even:+.1f}" if number >= 0 else None
        per_class = console.between(facts.fewest, facts.most)
        name = names.get(number, str(number))
        rows.append([name, images, off, facts.classes, facts.groups, per_class])
    console.table("", ["fold", "images", "off even", "classes", "groups", "per class"], rows)
    worst = found.worst_class
    if worst and worst.images != worst.even:
        text = f"{worst.label}, {worst.images:,} in one fold, where {worst.even:.1f} would be even"
        console.say(f"the class furthest from even: {text}")


def _remarks(found: "FoldBalance", k: int) -> None:
    from eml.cli.display import console

    if found.groups.largest > found.even:
        told = f"the largest group has {found.groups.largest:,} images, more than an even fold ({found.even:,.0f})"
        console.warn(f"{told}; eml filter --dedup thins groups, and a lower --threshold makes them smaller")
    mixed = " (but for images in a group with other classes)" if found.groups.of_several else ""
    if found.groups.classes_too_small:
        small = console.some(found.groups.classes_too_small, "class", "classes")
        console.warn(f"fewer than {k} images, so always trained on{mixed}: {small}")
    if found.groups.classes_of_one_group:
        alone = console.some(found.groups.classes_of_one_group, "class", "classes")
        console.warn(f"one single group, so always trained on{mixed}: {alone}")
    if found.groups.classes_in_one_fold:
        whole = console.some(found.groups.classes_in_one_fold, "class", "classes")
        console.warn(f"wholly in one fold, so not trained on while it is held out, and no use as queries: {whole}")
    if found.groups.classes_joined:
        joined = console.count(found.groups.classes_joined, "class shares", "classes share")
        console.warn(f"{joined} groups with others and went to folds with them; eml filter --scope dataset shows which")
    if found.groups.taken_to_test:
        taken = console.count(found.groups.taken_to_test, "image is", "images are")
        console.warn(f"{taken} in a group with images of fold -2, and got it too: never trained on")
