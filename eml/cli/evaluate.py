"""`eml evaluate`."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A run folder (its best checkpoint), a checkpoint folder, or timm:NAME for a network as it comes.",
            show_default=False,
        ),
    ],
    data: Annotated[
        list[Path], typer.Option("--data", "-d", help="Table or folder to evaluate on. Repeatable.", show_default=False)
    ],
    root: Annotated[
        Path | None, typer.Option(help="Folder that the tables' file names start from.", show_default=False)
    ] = None,
    weights: Annotated[str, typer.Option(help="For timm:NAME: pretrained, none (random), or a file.")] = "pretrained",
    image_size: Annotated[
        int | None,
        typer.Option(min=8, max=4096, help="For timm:NAME: side (pixels).", show_default="the model's own"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.", show_default="RUN/evaluations")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures embedded at once.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")] = False,
) -> None:
    """Measure retrieval by exact nearest neighbours: R@K, MAP@R, R-Precision, mAP.

    Each picture is a query among all the others of its table (leave-one-out), or by the columns is_query and
    is_gallery where the table has them. The query itself is left out; queries whose class has no other picture are
    left out of the means and counted.
    """
    from eml.cli import render
    from eml.engine.evaluation import (
        check_results,
        evaluation_of,
        evaluations_folder,
        load_for_evaluation,
        table_to_evaluate,
    )
    from eml.engine.sets import retrieval_set
    from eml.files import write_json
    from eml.retrieval.metrics import all_metrics

    folder = evaluations_folder(checkpoint, out)
    tables = [table_to_evaluate(source, root, render.say, render.progress) for source in data]
    names = _names([table.path or table.root for table in tables])
    check_results([folder / name / "metrics.json" for name in names])
    model = load_for_evaluation(checkpoint, weights=weights, image_size=image_size, device=device)
    results = []
    for name, table in zip(names, tables, strict=True):
        wanted = retrieval_set(table.frame, table.name)
        with render.progress(f"embedding {name}", len(wanted.frame)) as advance:
            done = evaluation_of(
                checkpoint, model, table, wanted, batch_size=batch_size, workers=workers, progress=advance
            )
        results.append({"name": name, **done.facts()})
        write_json(folder / name / "metrics.json", results[-1])
    shown = {key: label for metric in all_metrics() for key, label in metric.shown().items()}
    rows = [[label, *(f"{result['metrics'][key]:.4f}" for result in results)] for key, label in shown.items()]
    for count in ("queries", "classes"):
        rows.append([count, *(f"{result[count]:,}" for result in results)])
    render.table(checkpoint, ["", *names], rows)
    for result in results:
        if left_out := result["queries_without_partner"]:
            render.warn(f"{result['name']}: {left_out:,} queries have no partner of their class and are not counted")
        render.say(f"wrote {folder / result['name'] / 'metrics.json'}")
    if json:
        render.print_json({"checkpoint": checkpoint, "evaluations": results})


def _names(paths: list[Path]) -> list[str]:
    """A folder name for each table: its stem, with its folder's name before it where two would be the same."""
    stems = [path.stem for path in paths]
    full = [f"{path.parent.name}-{path.stem}" if stems.count(path.stem) > 1 else path.stem for path in paths]
    return [f"{name}-{full[:i].count(name) + 1}" if full[:i].count(name) else name for i, name in enumerate(full)]
