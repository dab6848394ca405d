"""`eml init`: a training config fitted to a dataset."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, PathText, command
from eml.commands.init_folds import InitFolds, folds_of, task_of_folds
from eml.commands.next_steps import CONFIG_NAME, free_name
from eml.commands.options import (
    ClassLevelField,
    Dataset,
    FileColumn,
    LabelColumn,
    MatchNames,
    PathPrefix,
    PathSuffix,
    Plugins,
    Root,
    StripPrefix,
    UnknownLabel,
    column_map,
    column_map_words,
    read_source,
)
from eml.errors import ConfigError, OutputError
from eml.images.image_size import ImageSize, Size, size_text

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.training.recipe import Recipe

BACKBONE = "mobilenetv2_100"
AUTO = "auto"
"""This value of `backbone` stands for what eml probe picked."""
CONTRASTIVE = "contrastive_text"
TEMPLATE = "a photo of a {label}"
"""Of the texts of classes, where a network is trained with texts."""
NO_PATHS = ("pretrained", "none")
"""Values of `weights` that name no file or folder."""
FLIPS = "random flips mirror images left to right: set augment.flip to 0 for text, signs and other one-handed things"


class InitConfig(CommandConfig):
    """Look at a dataset and write a config fitted to it, with every key and a comment on each."""

    dataset: Dataset
    class_level: ClassLevelField = None
    unknown_label: UnknownLabel = None
    root: Root = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    out: Annotated[PathField | None, Field(description="The config to write. Default: config.yaml in `dataset`.")] = (
        None
    )
    backbone: str | None = Field(
        None,
        description="Name of a timm model, local-dir:PATH of one, or open_clip:ARCH/PRETRAINED; auto: the one that eml "
        "probe picked, with its weights, as probe.json in the folder says. Default: mobilenetv2_100, or that of the "
        "run that `weights` names.",
    )
    weights: PathText = Field(
        "pretrained",
        description="pretrained, none (from scratch), a weights file, or the folder of a run or checkpoint to start "
        "from, whose network, neck and image size are taken.",
    )
    task: Literal["open", "closed"] | None = Field(
        None,
        description="What the model is for. open: answers about classes that may be new. closed: all classes are "
        "known. Default: that of the folds of the table, else open.",
    )
    loss: Literal["cross_entropy", "contrastive_text"] = Field(
        "cross_entropy",
        description="cross_entropy: images are compared with class weights. contrastive_text: with the texts of their "
        "classes, as CLIP was trained; for a backbone with a text tower, such as open_clip:ViT-B-16/openai.",
    )
    image_size: ImageSize | None = Field(
        None,
        description="Side of the images as the network sees them (pixels), or height x width such as 256x128. Default: "
        "by the images and the network.",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        description="Time for the whole training (minutes): the epochs are planned by the measured time of a step. "
        "Default: as long as the epochs take.",
    )
    overwrite: bool = Field(False, description="Replace a config that is there.")
    plugins: Plugins = ()


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
    from eml.files import write_text
    from eml.training.config import RunConfig
    from eml.training.recipe import fit_to_texts

    folder = config.dataset if config.dataset.is_dir() else config.dataset.parent
    target = config.out or folder / CONFIG_NAME
    config, picked = _with_pick(config, folder)
    backbone = _check(config, target)
    replaced = (target,) if target.exists() else ()
    table = table_of(config, caller)
    task = config.task or task_of_folds(table)
    folds = folds_of(table, task, [*(["--root", str(config.root)] if config.root else []), *column_map_words(config)])
    fitted = _recipe(config, backbone, table, folds)
    fitted = _with_wishes(fitted, backbone, config.image_size, config.minutes)
    if config.loss == CONTRASTIVE:
        fitted = fit_to_texts(fitted, sets_rates=config.weights != "none")
        fitted.values.update(loss={"type": CONTRASTIVE}, class_texts={"template": TEMPLATE})
        fitted.reasons["class_texts"] = _texts_reason(table, folds, caller)
    values = _values(config, table, target, fitted.values, folds.fold)
    values["model"] = {"backbone": backbone} | values["model"]
    values["task"] = task
    if config.plugins:
        values["plugins"] = _plugins(config, target.parent)
    reasons = (*picked, *fitted.reasons.values(), *folds.reasons, FLIPS)
    path = values["data"]["table"]
    head = "".join(f"# {line}\n" for line in [f"Made by eml init, for {path}.", *reasons])
    write_text(target, head + "\n" + document(RunConfig, values))
    return InitResult(
        values=values,
        reasons=reasons,
        written=(target,),
        replaced=replaced,
        next_command=shlex.join(["eml", "train", str(target)]),
    )


def table_of(config: InitConfig, caller: Caller) -> Table:
    """Return the table that the config is fitted to."""
    return read_source(config, "init", None, caller)


def usual_settings(config: InitConfig, table: Table) -> Recipe | None:
    """Return what the images and the network call for, before the user sets more; None of a run to start from."""
    folder = config.dataset if config.dataset.is_dir() else config.dataset.parent
    config, _ = _with_pick(config, folder)
    if config.weights not in NO_PATHS and Path(config.weights).is_dir():
        return None
    folds = folds_of(table, config.task or task_of_folds(table))
    return _recipe(config, config.backbone or BACKBONE, table, folds)


def _recipe(config: InitConfig, backbone: str, table: Table, folds: InitFolds) -> Recipe:
    from eml.training.recipe import fit_to_network, recipe

    chosen = recipe(folds.rows, table.name, pretrained=config.weights != "none", held_out=folds.held_out)
    return fit_to_network(chosen, backbone, config.weights if config.weights in NO_PATHS else Path(config.weights))


def check_image_size(backbone: str, size: Size) -> None:
    """Raise a ConfigError with the nearest size where a network does not take images of this one."""
    if backbone == BACKBONE:  # which takes any, and torch and timm take seconds
        return
    from eml.models.image_sizes import nearest_size, size_rule

    if (nearest := nearest_size(backbone, size)) != size:
        rule = size_rule(backbone).text
        raise ConfigError(
            f"`image_size` {size_text(size)}: {backbone} takes {rule}, such as {size_text(nearest)}",
            code="unsupported-by-backbone",
            parameter="image_size",
        )


def _with_wishes(fitted: Recipe, backbone: str, size: Size | None, minutes: float | None) -> Recipe:
    """Return the recipe with the image size and the time that the user sets."""
    if size is not None:
        check_image_size(backbone, size)
        own = fitted.values["image"]["size"]
        if size != (tuple(own) if isinstance(own, list) else own):
            fitted.values["image"] = fitted.values["image"] | {"size": size}
            fitted.reasons["image.size"] = f"image.size {size_text(size)}: as you set it"
    if minutes is not None:
        fitted.values["minutes"] = minutes
        fitted.reasons["epochs"] = f"minutes {minutes:g}: the epochs are planned by the measured time of a step"
    return fitted


def _with_pick(config: InitConfig, folder: Path) -> tuple[InitConfig, tuple[str, ...]]:
    """Return the config with the network that a probe picked, where it asks for it, and the reason."""
    if config.backbone != AUTO:
        return config, ()
    if config.weights != "pretrained":
        text = f'`weights`: `backbone="{AUTO}"` takes the weights that were probed; leave one of them out'
        raise ConfigError(text, code="conflicting-settings", parameter="weights")
    from eml.evaluation.probing.record import NAME, read_pick

    pick = read_pick(folder / NAME)
    reason = f"network of eml probe: {pick.reason}"
    return config.model_copy(update={"backbone": pick.backbone, "weights": pick.weights}), (reason,)


def _plugins(config: InitConfig, folder: Path) -> list[str]:
    """Return the plugins as the config in a folder names them."""
    from eml.config.plugins import is_file_name

    return [os.path.relpath(name, folder) if is_file_name(name) else name for name in config.plugins]


def _check(config: InitConfig, target: Path) -> str:
    """Return the backbone: the one that was given, that of the run to start from, or the usual one."""
    if target.exists() and not config.overwrite:
        raise OutputError(
            f"{target}: exists. Set `overwrite` to replace it, or give another `out`",
            code="file-exists",
            parameter="overwrite",
        )
    if config.weights not in NO_PATHS and not Path(config.weights).exists():
        raise ConfigError(
            f"`weights`: there is no file {config.weights}; allowed: pretrained, none, a weights file, or the folder "
            "of a run or checkpoint",
            code="missing-file",
            parameter="weights",
        )
    backbone = config.backbone or BACKBONE
    if backbone != BACKBONE:
        from eml.models.backbones import check_backbone  # torch and timm: seconds that the usual one need not take
        from eml.models.config import ModelConfig

        check_backbone(backbone, "`backbone`")
        backbone = ModelConfig(backbone=backbone).backbone  # with the whole path of a folder
    if config.weights in NO_PATHS or not Path(config.weights).is_dir():
        _check_text_tower(config, backbone)
        return backbone
    from eml.models.checkpoint import read_checkpoint_config

    own = read_checkpoint_config(Path(config.weights)).model.backbone
    if config.backbone not in (None, own):
        raise ConfigError(
            f"`backbone`: {config.weights} is of a {own}, whose weights do not fit {config.backbone}; leave `backbone` "
            "out, or give other `weights`",
            code="conflicting-settings",
            parameter="backbone",
        )
    _check_text_tower(config, own)
    return own


def _check_text_tower(config: InitConfig, backbone: str) -> None:
    """Raise ConfigError for a loss with texts and a network that has no tower of them, as far as its name says it."""
    if config.loss != CONTRASTIVE:
        return
    from eml.models.open_clip_names import PREFIX

    if not backbone.startswith(PREFIX):
        raise ConfigError(
            f'`loss="{CONTRASTIVE}"` compares images with texts, and {backbone} has no text tower; take a backbone '
            f"that has one, such as `backbone={PREFIX}ViT-B-16/openai`, or leave `loss` out",
            code="no-text-tower",
            parameter="loss",
        )


def _texts_reason(table: Table, folds: InitFolds, caller: Caller) -> str:
    """Return which texts the classes get; warn where they say nothing."""
    from eml.texts.class_texts import plain_label
    from eml.texts.meaning import meaning_warning

    labels = sorted(folds.rows["label"].unique())
    if warning := meaning_warning(labels):
        caller.warn(
            f"{warning}. Give each class a text in the config: class_texts.names, a file, or class_texts.column"
        )
    text = TEMPLATE.format(label=plain_label(labels[0]))
    return f"class_texts: the labels in a sentence, such as {text!r}; docs/text.md has other texts"


def _values(config: InitConfig, table: Table, target: Path, fitted: dict[str, Any], fold: int | None) -> dict[str, Any]:
    """Return what the config says: paths relative to its folder but for absolute ones
    to what lies outside of it, a fold to hold out, and the fitted values."""

    def relative(path: Path | str) -> str:
        try:
            from_folder = os.path.relpath(path, target.parent)
        except ValueError:  # of two drives
            return str(Path(path).absolute())
        is_outside = Path(from_folder).parts[:1] == ("..",)
        return str(path) if is_outside and Path(path).is_absolute() else from_folder

    weights = config.weights if config.weights in NO_PATHS else relative(config.weights)
    data: dict[str, Any] = {"table": relative(table.path or config.dataset), "fold": fold}
    if config.unknown_label is not None:
        data["unknown_label"] = config.unknown_label
    if config.root is not None:
        data["root"] = relative(config.root)
    data |= column_map(config).parameters
    values = fitted | {"output": free_name(target.parent), "recipe": "none", "data": data}
    return values | {"model": {"weights": weights} | fitted.get("model", {})}
