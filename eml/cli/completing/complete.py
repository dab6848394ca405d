"""Find what may stand at the cursor in a situation."""

import re
from dataclasses import replace
from typing import Any

from eml.cli.completing import config_keys, names
from eml.cli.completing.completions import Completion, Completions, FileKind, of_words
from eml.cli.completing.situation import ROOT_OPTIONS, Situation
from eml.cli.completing.tables import names_of, read_tables

TABLE, YAML = (".csv", ".parquet"), (".yaml", ".yml")
FILES = {
    "file": FileKind(),
    "folder": FileKind(None),
    "dataset": FileKind(TABLE),
    "table": FileKind(TABLE),
    "csv": FileKind((".csv",)),
    "html": FileKind((".html",)),
    "image": FileKind((".png", ".jpg", ".svg", ".pdf")),
    "python": FileKind((".py",)),
    "texts": FileKind((".csv", ".json", ".yaml", ".yml", ".txt")),
    "vectors": FileKind((".safetensors", ".npz")),
    "config": FileKind(YAML),
    "yaml": FileKind(YAML),
    "config_or_dataset": FileKind((*YAML, *TABLE)),
    "checkpoint": FileKind((".onnx", ".xml", ".pt2", ".pt", ".safetensors")),
    "weights": FileKind((".safetensors", ".pth", ".pt", ".bin", ".npz")),
    "encoder": FileKind(None),
}
"""Kind of a value → the files that it may be."""
DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")
WEIGHTS = {"pretrained": "of the hub", "none": "random weights"}
DATASETS = ("dataset", "data", "source", "train", "datasets", "images", "checkpoint")
"""Fields whose first value is the table whose columns count."""


def complete(situation: Situation) -> Completions:
    """Return what may stand at the cursor."""
    if situation.command is None:
        return _commands(situation)
    if situation.option is not None:
        return _value(situation, situation.option).after(situation.lead)
    if situation.current.startswith("-") and not situation.only_arguments:
        return _options(situation)
    if situation.argument is not None:
        return _value(situation, situation.argument)
    return Completions()


def _commands(situation: Situation) -> Completions:
    commands = read_tables()["commands"]
    if situation.current.startswith("-"):
        return of_words(ROOT_OPTIONS, situation.current)
    if situation.group is not None:
        members = commands[situation.group]["members"]
        return of_words({word: commands[f"{situation.group} {word}"]["help"] for word in members}, situation.current)
    return of_words({name: entry["help"] for name, entry in commands.items() if " " not in name}, situation.current)


def _options(situation: Situation) -> Completions:
    """Return the options that are not set yet, and keys of the config where the command takes them as options."""
    words: dict[str, str] = {}
    for option in situation.entry.get("options", []):
        if option["several"] or option["name"] not in situation.values:
            words |= {name: option["help"] for name in option["names"] if name.startswith("--")}
    if situation.entry.get("others") and len(situation.current) > len("--"):
        for key, node in read_tables()["config"]["keys"].items():
            if "keys" not in node or "values" in node:
                words.setdefault(f"--{key.replace('_', '-')}", f"key of the config: {node['help']}".removesuffix(": "))
    return of_words(words, situation.current)


def _value(situation: Situation, parameter: dict[str, Any]) -> Completions:
    typed = situation.current
    if "key" in parameter:  # --epochs 3, a key of the config as an option
        key = f"{parameter['key']}="
        completions = _overrides(situation, key + typed, several=False)
        words = tuple(replace(word, text=word.text.removeprefix(key)) for word in completions.words)
        return replace(completions, words=words, lead=completions.lead.removeprefix(key))
    if choices := parameter.get("choices"):
        return of_words(choices, typed)
    kind = parameter.get("kind", "")
    if kind in ("set", "vary"):
        return _overrides(situation, typed, several=kind == "vary")
    return of_kind(kind, typed, situation)


def _overrides(situation: Situation, typed: str, *, several: bool) -> Completions:
    config = config_keys.read_config(situation.first("config", "source"))
    config = config_keys.with_overrides(config, situation.values.get("overrides", []))
    situation.values.setdefault("dataset", _tables_of(config, situation))
    return config_keys.overrides(typed, config, lambda kind, text: of_kind(kind, text, situation), several=several)


def _tables_of(config: dict[str, Any], situation: Situation) -> list[str]:
    """Return the table of a config, whose path is relative to it."""
    data = config.get("data")
    table = data.get("table") if isinstance(data, dict) else None
    place = situation.first("config", "source") or ""
    folder = place if not place.endswith(YAML) else place.rpartition("/")[0]
    return (
        [f"{folder}/{table}" if folder and not table.startswith(("/", "~")) else table]
        if isinstance(table, str)
        else []
    )


def of_kind(kind: str, typed: str, situation: Situation) -> Completions:
    """Return what completes a value of a kind."""
    source = situation.first(*DATASETS, "index")
    if kind == "column":
        return names.columns(
            source, typed, grouping=situation.option is None or "label" not in situation.option["name"]
        )
    if kind == "where":
        return _where(typed, situation.first("index", "dataset"))
    if kind == "backbone":
        return names.backbones(typed)
    if kind == "backbones":
        before, comma, last = typed.rpartition(",")
        return names.backbones(last).after(before + comma)
    words = Completions()
    if kind == "device":
        words = of_words(DEVICES, typed)
    elif kind == "weights":
        words = of_words(WEIGHTS, typed)
    elif kind == "shell":
        words = of_words(("bash", "zsh", "fish"), typed)
    elif kind == "encoder":
        prefixes = {"st:": "a model of sentence-transformers", names.OPEN_CLIP: "the text tower of a CLIP"}
        words = Completions(
            tuple(Completion(key, text, True) for key, text in prefixes.items() if key.startswith(typed))
        )
        words = names.backbones(typed) if typed.startswith(names.OPEN_CLIP) else words
    elif kind == "checkpoint":
        words = names.models(typed)
    elif kind in ("margin", "metric", "format", "protocol"):
        words = of_words(names_of(kind), typed)
    is_name = typed.startswith((names.TIMM, names.OPEN_CLIP, "st:"))
    return words if is_name or kind not in FILES else replace(words, files=FILES[kind])


def _where(typed: str, source: str | None) -> Completions:
    """Return the condition with its last word completed to a column."""
    lead, word = re.fullmatch(r"(.*?)(\w*)", typed, re.DOTALL).groups()  # type: ignore[union-attr]
    if lead.count("'") % 2 or lead.count('"') % 2:  # within a text
        return Completions()
    return names.columns(source, word, grouping=False).after(lead)
