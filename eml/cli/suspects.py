"""`eml suspects`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eml.cli.app import command_line
from eml.cli.options import Json, Overwrite

if TYPE_CHECKING:
    from eml.retrieval.label_errors import Suspects

MANY = 0.15  # of the images
FILES = ("suspects.csv", "ambiguous.csv", "suspect_classes.csv", "suspects.html")


def suspects(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="The folder of eml train --fold all, or an .npz or .parquet with embeddings, file_name and label.",
        ),
    ],
    min_score: Annotated[
        float,
        typer.Option(min=0.5, max=1, help="Fewest odds of a label error, as a share: 0.9 is nine to one."),
    ] = 0.9,
    top: Annotated[int, typer.Option(min=0, help="Most probable errors shown on the page; the table has all.")] = 100,
    root: Annotated[
        Path | None,
        typer.Option(show_default=False, help="The folder of the images.  [default: the run's; else the file's]"),
    ] = None,
    one_network: Annotated[
        bool,
        typer.Option("--one-network", help="One network made all embeddings: compare them whatever their fold is."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(show_default=False, help="Folder for the files.  [default: where SOURCE is]")
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """List images whose label is probably wrong, and show them.

    An image is suspect when the images most similar to it have another label, by the embeddings of a network that
    has not been trained on it. Writes suspects.csv (most probable first, with the label that is suggested),
    ambiguous.csv (between two classes, or near to nothing), suspect_classes.csv (classes that are one class, or of
    which a part belongs to another) and suspects.html (with the images). Delete what is right from suspects.csv, then
    run eml filter --exclude suspects.csv. No image is touched.
    """
    from eml.cli.display import console
    from eml.dataset.table import check_outputs, write_tables
    from eml.files import refuse_file_name
    from eml.reports.suspects import write_page
    from eml.retrieval.label_errors import ambiguous_table, class_table, find_suspects, wrong_table
    from eml.training.out_of_fold import read_embedded

    if out is not None:
        refuse_file_name(out, "a folder for the tables and the page")
    folder = out or (source if source.is_dir() else source.parent)
    paths = [folder / name for name in FILES]
    replaced = check_outputs(paths, overwrite=overwrite)  # before the work, not after it
    path, images_root, images = read_embedded(source, root, one_network=one_network)
    found = find_suspects(images, min_score)
    frames = dict(zip(paths, (wrong_table(found), ambiguous_table(found), class_table(found)), strict=False))
    command = command_line(context)
    # Without inputs: a table filtered by the list is not out of date because the network was trained again.
    write_tables(frames, command=command, root=images_root, overwrite=overwrite)
    write_page(found, images_root, paths[-1], top=top, command=command, progress=console.progress)
    counts = _counts(path, found)
    _show(counts, found)
    following = shlex.join(["eml", "filter", "DATASET", "--exclude", str(paths[0])])
    console.written(
        paths, replaced, following=f"look at {paths[-1]}, delete the lines of suspects.csv that are right, {following}"
    )
    if json:
        console.print_json(counts | {"written": [str(path) for path in paths]})


def _counts(path: Path, found: "Suspects") -> dict[str, Any]:
    between = set(found.between.tolist()) | set(found.outliers.tolist())
    return {
        "source": str(path),
        "images": len(found.images.labels),
        "classes": len(found.names),
        "networks": len(found.votes.temperatures),
        "min_score": found.min_score,
        "probable_label_errors": len(found.wrong),
        "ambiguous": len(between),
        "near_to_nothing": len(found.outliers),
        "one_class": len(found.same),
        "mixed_classes": len(found.mixed),
        "not_judged": found.unjudged,
    }


def _show(counts: dict[str, Any], found: "Suspects") -> None:
    from eml.cli.display import console

    rows = [
        ["images", counts["images"]],
        ["classes", counts["classes"]],
        [f"probable label errors (score {found.min_score} or more)", counts["probable_label_errors"]],
        ["ambiguous images", counts["ambiguous"]],
        ["pairs of classes that are one class", counts["one_class"]],
        ["mixed classes", counts["mixed_classes"]],
    ]
    console.table("", ["", ""], rows)
    names = found.images.file_names
    first = [
        [rank, names[row], found.images.labels[row], found.names[found.errors.suggested[row]]]
        for rank, row in enumerate(found.wrong[:5], 1)
    ]
    if first:
        console.table("The most probable", ["", "image", "label", "suggested"], first)
    judged = counts["images"] - counts["not_judged"]
    if len(found.wrong) > MANY * judged:
        console.warn(
            f"{len(found.wrong) / judged:.0%} of the images are suspects: more likely these embeddings do not tell "
            "the classes apart. Trust the first of the list at most; a network trained on these classes judges better "
            "(eml train CONFIG --fold all)"
        )
    if counts["not_judged"]:
        told = console.count(counts["not_judged"], "image is", "images are")
        console.warn(f"{told} the only one of a class in its fold, and cannot be judged. Fewer folds, or one network?")
