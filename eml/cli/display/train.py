"""`eml train` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.train import Outcome, TrainDryRunResult, TrainFoldsResult, TrainResult, train


def show(result: Outcome) -> None:
    """Print the final table and the verdict, or what a dry run found."""
    from eml.cli.display import console

    if isinstance(result, TrainResult):
        _show_run(result)
    elif isinstance(result, TrainFoldsResult):
        console.table("Held-out images, best epoch of each fold", *result.summary_table())
    elif isinstance(result, TrainDryRunResult):
        _show_dry_run(result)


def _show_run(result: TrainResult) -> None:
    from eml.cli.display import console

    training = result.training
    if (table := result.summary_table()) is not None:
        console.table(f"Held-out images, best epoch ({training.best_epoch})", *table)
    if training.verdict:
        first, *rest = training.verdict.lines()
        console.show(first)
        for line in rest:
            console.warn(line)
    console.show(f"run folder: {training.folder}")


def _show_dry_run(result: TrainDryRunResult) -> None:
    from eml.cli.display import console
    from eml.cli.display.dry_run import rows_of

    for line in result.dry_run.recipe:
        console.say(line)
    console.table("Two steps were taken, no run folder was made", ["", ""], rows_of(result.dry_run.to_dict()))
    for line in result.dry_run.warnings:
        console.warn(line)


terminal = Terminal(
    train,
    show,
    short={"overrides": "-s"},
    metavars={"config": "CONFIG", "overrides": "KEY=VALUE", "out": "FILE"},
    devices=True,
    config_file=False,
)
