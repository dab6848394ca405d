"""`eml init`: a training config fitted to a dataset."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, PathText, command
from eml.commands.options import Dataset, Root
from eml.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from eml.dataset.table import Table

BACKBONE = "mobilenetv2_100"
FLIPS = "random flips mirror images left to right: set augment.flip to 0 for text, signs and other one-handed things"


class InitConfig(CommandConfig):
    """Look at a dataset and write a config fitted to it, with every key and a comment on each."""

    dataset: Dataset
    root: Root = None
    out: Annotated[PathField | None, Field(description="The config to write. Default: config.yaml in `dataset`.")] = (
        None
    )
    backbone: str = Field(BACKBONE, description="Name of a timm model.")
    weights: PathText = Field("pretrained", description="pretrained, none (from scratch), or a weights file.")
    overwrite: bool = Field(False, description="Replace a config that is there.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class InitResult(CommandResult):
    """A config, and why it is as it is.

    Attributes:
        values: The values that were chosen; every other key has its default.
        reasons: A line for each choice.
    """

    values: dict[str, Any]
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the values, the reasons and the file."""
        return {
            "values": self.values,
            "reasons": list(self.reasons),
            "written": [str(path) for path in self.written],
        }


@command(InitConfig, arguments=("dataset",))
def init(config: InitConfig, caller: Caller) -> InitResult:
    """Fit a config to a dataset and write it."""
    from eml.config import document
    from eml.dataset.pipeline import resolve
    from eml.files import write_text
    from eml.training.config import RunConfig
    from eml.training.recipe import recipe

    folder = config.dataset if config.dataset.is_dir() else config.dataset.parent
    target = config.out or folder / "config.yaml"
    _check(config, target)
    replaced = (target,) if target.exists() else ()
    table = resolve(config.dataset, "init", config.root, report=caller.note, progress=caller.progress)
    fitted = recipe(table.frame, table.name, pretrained=config.weights != "none")
    values = _values(config, table, target, fitted.values)
    reasons = (*fitted.reasons.values(), FLIPS)
    path = values["data"]["table"]
    head = "".join(f"# {line}\n" for line in [f"Made by eml init for {path}.", *reasons])
    write_text(target, head + "\n" + document(RunConfig, values))
    return InitResult(
        values=values,
        reasons=reasons,
        written=(target,),
        replaced=replaced,
        next_command=shlex.join(["eml", "train", str(target)]),
    )


def _check(config: InitConfig, target: Path) -> None:
    if target.exists() and not config.overwrite:
        raise OutputError(
            f"{target}: exists. Set `overwrite` to replace it, or give another `out`",
            code="file-exists",
            parameter="overwrite",
        )
    if config.weights not in ("pretrained", "none") and not Path(config.weights).exists():
        raise ConfigError(
            f"`weights`: there is no file {config.weights}; allowed: pretrained, none, or a weights file",
            code="missing-file",
            parameter="weights",
        )
    if config.backbone != BACKBONE:
        from eml.models.embedder import check_backbone  # torch and timm: seconds that the usual one need not take

        check_backbone(config.backbone, "`backbone`")


def _values(config: InitConfig, table: Table, target: Path, fitted: dict[str, Any]) -> dict[str, Any]:
    """Return what the config says: paths relative to its folder, a fold to hold out, and the fitted values."""

    def relative(path: Path | str) -> str:
        return os.path.relpath(path, target.parent)

    weights = config.weights if config.weights in ("pretrained", "none") else relative(config.weights)
    data: dict[str, Any] = {"table": relative(table.path or config.dataset), "fold": 0}
    if config.root is not None:
        data["root"] = relative(config.root)
    values = fitted | {"output": _free_name(target.parent), "recipe": "none", "data": data}
    return values | {"model": {"backbone": config.backbone, "weights": weights} | fitted.get("model", {})}


def _free_name(folder: Path) -> str:
    """Return `run`, or the first of run-2, run-3, … that is not there, since a class may be called run."""
    names = ("run", *(f"run-{number}" for number in range(2, 10_000)))
    return next(name for name in names if not (folder / name).exists())
