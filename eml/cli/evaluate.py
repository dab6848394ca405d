"""`eml evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eml.cli.options import BatchSize, Device, Json, LeaveOutSame, Within, Workers

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.engine.evaluation import Evaluation
    from eml.engine.findings import Findings
    from eml.engine.slices import Partition


def evaluate(
    context: typer.Context,
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT...",
            help="A run folder (its best checkpoint), a checkpoint folder, timm:NAME for a network as it comes, or "
            "embeddings made elsewhere (.npz, .npy, .parquet). Several are compared.",
            show_default=False,
        ),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            "-d",
            help="Table or folder to evaluate on. Repeatable. Embeddings with labels need none.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that the tables' file names start from.", show_default=False)
    ] = None,
    weights: Annotated[str, typer.Option(help="For timm:NAME: pretrained, none (random), or a file.")] = "pretrained",
    image_size: Annotated[
        int | None,
        typer.Option(min=8, max=4096, help="For timm:NAME: side (pixels).", show_default="the model's own"),
    ] = None,
    leave_out_same: LeaveOutSame = None,
    within: Within = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Compare with this model on the same pictures: is the difference more than chance?",
            show_default=False,
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            metavar="COLUMN",
            help="Show the metrics by this column's values. Repeatable.",
            show_default=False,
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Verification by these pairs (CSV file_name_1, file_name_2, same, perhaps fold; or LFW's pairs.txt).",
            show_default=False,
        ),
    ] = None,
    verification: Annotated[
        bool, typer.Option("--verification", help="Verification by all pairs: AUC, EER, TAR@FAR.")
    ] = False,
    clustering: Annotated[
        bool, typer.Option("--clustering", help="NMI and AMI of k-means; slow with many classes.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.", show_default="RUN/evaluations")] = None,
    save_embeddings: Annotated[
        bool, typer.Option("--save-embeddings", help="Write embeddings.npz beside metrics.json.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html beside metrics.json, to look at.")
    ] = True,
    batch_size: BatchSize = 64,
    workers: Workers = 0,
    device: Device = "auto",
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes on this machine that share the pictures, one for each GPU.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure retrieval by exact nearest neighbours: R@K, MAP@R, R-Precision, mAP, MRR, GAP.

    Each picture is a query among all the others of its table (leave-one-out), or by the columns is_query and
    is_gallery where the table has them. The query itself is left out; queries whose class has no other picture are
    left out of the means and counted. In parentheses: 95 % intervals, by resampling the classes.
    """
    from eml.cli.launching import joined, launch, told_once, voices

    if devices is not None and devices > 1:
        launch(devices)
        return
    from eml.cli import render
    from eml.cli.app import command_line
    from eml.cli.findings import show_findings
    from eml.engine.embeddings_file import is_embeddings_file, read_embeddings, write_embeddings
    from eml.engine.evaluation import (
        check_results,
        evaluation_of,
        evaluation_of_embeddings,
        load_for_evaluation,
        table_to_evaluate,
    )
    from eml.engine.findings import Wanted, findings_of
    from eml.engine.processes import Processes
    from eml.engine.sets import retrieval_set
    from eml.engine.slices import check_columns, partition
    from eml.errors import ConfigError
    from eml.files import write_json
    from eml.reports.evaluation import Additions, refuse_page, write_report

    everyone = [*checkpoints, *([against] if against else [])]
    with told_once():
        if not data and not all(is_embeddings_file(each) for each in everyone):
            raise ConfigError("say on which pictures: --data TABLE, or a folder of them")
        folders = _folders(checkpoints, out)
        here = Processes.of_environment()
        if here.world > 1:
            here.device(device)
    with joined(device, here) as processes:
        report, progress = voices(processes)
        tables = processes.after_first(lambda: [table_to_evaluate(each, root, report, progress) for each in data or []])
        names = _names([table.path or table.root for table in tables]) or ["embeddings"]
        check_results([folder / name / "metrics.json" for folder in folders for name in names])
        for folder, name in ((folder, name) for folder in folders for name in names if page):
            refuse_page(folder / name / "report.html")
        for table in tables:
            check_columns(table, slices or [])
        columns: dict[str, Any] = {"leave_out_same": leave_out_same, "within": within}
        given: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "processes": processes}

        def of_file(file: str, table: Table | None) -> Evaluation:
            table, embeddings = read_embeddings(Path(file), table)
            return evaluation_of_embeddings(file, embeddings, table, **columns)

        def of_model(checkpoint: str) -> list[Evaluation]:
            """On each table."""
            if is_embeddings_file(checkpoint):
                read: list[Table | None] = [*tables] or [None]
                return [of_file(checkpoint, table) for table in read] if processes.first else []
            own = str(processes.device(device))
            model = load_for_evaluation(checkpoint, weights=weights, image_size=image_size, device=own)
            found = []
            for name, table in zip(names, tables, strict=True):
                wanted = retrieval_set(table.frame, table.name, **columns)
                with progress(f"embedding {name}", len(wanted.frame)) as advance:
                    found.append(evaluation_of(checkpoint, model, table, wanted, progress=advance, **given))
            return found

        others: list[Evaluation | None] = [*of_model(against)] if against else [None] * len(names)
        asked = Wanted(tuple(slices or ()), verification, pairs, clustering)
        done: list[tuple[str, Path, Findings, dict[str, Any]]] = []  # of each model on each table: name, folder, facts
        parts: dict[str, Partition] = {}  # by the table's name; the same for every model
        for checkpoint, folder in zip(checkpoints, folders, strict=True):
            evaluations = of_model(checkpoint)
            if not processes.first:
                continue
            for name, evaluation, other in zip(names, evaluations, others, strict=True):
                if tables and name not in parts:
                    parts[name] = partition(evaluation.table, evaluation.wanted, asked.columns, progress=progress)
                found = findings_of(evaluation, asked, against=other, parts=parts.get(name), progress=progress)
                facts = found.facts()
                write_json(folder / name / "metrics.json", {"name": name, **facts})
                if save_embeddings:
                    write_embeddings(folder / name / "embeddings.npz", evaluation.embeddings, evaluation.wanted.frame)
                if page:
                    write_report(
                        evaluation,
                        folder / name / "report.html",
                        command=command_line(context),
                        additions=Additions.of_facts(facts, roc=found.roc or None, threshold=evaluation.threshold),
                        progress=progress,
                    )
                done.append((name, folder / name, found, facts))
    if not processes.first:
        return
    _show(checkpoints, names, [found for *_, found, _ in done])
    for name, folder, found, _ in done:
        show_findings(name, found, slices or [])
        for file in ("metrics.json", "report.html") if page else ("metrics.json",):
            render.say(f"wrote {folder / file}")
    if json:
        told = [{"name": name, **facts} for name, *_, facts in done]
        one = checkpoints[0] if len(checkpoints) == 1 else checkpoints
        render.print_json({"checkpoint": one, "evaluations": told})


def _show(checkpoints: list[str], names: list[str], done: list[Findings]) -> None:
    """One model: a column for each table. Several: a table of models for each table of pictures."""
    from eml.cli import render
    from eml.cli.findings import with_interval

    if len(checkpoints) == 1:
        shown = done[0].evaluation.summary.shown
        rows = [
            [label, *(with_interval(each.evaluation.summary.values[key], each.intervals.get(key)) for each in done)]
            for key, label in shown.items()
        ]
        facts = [each.evaluation.facts() for each in done]
        rows += [[count, *(f"{each[count]:,}" for each in facts)] for count in ("queries", "classes")]
        render.table(checkpoints[0], ["", *names], rows)
        return
    for number, name in enumerate(names):
        _show_models(name, [each.evaluation for each in done[number :: len(names)]])


def _show_models(name: str, of_table: list[Evaluation]) -> None:
    from eml.cli import render

    metrics = {key: label for key, label in of_table[0].summary.shown.items() if key in COMPARED}
    rows = [
        [each.name, *(f"{each.summary.values[key]:.4f}" for key in metrics), str(each.embeddings.shape[1])]
        for each in sorted(of_table, key=lambda each: -each.summary.values["map_at_r"])
    ]
    render.table(f"{name}: {of_table[0].summary.queries:,} queries", ["", *metrics.values(), "D"], rows)


def _folders(checkpoints: list[str], out: Path | None) -> list[Path]:
    """Where the results of each go: of several into one `out`, each into a folder of its own."""
    from eml.engine.evaluation import evaluations_folder

    if out is None or len(checkpoints) == 1:
        return [evaluations_folder(checkpoint, out) for checkpoint in checkpoints]
    return [out / name for name in _names([Path(each.replace(":", "-")) for each in checkpoints])]


COMPARED = ("recall_at_1", "recall_at_10", "map_at_r", "mean_average_precision")
"""What fits into a line for each of several models."""


def _names(paths: list[Path]) -> list[str]:
    """A folder name for each: its own, with its folder's name before it where two would be the same."""
    own = [path.name.removesuffix(path.suffix) if path.suffix in KNOWN else path.name for path in paths]
    full = [
        f"{path.parent.name}-{name}" if own.count(name) > 1 else name for path, name in zip(paths, own, strict=True)
    ]
    return [f"{name}-{full[:i].count(name) + 1}" if full[:i].count(name) else name for i, name in enumerate(full)]


KNOWN = (".csv", ".parquet", ".npz", ".npy")
