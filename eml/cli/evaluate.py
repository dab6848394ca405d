"""`eml evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eml.cli.options import BatchSize, Device, Json, LeaveOutSame, Within, Workers


def evaluate(
    context: typer.Context,
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT",
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
        typer.Option(
            min=8, max=4096, help="For timm:NAME: side (pixels).  [default: the model's own]", show_default=False
        ),
    ] = None,
    leave_out_same: LeaveOutSame = None,
    within: Within = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Compare with this model on the same images: is the difference more than chance?",
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
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.  [default: RUN/evaluations]", show_default=False)
    ] = None,
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
            min=1, help="Processes on this machine that share the images, one for each GPU.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure retrieval by exact nearest neighbours: R@K, MAP@R, R-Precision, mAP, MRR, GAP.

    Each image is a query among all the others of its table (leave-one-out), or by the columns is_query and
    is_gallery where the table has them. The query itself is left out; queries whose class has no other image are
    left out of the means and counted. In parentheses: 95 % intervals over the classes.
    """
    from eml.cli.display import console
    from eml.cli.launching import joined, launch, report_error_once, reporters

    if devices is not None and devices > 1:
        launch(devices)
        return
    from eml.cli.app import command_line
    from eml.cli.display.results import show_results
    from eml.distributed.processes import Processes
    from eml.evaluation.options import EvaluationOptions
    from eml.evaluation.outputs import result_folders
    from eml.evaluation.runs import EvaluationResult, evaluate_models
    from eml.reports.evaluation import write_report

    options = EvaluationOptions(
        checkpoints,
        data or [],
        root=root,
        weights=weights,
        image_size=image_size,
        leave_out_same=leave_out_same,
        within=within,
        against=against,
        slices=slices or [],
        pairs=pairs,
        verification=verification,
        clustering=clustering,
        out=out,
        save_embeddings=save_embeddings,
        batch_size=batch_size,
        workers=workers,
        device=device,
    )
    with report_error_once():
        options.check()  # before the processes meet
        result_folders(options)
        here = Processes.of_environment()
        if here.world > 1:
            here.device(device)
    with joined(device, here) as processes:
        report, progress = reporters(processes)

        def write_page(result: EvaluationResult) -> None:
            write_report(result.analysis, result.page, command=command_line(context), progress=progress)

        results = evaluate_models(
            options, processes, write_page=write_page if page else None, report=report, progress=progress
        )
    if processes.first:
        show_results(checkpoints, results, slices or [])
        if json:
            one = checkpoints[0] if len(checkpoints) == 1 else checkpoints
            console.print_json({"checkpoint": one, "evaluations": results.facts()})
