"""`eml calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eml.cli.options import BatchSize, Device, Json, LeaveOutSame, Within, Workers

if TYPE_CHECKING:
    from eml.models.calibration import Calibration

SHOWN = {
    "false_accept_rate": "accepted queries of unknown classes",
    "pair_false_accept_rate": "accepted pairs of different classes",
    "accepted": "accepted queries of known classes",
    "precision": "right ones among these",
    "recognised": "accepted and right, of known classes",
}


def calibrate(
    checkpoint: Annotated[
        Path, typer.Argument(help="A run folder (its best checkpoint) or a checkpoint folder.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Option("--data", "-d", help="Table or folder of classes that were not trained on.", show_default=False),
    ],
    far: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            show_default=False,
            help="Of queries of classes that are not in the gallery, so many may be accepted, such as 0.01.",
        ),
    ] = None,
    pair_far: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            show_default=False,
            help="Of pairs of images of different classes, so many may be accepted as the same, such as 1e-3.",
        ),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            show_default=False,
            help="Of the nearest images that are accepted, so many are to be of the query's class, such as 0.99.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Take the upper end of the threshold's interval: most other classes keep to the goal then."
        ),
    ] = False,
    root: Annotated[
        Path | None, typer.Option(help="Folder that the table's file names start from.", show_default=False)
    ] = None,
    leave_out_same: LeaveOutSame = None,
    within: Within = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Draw the histograms of the similarities with the threshold, a PNG.",
        ),
    ] = None,
    random_seed: Annotated[int, typer.Option(help="Of the resamples and splits.")] = 28,
    batch_size: BatchSize = 64,
    workers: Workers = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that eml did not write.")] = False,
    json: Json = False,
) -> None:
    """Find the cosine from which on an answer is accepted, and keep it in the checkpoint.

    For one goal: --far to turn away images of classes that are not in the gallery, --pair-far to say whether two
    images are of one class, --precision to trust the answers that are accepted. The threshold is chosen so that
    other classes than these keep to the goal on average; each half of the classes is checked with the threshold of the
    other half. Writes calibration.json into the checkpoint folder.
    """
    from eml.cli.display import console
    from eml.evaluation.calibration import CalibrationOptions, calibrate_checkpoint
    from eml.reports.calibration import GOALS, draw_calibration, refuse_plot

    options = CalibrationOptions(
        str(checkpoint),
        data,
        far=far,
        pair_far=pair_far,
        precision=precision,
        strict=strict,
        root=root,
        leave_out_same=leave_out_same,
        within=within,
        random_seed=random_seed,
        batch_size=batch_size,
        workers=workers,
        device=device,
        overwrite=overwrite,
    )
    if plot is not None:
        refuse_plot(plot, overwrite=overwrite)
    result = calibrate_checkpoint(options, report=console.say, progress=console.progress)
    _show(result.calibration, GOALS[result.calibration.goal])
    if result.trained_classes:
        console.warn(
            f"{result.trained_classes:,} of {result.classes:,} classes were trained on, and are told apart better than "
            "others will be; calibrate on classes that were not"
        )
    console.say(f"{'replaced' if result.replaced else 'wrote'} {result.path}")
    if plot is not None:
        console.say(f"wrote {draw_calibration(result.calibration, plot)}")
    if json:
        console.print_json(result.facts())


def _show(found: "Calibration", of_what: str) -> None:
    from eml.cli.display import console

    rows = [
        [SHOWN[name], console.decimal(rate.value), console.span(rate.low, rate.high)]
        for name in SHOWN
        if (rate := found.measured.get(name)) is not None
    ]
    threshold = ["threshold on the cosine", f"{found.threshold.value:.4f}"]
    low, high = found.threshold.low, found.threshold.high
    spread = "" if low is None or high is None else f"{low:.4f} … {high:.4f}"
    title = f"{found.goal_value:g} {of_what}{', upper end of the interval' if found.strict else ''}"
    console.table(title, ["", "", "95 % interval"], [[*threshold, spread], *rows])
    console.say(f"protocol: {found.protocol}")
    there = [each for each in found.held_out if each is not None]
    if there and found.held_out_mean is not None:
        console.say(
            f"held-out classes, {len(there)} times half of them: {console.decimal(found.held_out_mean)} on average, "
            f"{console.decimal(min(there))} … {console.decimal(max(there))} (goal {found.goal_value:g})"
        )
    if missing := len(found.held_out) - len(there):
        few = "" if found.held_out_mean is not None else ": too many to say how it does on held-out classes"
        console.warn(f"{missing} of {len(found.held_out)} halves of the classes gave no threshold for this goal{few}")
    for note in found.notes:
        console.warn(note)
