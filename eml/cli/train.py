"""`eml train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eml.engine.fit import Result


def train(
    config: Annotated[Path, typer.Argument(help="The config (YAML). `eml init` writes one.", show_default=False)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key, such as margin.m=0.3. Repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run, to the same end.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")] = False,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps; overrides the config.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build everything, take two steps, make no run.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")] = False,
) -> None:
    """Train an embedding model as a config says, into a run folder with checkpoints, metrics and plots."""
    from eml.cli import render
    from eml.config import load
    from eml.engine.config import RunConfig

    overrides = [*(set_ or []), *([f"device={device}"] if device else [])]
    run = load(RunConfig, config, overrides)

    from eml.cli.training_display import TrainingDisplay
    from eml.engine.fit import check, fit, rehearse
    from eml.engine.sets import table_to_train_on
    from eml.reports.curves import draw_curves

    check(run, resume=resume, overwrite=overwrite or dry_run)
    table = table_to_train_on(run.data, render.say, render.progress)
    if dry_run:
        facts = rehearse(run, table)
        render.table(
            "Two steps were taken, no run folder was made", ["", ""], [[name, value] for name, value in facts.items()]
        )
        if json:
            render.print_json(facts)
        return
    with TrainingDisplay() as display:
        result = fit(run, table, resume=resume, overwrite=overwrite, observe=display.observe)
    draw_curves(result.folder)
    _show(result)
    if json:
        best = {
            "folder": str(result.folder),
            "best_epoch": result.best_epoch,
            "before": result.before,
            "best": result.best,
        }
        render.print_json(best)


def _show(result: "Result") -> None:
    from eml.cli import render

    if result.before and result.best:
        rows = [
            [name, f"{before:.4f}", f"{result.best[key]:.4f}", f"{result.best[key] - before:+.4f}"]
            for key, name in result.shown.items()
            if (before := result.before[key]) is not None
        ]
        title = f"Held-out pictures, best epoch ({result.best_epoch})"
        render.table(title, ["metric", "before training", "after", "difference"], rows)
    render.say(f"run folder: {result.folder}")
    render.say(f"next: eml evaluate {result.folder} --data TABLE")
