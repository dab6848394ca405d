"""`eml split`."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eml.cli.app import command_line
from eml.cli.options import Dataset, Json, Out, Overwrite, Root, out_folder
from eml.errors import DataError

if TYPE_CHECKING:
    from eml.dataset.split import Split
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
            help="counts: classes of a medium number of pictures train. ratio: a share of the classes is the test. "
            "alternate: every second class name is the test. column: as COLUMN says."
        ),
    ] = "counts",
    min_n_samples: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="By counts: fewest pictures of a training class.  [default: 3]"),
    ] = None,
    max_n_samples: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="By counts: most pictures of a training class.  [default: 50]"),
    ] = None,
    test_ratio: Annotated[
        float | None,
        typer.Option(show_default=False, help="By ratio: share of the classes that is the test.  [default: 0.2]"),
    ] = None,
    random_seed: Annotated[
        int | None, typer.Option(min=0, show_default=False, help="By ratio: draws the test classes.  [default: 28]")
    ] = None,
    root: Root = None,
    out: Out = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Set classes aside for the test, never seen in training.

    Reads the table that filter or scan left in the folder (scans first when there is none) or the given one. Writes
    dataset_train.csv and dataset_test.csv, and classes_train.csv and classes_test.csv with the count of each class.
    """
    options = _options_of(
        by,
        min_n_samples=min_n_samples,
        max_n_samples=max_n_samples,
        test_ratio=test_ratio,
        random_seed=random_seed,
        column=column,
    )

    from eml.cli import render
    from eml.dataset import split as library
    from eml.dataset.table import resolve, write_tables

    folder = out_folder(dataset, out)
    table = resolve(dataset, "split", root, out=folder, report=render.say, progress=render.progress)
    sides = getattr(library, f"split_by_{by}")(table, **options)
    frames = {
        folder / f"dataset_train{table.source.suffix}": sides.train,
        folder / f"dataset_test{table.source.suffix}": sides.test,
        folder / "classes_train.csv": library.class_counts(sides.train),
        folder / "classes_test.csv": library.class_counts(sides.test),
    }
    command = command_line(context)
    replaced = write_tables(frames, command=command, root=table.root, inputs=[table.source], overwrite=overwrite)
    counted = _counts(table, sides)
    _show(counted)
    render.written(list(frames), replaced, following=shlex.join(["eml", "kfold", str(folder)]))
    if json:
        render.print_json(counted | {"written": [str(path) for path in frames]})


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


def _counts(table: "Table", sides: "Split") -> dict[str, Any]:
    def facts(frame: Any) -> dict[str, int]:
        sizes = frame["label"].value_counts()
        return {
            "pictures": len(frame),
            "classes": len(sizes),
            "smallest_class": int(sizes.min()),
            "largest_class": int(sizes.max()),
            "classes_of_one": int((sizes == 1).sum()),
        }

    return {"table": str(table.source), "train": facts(sides.train), "test": facts(sides.test)}


def _show(counted: dict[str, Any]) -> None:
    from eml.cli import render

    rows = []
    for side in ("train", "test"):
        facts = counted[side]
        sizes = f"{facts['smallest_class']:,} to {facts['largest_class']:,}"
        rows.append([side, facts["pictures"], facts["classes"], sizes])
    render.table("", ["side", "pictures", "classes", "pictures per class"], rows)
    if alone := counted["test"]["classes_of_one"]:
        of = render.count(counted["test"]["classes"], "test class has", "test classes have")
        told = "nothing else of the class can be found, so they are left out as queries"
        render.warn(f"{alone:,} of {of} one picture: {told}")
    if counted["train"]["classes"] < 2:
        render.warn("there is one class to train on; training needs two")
