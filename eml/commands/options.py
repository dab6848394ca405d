"""Fields that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from eml.commands.base import Caller, CommandConfig, ImagePaths, Names, PathField, PathText, several
from eml.images.image_size import ImageSize as AnySize
from eml.storage.remote_path import is_url

if TYPE_CHECKING:
    from eml.dataset.column_map import ColumnMap
    from eml.dataset.scanning.class_level import ClassLevel
    from eml.dataset.table import Table

ALL_FOLDS = "all"

Dataset = Annotated[PathField, Field(description="The folder of images, one folder per class, or a table of them.")]
Images = Annotated[
    ImagePaths,
    Field(
        description="Folders (which need no labels), one table, patterns such as 'photos/*.jpg', files, or - for a "
        "list of paths on stdin."
    ),
]
Root = Annotated[PathField | None, Field(description="With a table: the folder that its file names are relative to.")]
FileColumn = Annotated[
    str | None,
    Field(description="With your own table: the column with the images' names. Default: file_name."),
]
LabelColumn = Annotated[
    str | None, Field(description="With your own table: the column with the classes. Default: label.")
]
StripPrefix = Annotated[
    str | None, Field(description="With your own table: text to take away from the beginning of the names.")
]
PathPrefix = Annotated[
    str | None,
    Field(
        description="With your own table: text to put before the names, such as train/; {COLUMN} stands for the row's "
        "value."
    ),
]
PathSuffix = Annotated[
    str | None,
    Field(description="With your own table: text to put after names that do not end in it, such as .jpg."),
]
MatchNames = Annotated[
    bool,
    Field(description="With your own table: take the one image whose path differs only in slashes, case or suffix."),
]
Out = Annotated[
    PathField | None, Field(description="Folder for the files that are written. Default: where `dataset` is.")
]
Overwrite = Annotated[bool, Field(description="Replace files that eml did not write, or that were changed since.")]
GroupBy = Annotated[
    Names,
    Field(
        description="Images with one value in this column stay together, such as those of one camera, track, product "
        "page or designer; a blank is no value. Repeatable.",
    ),
]
Near = Annotated[
    bool,
    Field(description="Keep images together that look alike or are the same file."),
]
NearThreshold = Annotated[
    int | None,
    Field(
        ge=0,
        le=63,
        description="Images look alike when their 64-bit hashes differ by at most so many bits. Default: 6, or less "
        "where that joins too much by chance.",
    ),
]
UnknownLabel = Annotated[
    str | None,
    Field(
        description="The label of images of unknown identity, such as new_whale: no class, never trained on, never a "
        "right answer; in an evaluation they are distractors. Default: as the table says, which keeps it; empty: none.",
    ),
]
TaskField = Annotated[
    Literal["open", "closed"],
    Field(
        description="What the model is for. open: answers about classes that may be new, so that whole classes are "
        "held out when there are enough. closed: all classes are known, so that images of each are held out."
    ),
]
ClassLevelField = Annotated[
    str | int | None,
    AfterValidator(lambda level: class_level_of(level)),
    Field(
        description="With a folder: which folder of an image's path is its class: 1, the first, 2, …, or last, the one "
        "that it lies in. Default: as in the last scan, else 1."
    ),
]
Encoder = Annotated[
    str,
    BeforeValidator(lambda name, info: _checked_encoder(name, info)),
    Field(
        description="What embeds the texts: st:NAME_OR_PATH, a model of sentence-transformers; "
        "open_clip:ARCH/PRETRAINED or open_clip:local-dir:PATH; or a checkpoint of eml with a text tower."
    ),
]
Column = Annotated[
    str | None,
    Field(description="The column with the class's text. Default: the label, with spaces in place of underscores."),
]
Template = Annotated[
    Names,
    AfterValidator(lambda templates: _checked_templates(templates)),
    Field(
        description="A sentence with {label} for the class's text, or {COLUMN} for another column; repeatable: the "
        "mean is taken. Default: the text alone."
    ),
]
NamesFile = Annotated[
    PathField | None,
    Field(
        description="A file with a text for each label: CSV with the columns label and text, JSON or YAML of label: "
        "text, or a .txt of lines LABEL<TAB>TEXT."
    ),
]
BatchSize = Annotated[int, Field(ge=1, description="Images embedded at once.")]
Workers = Annotated[
    int, Field(ge=0, description="Processes that decode images, at most 4 for each core; 0: the command's own.")
]
Device = Annotated[str, Field(description="auto, cpu, cuda, cuda:N or mps.")]
Weights = Annotated[PathText, Field(description="For timm:NAME and open_clip:…: pretrained, none (random), or a file.")]
ImageSize = Annotated[
    AnySize | None,
    Field(
        description="Side of the image as the network sees it (pixels), or height x width such as 256x128; it may be "
        "larger than in training. Default: the model's own.",
    ),
]
Fold = Annotated[
    str | None,
    BeforeValidator(lambda fold: str(fold) if isinstance(fold, int) else fold),
    AfterValidator(lambda fold: _checked_fold(fold)),
    Field(
        description="Of a cross-validation's folder: the run of this fold; all, the default: the runs of all folds as "
        "one model."
    ),
]
Precision = Annotated[  # the choices of eml.models.config, which is not imported for the help
    Literal["auto", "float32", "bfloat16"],
    Field(
        description="Of the network: bfloat16 is faster where the device has instructions for it, and auto takes it "
        "there. Embeddings are float32."
    ),
]
Views = Annotated[
    Literal["none", "flip", "crops"] | None,
    Field(
        description="flip: the mean of the embeddings of an image and of its mirror, in twice the time; crops: of five "
        "crops, in five times; none: of the image alone. Default: as the checkpoint says, else none."
    ),
]
LeaveOutSame = Annotated[
    str | None,
    Field(
        description="A column, such as the camera: gallery images with the query's class and value do not count.",
    ),
]
Within = Annotated[
    str | None,
    Field(
        description="A column, such as the category: a query is compared only with gallery images of its own value.",
    ),
]
Shards = Annotated[
    int | None,
    Field(
        ge=1,
        le=100_000,
        description="Do a part of the work: one of so many shards, which are cut by the images' names. Each may run on "
        "a machine of its own; eml merge-shards joins them.",
    ),
]
ShardNumber = Annotated[
    int | None,
    Field(
        ge=0,
        description="With `shards`: the one to do, from 0 on. Default: in an array of Slurm or an indexed job of "
        "Kubernetes the number that it gives.",
    ),
]
Executor = Annotated[
    Literal["local", "ray", "slurm"] | None,
    Field(
        description="Make all shards and merge them: local, in processes of this machine; ray, as tasks of Ray; slurm, "
        "by scripts of a job array, which are written and, with submit=true, submitted."
    ),
]
ExecutorOptions = Annotated[
    Names,
    Field(
        description="Options of the executor, such as jobs=4, threads=2, retries=3, or for slurm partition=NAME, "
        "time=2:00:00, memory=8G (docs/shards.md). Repeatable.",
        json_schema_extra={"option": "executor_option"},
    ),
]
Address = Annotated[
    str | None,
    Field(description="The Ray cluster to join: auto, HOST:PORT or ray://HOST:PORT. Default: none."),
]


UploadTo = Annotated[
    PathField | None,
    BeforeValidator(lambda place: remote_place(place)),
    Field(
        description="An address such as s3://bucket/folder or file:///folder, where the result is copied once it is "
        "complete; see docs/remote.md."
    ),
]
"""The field `upload_to` of a command; `command` copies the result."""

Plugins = Annotated[
    tuple[Annotated[str, BeforeValidator(lambda name, info: _checked_plugin(name, info))], ...],
    BeforeValidator(several),
    Field(
        description="A file (my_neck.py) or a module of an installed package (package.module) with a margin, neck, "
        "metric and so on of your own, which is imported first, see docs/plugins.md. Repeatable.",
        json_schema_extra={"option": "plugin"},
    ),
]
"""The field `plugins` of a command; `command` imports what it names."""


def note_workers(workers: int | None, caller: Caller) -> None:
    """Tell that fewer worker processes are started than the caller asks for, where it is so."""
    from eml.threads import PER_CORE, most_workers

    if workers is not None and workers > most_workers():
        caller.note(f"`workers` {workers:,} are more than {PER_CORE} for each core; {most_workers()} are started")


COLUMN_MAP = ("file_column", "label_column", "strip_prefix", "path_prefix", "path_suffix", "match_names")
"""Parameters of the commands that read a table of the user's own."""


def column_map(config: CommandConfig) -> ColumnMap:
    """Return how the config says to read a table of the user's own."""
    from eml.dataset.column_map import ColumnMap

    return ColumnMap(**{name: getattr(config, name) for name in COLUMN_MAP})


def _checked_encoder(name: object, info: ValidationInfo) -> object:
    """Return the name of an encoder, its path absolute in a file, as `as_path` does it."""
    from eml.config.paths import ConfigFolder, OverrideText
    from eml.texts.templates import with_absolute_path

    is_in_file = isinstance(info.context, ConfigFolder) and not isinstance(name, OverrideText)
    return with_absolute_path(name, info) if is_in_file else name


def _checked_plugin(name: object, info: ValidationInfo) -> object:
    from eml.config.plugins import validated_name

    return validated_name(name, info)


def _checked_templates(templates: tuple[str, ...]) -> tuple[str, ...]:
    """Return templates that can be filled."""
    from eml.texts.templates import check_template

    return tuple(check_template(template) for template in templates)


def _checked_fold(fold: str | None) -> str | None:
    if fold is not None and fold != ALL_FOLDS and not fold.isdecimal():
        text = f"must be a number or {ALL_FOLDS}, got {fold!r}"
        if fold.removeprefix("-").isdecimal():
            text += f": it names runs of a cross-validation, not rows; give a table of the rows of fold {fold}"
        raise ValueError(text)
    return fold


def run_of_fold(checkpoint: str, fold: str | None) -> str:
    """Return the model that a checkpoint and `fold` name: a cross-validation, one of its runs, or without it any model.

    Raises:
        ConfigError: The checkpoint is no cross-validation, or has no run of the fold.
    """
    from eml.errors import ConfigError
    from eml.models.pointers import fold_runs

    if fold is None:
        return checkpoint
    runs = {run.name.removeprefix("fold-"): run for run in fold_runs(Path(checkpoint))}
    if not runs:
        text = f"`fold` is for the folder of a cross-validation, and {checkpoint} is none"
        raise ConfigError(text, code="conflicting-settings", parameter="fold")
    if fold == ALL_FOLDS:
        return checkpoint
    if fold not in runs:
        text = f"`fold` {fold}: {checkpoint} has no such run; allowed: {', '.join(runs)}, {ALL_FOLDS}"
        raise ConfigError(text, code="unknown-choice", parameter="fold")
    return str(runs[fold])


def column_map_words(config: CommandConfig) -> list[str]:
    """Return the options that say the same to the next command, which reads the same table."""
    words = []
    for name, value in column_map(config).parameters.items():
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    return words


def remote_place(place: Path | None) -> Path | None:
    """Return the place, of file:// a local one. Raises ValueError, which continues the parameter's name, for a path."""
    from eml.config.paths import check_path
    from eml.storage import is_remote

    if isinstance(place, str) and not is_url(place):
        check_path(place)  # what is no path at all has an error of its own
    if place is not None and not is_remote(place) and not (isinstance(place, str) and is_url(place)):
        raise ValueError(f"must be an address such as s3://bucket/folder or file:///folder, got {place}")
    return place


def class_level_of(level: str | int | None) -> ClassLevel | None:
    """Return the level of a config's field."""
    from eml.dataset.scanning.class_level import parse_class_level

    return None if level is None else parse_class_level(level)


def out_folder(dataset: Path, out: Path | None, caller: Caller) -> Path:
    """Return where a command writes: `out`, else the folder of the dataset or of the table.

    Raises:
        OutputError: It is a remote place, or `out` has the name of a file.
    """
    from eml.files import refuse_file_name

    if out is not None:
        refuse_file_name(out, "a folder for the tables, which have names of their own")
    refuse_remote_out(dataset, out, caller)
    return out or (dataset if dataset.is_dir() else dataset.parent)


def refuse_remote_out(dataset: Path, out: Path | None, caller: Caller, name: str | None = None) -> None:
    """Raise an OutputError where a command would write into a remote place, with the command that does not.

    name: Of the file or folder that is proposed; None: the last name of the dataset's address.
    """
    from eml.errors import OutputError
    from eml.storage import is_remote

    if not is_remote(out or dataset):
        return
    if out is not None:
        text = f"`out` {out}: results are written into local folders; give one, and `upload_to` or eml upload copies it"
        raise OutputError(text, code="remote-place", parameter="out")
    folder = dataset.parent if dataset.suffix else dataset
    option = shlex.join(["--out", name or folder.name])
    command = f". Run: {caller.command} {option}" if caller.command else ""
    text = f"{dataset}: is a remote place, and results are written into a local folder: give one as `out`{command}"
    raise OutputError(text, code="remote-place", parameter="out")


def read_source(config: CommandConfig, step: str, folder: Path | None, caller: Caller) -> Table:
    """Return the table that a step of the way reads, by the fields that these commands share.

    folder: Where the step writes a table; None: it writes none.
    """
    from eml.dataset.pipeline import resolve

    source, root, label = (getattr(config, name) for name in ("dataset", "root", "unknown_label"))
    level = getattr(config, "class_level", None)
    return resolve(
        source,
        step,
        root,
        class_level=class_level_of(level),
        unknown_label=label,
        columns=column_map(config),
        out=folder,
        command=None if folder is None else caller.command or "",
        report=caller.note,
        progress=caller.progress,
    )
