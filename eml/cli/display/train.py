"""`eml train` in a terminal."""

from typing import TYPE_CHECKING

from eml.cli.adapter import Terminal
from eml.commands.train import Outcome, TrainDryRunResult, TrainFoldsResult, TrainResult, train
from eml.files import from_here

if TYPE_CHECKING:
    from eml.training.stages.steps import StagesResult


def show(result: Outcome) -> None:
    """Print the final table and the verdict, or what a dry run found."""

    if isinstance(result, TrainResult):
        _show_run(result)
    elif isinstance(result, TrainFoldsResult):
        _show_folds(result)
    elif isinstance(result, TrainDryRunResult):
        _show_dry_run(result)


def _show_run(result: TrainResult) -> None:
    from eml.cli.display import console

    training = result.training
    if training.stages is not None:
        _show_stages(training.stages)
    for name, question in training.questions.items():
        if training.stages and training.stages.conclusion and name == training.decides:
            continue  # the network before training is what the run gives: all differences are 0
        if rows := result.rows_of(name):
            outcome = f"best epoch ({training.best_epoch})"
            if training.stages and name == training.decides:
                outcome = training.stages.shipped
            title = f"{name or 'held-out fold'}, {outcome}: {question.text}"
            console.table(title, ["metric", "before training", "after", "difference"], rows)
        if verdict := training.verdicts.get(name):
            first, *rest = verdict.lines()
            console.show(first)
            for line in rest:
                console.warn(line)
    if training.compatibility is not None:
        first, *rest = training.compatibility.lines()
        console.show(first)
        for line in rest:
            (console.show if training.compatibility.is_declared else console.warn)(line)
    if any(not verdict.helped for verdict in training.verdicts.values()):
        console.show(f"To try, one at a time: {'; '.join(training.to_try)}")
    seen_only = bool(training.questions) and all(
        question.classes_trained_on for question in training.questions.values()
    )
    if seen_only:
        console.show("Every class measured here was trained on, so unseen classes were not measured.")
    console.show(f"run folder: {from_here(training.folder)}")
    if seen_only and (unseen := result.unseen_classes):
        classes = "1 class that was" if unseen == 1 else f"{unseen:,} classes that were"
        console.say(f"The test beside the table has {classes} not trained on; eml evaluate measures them:")


def _show_stages(stages: "StagesResult") -> None:
    from eml.cli.display import console

    console.table("What each stage brought", stages.columns, stages.rows)
    console.show(stages.explanation)
    if stages.conclusion:
        console.warn(stages.conclusion)
    else:
        console.show(f"The run gives: {stages.shipped}{f'; {stages.refit}' if stages.refit else ''}")


def _show_folds(result: TrainFoldsResult) -> None:
    from eml.cli.display import console

    questions = result.folds.questions
    same = len(set(questions.values())) == 1
    suffix = f": {next(iter(questions.values()))}" if same else ""
    console.table(f"held-out folds, best epoch of each{suffix}", *result.summary_table())
    if not same:
        for fold, question in questions.items():
            console.show(f"fold {fold}: {question}")


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
