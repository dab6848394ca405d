"""`eml plot`."""

from pathlib import Path
from typing import Annotated

import typer

from eml.cli.options import Overwrite


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.", show_default=False)],
    metric: Annotated[
        str, typer.Option(help="What to compare: a name from metrics.jsonl, such as recall_at_1.")
    ] = "map_at_r",
    out: Annotated[
        Path | None,
        typer.Option(help="The image.  [default: RUN/curves.png, of several comparison.png]", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")] = False,
) -> None:
    """Draw the curves of a training run, or compare those of several.

    One run: loss per step, R@1 and MAP@R per validation. Several: the running mean of their losses, and the metric.
    Works on runs that are still going.
    """
    from eml.cli.display import console
    from eml.reports.curves import MADE_BY, check_runs, draw_comparison, draw_curves, find_best, name_runs
    from eml.reports.own_plots import refuse_plot

    check_runs(runs, metric)
    if len(runs) == 1 and out is None:
        made = draw_curves(runs[0])
    else:
        target = out or Path("comparison.png")
        refuse_plot(target, MADE_BY, "out", overwrite=overwrite)
        made = draw_comparison(runs, metric, target)
    found = {name: find_best(run, metric) for name, run in zip(name_runs(runs), runs, strict=True)}
    rows = [
        [name, *("" if value is None else f"{value:.4f}" for value in values), "" if epoch is None else epoch]
        for name, (*values, epoch) in found.items()
    ]
    console.table(metric, ["run", "before training", "best", "epoch"], rows)
    console.say(f"wrote {made}")
    if json:
        keys = ("before", "best", "epoch")
        named = {name: dict(zip(keys, values, strict=True)) for name, values in found.items()}
        console.print_json({"metric": metric, "runs": named, "written": str(made)})
