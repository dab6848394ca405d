"""`eml init`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from eml.cli.options import Dataset, Root

BACKBONE = "mobilenetv2_100"
FLIPS = "random flips mirror images left to right: set augment.flip to 0 for text, signs and other one-handed things"


def init(
    dataset: Dataset,
    root: Root = None,
    out: Annotated[
        Path | None, typer.Option(help="The config to write.  [default: config.yaml in DATASET]", show_default=False)
    ] = None,
    backbone: Annotated[str, typer.Option(help="Name of a timm model.")] = BACKBONE,
    weights: Annotated[str, typer.Option(help="pretrained, none (from scratch), or a weights file.")] = "pretrained",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a config that is there.")] = False,
) -> None:
    """Look at a dataset and write a config fitted to it, with every key and a comment on each."""
    from eml.cli.display import console
    from eml.config import document
    from eml.dataset.pipeline import resolve
    from eml.errors import ConfigError, OutputError
    from eml.files import write_text
    from eml.training.config import RunConfig
    from eml.training.recipe import recipe

    target = out or (dataset if dataset.is_dir() else dataset.parent) / "config.yaml"
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: is there already. Give --overwrite to replace it, or another --out")
    if weights not in ("pretrained", "none") and not Path(weights).exists():
        raise ConfigError(f"--weights {weights}: there is no such file; allowed: pretrained, none, or a weights file")
    if backbone != BACKBONE:
        from eml.models.embedder import check_backbone  # torch and timm: seconds that the usual one need not take

        check_backbone(backbone, "--backbone")
    table = resolve(dataset, "init", root, report=console.say, progress=console.progress)
    path = os.path.relpath(table.path or dataset, target.parent)
    if weights not in ("pretrained", "none"):
        weights = os.path.relpath(weights, target.parent)
    made = recipe(table.frame, table.name, pretrained=weights != "none")
    values = made.values | {"output": _free_name(target.parent), "recipe": "none", "data": {"table": path, "fold": 0}}
    values["model"] = {"backbone": backbone, "weights": weights} | made.values.get("model", {})
    if root is not None:
        values["data"]["root"] = os.path.relpath(root, target.parent)
    reasons = [*made.reasons.values(), FLIPS]
    head = "".join(f"# {line}\n" for line in [f"Made by eml init for {path}.", *reasons])
    write_text(target, head + "\n" + document(RunConfig, values))
    for reason in reasons:
        console.say(f"  {reason}")
    console.say(f"wrote {target}")
    console.say(f"next: eml train {target}")


def _free_name(folder: Path) -> str:
    """`run`, or the first of run-2, run-3, … that is not there, since a class may be called run."""
    names = ("run", *(f"run-{number}" for number in range(2, 10_000)))
    return next(name for name in names if not (folder / name).exists())
