"""`eml sweep` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.sweep import MANY, SweepResult, sweep


def show(result: SweepResult) -> None:
    """Print a row for each setting, the best of them, and what its figure is worth."""
    from eml.cli.display import console

    values = result.values
    console.table(values.question, *result.summary_table())
    for name, reason in result.failures.items():
        console.warn(f"{name} failed: {reason}")
    has_runs = any(setting.runs for setting in values.settings)
    if result.failures:
        more = "these again, and only these" if has_runs else "them again: no run of the sweep has ended well"
        console.warn(f"the same command runs {more}")
    if not has_runs:
        return
    if values.against and len(values.settings) > 1:
        console.show(
            f"difference: to {values.against}, over the same queries, with 95 % intervals over classes that hold "
            "together; the spread over seeds is the ±."
        )
    best = result.best
    if best is None:
        console.warn("without validation there is nothing to compare by; set data.fold")
        return
    console.show(f"best: {best.name}")
    if all(len(setting.runs) < 2 for setting in values.settings):
        console.warn("one run each: how much the seed alone changes is unknown; vary seed=0,1,2 shows it")
    if len(values.settings) >= MANY:
        console.warn(
            f"the best of {len(values.settings)} settings was chosen by these figures, so its own is too high; measure "
            "it on images that chose nothing"
        )
    if best.difference is not None and best.difference.interval.low <= 0:
        console.show(f"These classes cannot tell {best.name} from {values.against}.")


terminal = Terminal(
    sweep,
    show,
    short={"overrides": "-s", "jobs": "-j"},
    metavars={
        "settings": "KEY=VALUES",
        "vary": "KEY=VALUES",
        "overrides": "KEY=VALUE",
        "out": "FOLDER",
        **dict.fromkeys(("csv", "markdown", "latex", "plot"), "FILE"),
    },
    has_failures=lambda result: bool(result.failures),
    config_file=False,
)
