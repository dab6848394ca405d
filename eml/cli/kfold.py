"""`eml kfold`."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eml.cli.app import command_line
from eml.cli.options import Dataset, Json, Out, Overwrite, Root, out_folder

if TYPE_CHECKING:
    import pandas as pd


def kfold(
    context: typer.Context,
    dataset: Dataset,
    k: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    random_seed: Annotated[int, typer.Option(min=0, help="Draws the folds.")] = 28,
    by: Annotated[
        Literal["images", "class"],
        typer.Option(
            help="images: each class is spread over all folds, classes of fewer than k pictures are always trained on "
            "(fold -1). class: each class is in one fold."
        ),
    ] = "images",
    root: Root = None,
    out: Out = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Number the folds, one of which is held out for validation.

    Reads the table that split, filter or scan left in the folder (the training side of a split; scans first when there
    is none) or the given one. Writes folds.csv: the same rows with the column fold.
    """
    from eml.cli import render
    from eml.dataset.folds import add_folds
    from eml.dataset.table import resolve, write_tables

    folder = out_folder(dataset, out)
    table = resolve(dataset, "kfold", root, out=folder, report=render.say, progress=render.progress)
    frame = add_folds(table, k, random_seed, by)
    path = folder / f"folds{table.source.suffix}"
    command = command_line(context)
    replaced = write_tables({path: frame}, command=command, root=table.root, inputs=[table.source], overwrite=overwrite)
    counted = _counts(frame, k)
    if "fold" in table.frame.columns:
        render.say(f"the column fold of {table.source} was replaced")
    _show(counted, frame, k)
    render.written([path], replaced, following=shlex.join(["eml", "init", str(folder)]))
    if json:
        render.print_json({"table": str(table.source), "by": by, "folds": counted, "written": [str(path)]})


def _counts(frame: "pd.DataFrame", k: int) -> list[dict[str, int]]:
    """Facts of every fold, −1 last; the class sizes are those within the fold."""
    counted = []
    for fold in [*range(k), -1]:
        sizes = frame["label"][frame["fold"] == fold].value_counts()
        if len(sizes):
            facts = {"pictures": int(sizes.sum()), "classes": len(sizes)}
            counted.append({"fold": fold, **facts, "fewest": int(sizes.min()), "most": int(sizes.max())})
    return counted


def _show(counted: list[dict[str, int]], frame: "pd.DataFrame", k: int) -> None:
    from eml.cli import render

    total = len(frame)
    rows: list[list[Any]] = []
    for facts in counted:
        name = str(facts["fold"]) if facts["fold"] >= 0 else "-1 (always train)"
        share = f"{100 * facts['pictures'] / total:4.1f} %"
        rows.append([name, facts["pictures"], share, facts["classes"], f"{facts['fewest']:,} to {facts['most']:,}"])
    render.table("", ["fold", "pictures", "share", "classes", "pictures per class"], rows)
    if counted[-1]["fold"] == -1:
        small = sorted(set(frame["label"][frame["fold"] == -1]))
        render.warn(f"fewer than {k} pictures, so in no fold's validation: {render.some(small, 'class', 'classes')}")
