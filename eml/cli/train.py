"""`eml train`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eml.cli.display import console

if TYPE_CHECKING:
    from eml.config import Choice
    from eml.dataset.table import Table
    from eml.distributed.processes import Processes
    from eml.training.config import RunConfig
    from eml.training.cross_validation import CrossValidation
    from eml.training.fit import Result


def train(
    config: Annotated[Path, typer.Argument(help="The config (YAML). `eml init` writes one.", show_default=False)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key, such as margin.m=0.3. Repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run, to the same end.")] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="With --resume: go on with a config that changes the result.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")] = False,
    fold: Annotated[
        str | None,
        typer.Option(
            help="The fold held out, in place of data.fold; all: a run for each fold, with mean and spread.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps; overrides the config.", show_default=False)
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes on this machine that train together, one for each GPU.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build everything, take two steps, make no run.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Draw a sheet of augmented training images, make no run.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --preview: the sheet, .png or .jpg.  [default: preview.png beside the config]",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")] = False,
) -> None:
    """Train an embedding model as a config says, into a run folder with checkpoints, metrics and plots."""
    from eml.cli.launching import joined, launch, report_error_once, reporters
    from eml.errors import ConfigError

    if accept_changes and not resume:
        raise ConfigError("--accept-changes: only with --resume")
    if fold and fold not in ("all", "null") and not fold.isdecimal():
        raise ConfigError(f"--fold must be a number or 'all', got {fold!r}")
    if devices is not None and devices > 1 and not preview:
        launch(devices)
        return
    overrides = [*(set_ or []), *([f"device={device}"] if device else [])]
    overrides += [f"data.fold={fold}"] if fold and fold != "all" else []
    with report_error_once():
        from eml.config import load
        from eml.training.config import RunConfig

        run = load(RunConfig, config, overrides, override_name="--set")
        if preview:
            _preview(run, out or config.with_name("preview.png"), overwrite=overwrite, json=json)
            return
        if out is not None:
            raise ConfigError("--out is the sheet of --preview; where a run goes is the config's: --set output=FOLDER")

        from eml.distributed.processes import Processes
        from eml.training.fit import check

        here = Processes.of_environment()
        elsewhere = dry_run or fold == "all"  # of folds, each run checks its own
        check(run, resume=resume and not elsewhere, overwrite=overwrite or elsewhere, processes=here)
    with joined(run.device, here) as processes:
        from eml.training.data import table_to_train_on

        table = processes.after_first(lambda: table_to_train_on(run.data, *reporters(processes)))
        if dry_run:
            _rehearse(run, table, processes, json=json)
        elif fold == "all":
            _fit_folds(run, table, processes, resume=resume, overwrite=overwrite, json=json)
        else:
            given = {"resume": resume, "accept_changes": accept_changes, "overwrite": overwrite}
            _fit(run, table, processes, given, json=json)


def _rehearse(run: "RunConfig", table: "Table", processes: "Processes", *, json: bool) -> None:
    from eml.cli.display.dry_run import rows_of
    from eml.training.dry_run import rehearse

    facts, warnings = rehearse(run, table, processes)
    if not processes.first:
        return
    for line in facts["recipe"]:
        console.say(line)
    console.table("Two steps were taken, no run folder was made", ["", ""], rows_of(facts))
    for line in warnings:
        console.warn(line)
    if json:
        console.print_json(facts | {"warnings": warnings})


def _fit_folds(
    run: "RunConfig", table: "Table", processes: "Processes", *, resume: bool, overwrite: bool, json: bool
) -> None:
    from eml.cli.display.training import TrainingDisplay
    from eml.training.cross_validation import fit_folds

    with TrainingDisplay(quiet=not processes.first) as display:
        done = fit_folds(run, table, resume=resume, overwrite=overwrite, observe=display.observe, processes=processes)
    if processes.first:
        _show_folds(done)
        if json:
            console.print_json({"folder": str(done.folder), "metrics": done.metrics})


def _fit(run: "RunConfig", table: "Table", processes: "Processes", given: dict[str, bool], *, json: bool) -> None:
    from eml.cli.display.training import TrainingDisplay
    from eml.reports.curves import draw_curves
    from eml.training.fit import fit

    with TrainingDisplay(quiet=not processes.first) as display:
        result = fit(run, table, observe=display.observe, processes=processes, **given)
    if not processes.first:
        return
    draw_curves(result.folder)
    _show(result)
    if json:
        best = {
            "folder": str(result.folder),
            "best_epoch": result.best_epoch,
            "before": result.before,
            "best": result.best,
            "verdict": asdict(result.verdict) | {"helped": result.verdict.helped} if result.verdict else None,
        }
        console.print_json(best)


def _preview(run: "RunConfig", out: Path, *, overwrite: bool, json: bool) -> None:
    """Draw the sheet, and say where."""
    from eml.reports.contact_sheet import draw_sheet, refuse_sheet

    refuse_sheet(out, overwrite=overwrite)

    from eml.training.data import table_to_train_on
    from eml.training.preview import preview

    made = preview(run, table_to_train_on(run.data, console.say, console.progress))
    parts = {"augment": run.augment, **({"mix": run.mix} if run.mix else {})}
    title = "  ·  ".join(f"{name}: {_settings(choice)}" for name, choice in parts.items())
    size = f"{made.preprocess.size} pixels, fit {made.preprocess.fit}"
    columns = ["as evaluated", *(f"draw {number}" for number in range(1, len(made.rows[0].drawn) + 1))]
    rows = [(_named(row.label, row.file_name), [row.plain, *row.drawn]) for row in made.rows]
    replaced = out.exists()
    draw_sheet(out, f"{title}  ·  {size}", columns, rows)
    console.say(f"{'replaced' if replaced else 'wrote'} {out}")
    if json:
        console.print_json({"preview": str(out), "file_names": [row.file_name for row in made.rows]})


def _settings(choice: "Choice") -> str:
    """Its type, and what it is set to but for what is off."""
    settings = choice.model_dump(mode="json", exclude={"type"})
    used = ", ".join(f"{key} {_short(value)}" for key, value in settings.items() if value != 0)
    return f"{choice.type} ({used})" if used else choice.type


def _named(label: str, file_name: str) -> str:
    """An image with its label, unless that is its folder."""
    return file_name if f"{label}/" in f"/{file_name}" else f"{label}  ·  {file_name}"


def _short(value: object) -> str:
    """On one line, as YAML has it."""
    from yaml import safe_dump

    return safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def _show_folds(done: "CrossValidation") -> None:
    from eml.reports.curves import draw_curves

    for result in done.folds.values():
        draw_curves(result.folder)
    shown = next(iter(done.folds.values())).shown
    rows = [
        [
            shown[key],
            *(f"{result.best[key]:.4f}" for result in done.folds.values() if result.best),
            f"{value:.4f} ± {spread:.4f}",
        ]
        for key, (value, spread) in done.metrics.items()
    ]
    names = [f"fold {fold}" for fold in done.folds]
    console.table("Held-out images, best epoch of each fold", ["metric", *names, "mean ± std"], rows)
    console.say(f"wrote {done.folder / 'folds.json'}")
    console.say(f"wrote {done.folder / 'out_of_fold.npz'}")


def _show(result: "Result") -> None:
    if result.before and result.best:
        rows = [
            [name, f"{before:.4f}", f"{result.best[key]:.4f}", f"{result.best[key] - before:+.4f}"]
            for key, name in result.shown.items()
            if (before := result.before[key]) is not None
        ]
        title = f"Held-out images, best epoch ({result.best_epoch})"
        console.table(title, ["metric", "before training", "after", "difference"], rows)
    if result.verdict:
        for number, line in enumerate(result.verdict.lines()):
            console.say(line) if number == 0 else console.warn(line)
    console.say(f"run folder: {result.folder}")
    console.say(f"next: eml evaluate {result.folder} --data TABLE")
