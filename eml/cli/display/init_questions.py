"""The questions of `eml init` in a terminal, each with an answer that Enter takes."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eml.commands.base import Caller, command_text, validated
from eml.commands.init import AUTO, BACKBONE, InitConfig, check_image_size, init, table_of, usual_settings
from eml.commands.next_steps import CONFIG_NAME
from eml.errors import EmlError, Interrupted
from eml.images.image_size import Size, checked_size, size_word

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.training.recipe import Recipe

Answer = TypeVar("Answer")

NETWORKS = {
    "mobilenetv2_100": ("2.2 M", "1"),
    "efficientnet_b0": ("4.0 M", "1.3"),
    "mobilenetv4_conv_medium": ("8.4 M", "1.3"),
    "resnet50": ("23.5 M", "3.8"),
    "convnext_tiny": ("27.8 M", "3.6"),
    "vit_small_patch14_dinov2": ("21.6 M", "3.4"),
}
"""Network → parameters, and time for an image of 160 px (154 for patches of 14) on one thread of a CPU, times that of
the first: timm 1.0.31, torch 2.14.1, batches of 8."""
PROBE = "probe"
TASKS = {
    "open": "answers about classes that may be new: whole classes are held out",
    "closed": "all classes are known: images of each class are held out",
}


def ask(arguments: Mapping[str, Any]) -> InitConfig:
    """Return the config that the user's answers make, and print the command that it amounts to.

    Args:
        arguments: What stands on the command line: `dataset`, or nothing.

    Raises:
        Interrupted: Ctrl-C or Ctrl-D.
        EmlError: The dataset on the command line cannot be used.
    """
    from eml.cli.display import console

    with _interruptible():
        dataset, table = _dataset(arguments)
        _introduce(table)
        answers: dict[str, Any] = {"dataset": dataset}
        answers |= _out(dataset)
        answers["task"] = _task(table)
        answers["backbone"] = backbone = _backbone(dataset)
        is_probed = False
        while backbone == PROBE:
            is_probed = _probe(dataset)
            answers["backbone"] = backbone = AUTO if is_probed else _backbone(dataset)
        if backbone != AUTO:
            answers |= _weights(backbone)
        asked_config = validated(InitConfig, answers)
        if settings := usual_settings(asked_config, table):
            answers |= _size(asked_config, settings)
            answers |= _minutes(settings.values["epochs"])
    config = validated(InitConfig, answers)
    text = command_text("init", config, init.arguments)
    first = f"{command_text('probe', _probe_config(dataset), ('dataset',))} && " if is_probed else ""
    console.prose("")
    console.say(f"the same without questions: {first}{text}", "bold")
    console.prose("")
    return config


def _dataset(arguments: Mapping[str, Any]) -> tuple[Path, Table]:
    """Return the dataset and its table; asks where the command line has none."""
    from eml.cli.display import console

    caller = Caller(note=console.say, warn=console.warn, progress=console.progress)

    def read(text: str) -> tuple[Path, Table]:
        config = validated(InitConfig, {"dataset": text})
        return config.dataset, table_of(config, caller)

    if dataset := arguments.get("dataset"):
        return read(str(dataset))
    console.prose("Where are the images? A folder with one folder per class, or a table of them.")
    with _file_names():
        return _ask("dataset", None, read)


def _introduce(table: Table) -> None:
    from eml.cli.display import console

    frame = table.known.frame
    counted = f"{console.count(len(frame), 'image', 'images')} of {frame['label'].nunique():,} classes"
    console.prose("")
    console.prose(f"{table.name}: {counted}.")
    console.prose("Enter takes the answer in brackets; Ctrl-C ends without a config.")


def _out(dataset: Path) -> dict[str, Path]:
    """Return another name for the config where the usual one is taken."""
    from eml.cli.display import console

    usual = (dataset if dataset.is_dir() else dataset.parent) / CONFIG_NAME
    if not usual.exists():
        return {}
    number = 2
    while (free := usual.with_stem(f"{usual.stem}-{number}")).exists():
        number += 1

    def read(text: str) -> Path:
        if Path(text).exists():
            raise ValueError(f"{text} exists; give a name that is free")
        if Path(text).suffix not in (".yaml", ".yml"):
            raise ValueError("the name of a config ends in .yaml")
        return Path(text)

    console.prose(f"\n{usual} exists and stays. Where shall the new config be written?")
    with _file_names():
        return {"out": _ask("config", str(free), read)}


def _task(table: Table) -> Any:
    from eml.cli.display import console
    from eml.commands.init_folds import task_of_folds

    def read(text: str) -> str:
        chosen = [task for task in TASKS if task.startswith(text.lower())]
        if len(chosen) != 1:
            raise ValueError(f"write {' or '.join(TASKS)}, got {text!r}")
        return chosen[0]

    console.prose("\nWhat is the model for?")
    for task, meaning in TASKS.items():
        console.prose(f"  {task:<7} {meaning}")
    return _ask("task", task_of_folds(table), read)


def _backbone(dataset: Path) -> str:
    """Return the name of a backbone, `auto` or `probe`."""
    from eml.cli.display import console

    pick = _pick_of(dataset)
    console.prose(f"\n{'Which network?':<31}{'parameters':>10}   time on a CPU")
    for number, (name, (parameters, times)) in enumerate(NETWORKS.items(), 1):
        console.prose(f"  {number}  {name:<26}{parameters:>10}   ×{times}")
    if pick:
        console.prose(f"  auto   {pick}, which eml probe picked on these images")
    again = "again " if pick else ""
    console.prose(f"  probe  measure them {again}on these images, in minutes, and take the best")
    console.prose("  or any other name, as eml backbones lists them")

    def read(text: str) -> str:
        if text.isdecimal():
            if not 1 <= int(text) <= len(NETWORKS):
                raise ValueError(f"the numbers are 1 to {len(NETWORKS)}, got {text}")
            return list(NETWORKS)[int(text) - 1]
        if text not in (*NETWORKS, PROBE, *([AUTO] if pick else [])):
            from eml.models.backbones import check_backbone  # torch and timm: seconds

            check_backbone(text, "`backbone`")
        return text

    return _ask("backbone", AUTO if pick else BACKBONE, read)


def _pick_of(dataset: Path) -> str | None:
    """Return the network that `eml probe` picked, if it did."""
    from eml.evaluation.probing.record import NAME, read_pick

    folder = dataset if dataset.is_dir() else dataset.parent
    if (folder / NAME).is_file():
        with suppress(EmlError):
            return read_pick(folder / NAME).name
    return None


def _probe(dataset: Path) -> bool:
    """Rank the networks on the images, show how, and return whether one was picked."""
    from eml.cli.adapter import print_result
    from eml.cli.display import console
    from eml.cli.display.probe import terminal

    caller = Caller(note=console.say, warn=console.warn, progress=console.progress)
    config = _probe_config(dataset)
    try:
        result = terminal.function.run(config, caller)
    except EmlError as error:
        more = f", and {len(error.problems) - 1} more such problems" if len(error.problems) > 1 else ""
        console.prose(f"no network could be measured: {error.problems[0]}{more}. Name one:", "yellow")
        return False
    print_result(terminal, replace(result, next_command=None), as_json=False)
    if result.pick is None:
        console.prose("The probe picked no network. Name one:", "yellow")
    return result.pick is not None


def _probe_config(dataset: Path) -> Any:
    from eml.commands.probe import ProbeConfig

    return ProbeConfig(dataset=dataset)


def _weights(backbone: str) -> dict[str, str]:
    """Return the weights, asked for where the pretrained ones are neither on this machine nor can be fetched."""
    from eml.cli.display import console
    from eml.models.hub import has_cached_weights, why_unavailable

    if ":" in backbone or not (problem := why_unavailable()) or has_cached_weights(backbone):
        return {}

    def read(text: str) -> str:
        if text not in ("pretrained", "none") and not Path(text).exists():
            raise ValueError(f"there is no file {text}; write none, pretrained, or a path")
        return text

    console.prose(f"\nThe weights of {backbone} are not on this machine, and {problem}.")
    console.prose("  pretrained  fetch them when the training starts")
    console.prose("  none        train from scratch, which needs far more images")
    console.prose("  or a file of weights, or the folder of a run or checkpoint")
    with _file_names():
        return {"weights": _ask("weights", "pretrained", read)}


def _size(config: InitConfig, settings: Recipe) -> dict[str, Size]:
    from eml.cli.display import console

    size = settings.values["image"]["size"]
    usual = size_word(tuple(size) if isinstance(size, list) else size)

    def read(text: str) -> Size:
        chosen = checked_size(text, "image_size")
        assert chosen is not None
        if text != usual and config.backbone not in (None, AUTO):
            check_image_size(str(config.backbone), chosen)
        return chosen

    console.prose("\nSide of the images as the network sees them, in pixels, or such as 256x128.")
    console.prose("Larger ones show finer details; the time grows with the square of the side.")
    return {"image_size": _ask("image size", usual, read)}


def _minutes(epochs: int) -> dict[str, float]:
    from eml.cli.display import console

    def read(text: str) -> dict[str, float]:
        if text == no_limit:
            return {}
        minutes = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0
        if not 0 < minutes < 1e6:
            raise ValueError(f"write a number of minutes above 0, such as 30, got {text!r}")
        return {"minutes": minutes}

    no_limit = "no limit"
    console.prose(f"\nMinutes that the training may take; without a limit it takes {epochs} epochs.")
    return _ask("minutes", no_limit, read)


def _ask(name: str, default: str | None, read: Callable[[str], Answer]) -> Answer:
    """Return an answer that can be used; of any other say why not, and ask again."""
    from eml.cli.display import console

    while True:
        text = input(f"{name}{f' [{default}]' if default else ''}: ").strip() or default
        if not text:
            continue
        try:
            return read(text)
        except EmlError as error:
            reasons = [re.sub(r"`(\w+)`", r"\1", problem) for problem in error.problems]
        except ValueError as error:
            reasons = [str(error)]
        for reason in reasons:
            console.prose(reason, "yellow")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn Ctrl-C and Ctrl-D into `Interrupted`."""
    from eml.cli.display import console

    try:
        yield
    except (KeyboardInterrupt, EOFError) as error:
        console.prose("")
        raise Interrupted("interrupted; no config was written") from error


@contextmanager
def _file_names() -> Iterator[None]:
    """Let TAB complete names of files, where Python can read lines with editing."""
    try:
        import readline
    except ImportError:
        yield
        return

    def complete(text: str, state: int) -> str | None:
        paths = sorted(glob.glob(glob.escape(os.path.expanduser(text)) + "*"))  # noqa: PTH111, PTH207
        names = [f"{path}{os.sep}" if Path(path).is_dir() else path for path in paths]
        return names[state] if state < len(names) else None

    before, delimiters = readline.get_completer(), readline.get_completer_delims()
    readline.set_completer(complete)
    readline.set_completer_delims("\n")
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before)
        readline.set_completer_delims(delimiters)
