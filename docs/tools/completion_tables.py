"""Write eml/cli/completing/tables.json, by which the shells complete: `python docs/tools/completion_tables.py`.

It is made from the commands' configs, the config of a training run and the families, so that completing imports none
of them. A test says when the file is out of date.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any, get_args

from command_pages import Page, all_pages, first_sentence
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eml.cli.completing.tables import TABLES
from eml.config.type_info import FieldSpec, literals, plain
from eml.dataset.ancestry import COMMAND_OF
from eml.dataset.protocols import Protocol
from eml.evaluation.probing.candidates import USUAL
from eml.exporting.formats import format_names
from eml.files import write_text
from eml.margins import Margin
from eml.models.catalog import TESTED
from eml.retrieval.metrics import all_metrics
from eml.training.config import RunConfig

LONGEST_HELP = 90  # characters

KINDS = {
    "adapt_on": "dataset",
    "against": "checkpoint",
    "backbone": "backbone",
    "backbones": "backbones",
    "cache": "folder",
    "calibrate_on": "dataset",
    "checkpoint": "checkpoint",
    "checkpoints": "checkpoint",
    "column": "column",
    "copy_to": "folder",
    "csv": "csv",
    "data": "dataset",
    "dataset": "dataset",
    "datasets": "dataset",
    "device": "device",
    "embed_precision": "",
    "encoder": "encoder",
    "exclude": "table",
    "file_column": "column",
    "fit": "dataset",
    "folder": "folder",
    "format": "format",
    "from_folds": "folder",
    "gallery_model": "checkpoint",
    "group_by": "column",
    "html": "html",
    "index": "folder",
    "label_column": "column",
    "leave_out_same": "column",
    "metric": "metric",
    "model": "checkpoint",
    "move": "folder",
    "names": "texts",
    "overrides": "set",
    "pairs": "csv",
    "plot": "image",
    "plugins": "python",
    "prove_on": "dataset",
    "root": "folder",
    "runs": "folder",
    "settings": "vary",
    "slices": "column",
    "test": "dataset",
    "test_root": "folder",
    "text_column": "column",
    "text_vectors": "vectors",
    "train": "dataset",
    "truth": "column",
    "vary": "vary",
    "weights": "weights",
    "where": "where",
    "whiten": "dataset",
    "within": "column",
}
"""Field of a command → what completes its value, where its type does not say it."""
OF_COMMAND = {
    ("backbones", "pattern"): "backbone",
    ("cache", "source"): "config_or_dataset",
    ("margins", "name"): "margin",
    ("protocol", "protocol"): "protocol",
    ("push", "folder"): "folder",
    ("suspects", "source"): "dataset",
    ("sweep", "config"): "config",
    ("train", "config"): "config",
}
KEYS = {
    "backbone": "backbone",
    "metric": "metric",
    "table": "dataset",
    "weights": "weights",
    "leave_out_same": "column",
    "within": "column",
    "file_column": "column",
    "label_column": "column",
}
"""Key of a training config → what completes its value."""


def tables() -> dict[str, Any]:
    """Return what the file should hold."""
    return {
        "commands": {" ".join(page.words): command(page) for page in all_pages()},
        "config": {"keys": keys_of(RunConfig, frozenset())},
        "names": {
            "margin": {name: first_sentence(member.__doc__ or "") for name, member in sorted(Margin.members().items())},
            "metric": {shown: key for metric in all_metrics() for key, shown in metric.shown().items()},
            "format": sorted(format_names()),
            "protocol": sorted(Protocol.members()) if hasattr(Protocol, "members") else sorted(protocols()),
            "backbone": list(dict.fromkeys([*USUAL, *(name for names in TESTED.values() for name in names)])),
            "table": list(COMMAND_OF),
        },
    }


def protocols() -> list[str]:
    """Return the names of the protocols."""
    folder = Path(inspect.getfile(Protocol)).parent
    return [path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "base") and path.stem[0] != "_"]


def command(page: Page) -> dict[str, Any]:
    """Return a command's help, arguments and options; of a group its commands."""
    context = page.context()
    entry: dict[str, Any] = {"help": page.summary}
    if page.members:
        entry["members"] = list(page.members)
    if page.terminal and page.terminal.others:
        entry["others"] = page.terminal.option(page.terminal.others)
    for param in page.command.get_params(context):
        record = param.get_help_record(context)
        value = parameter(page, param.name, getattr(param, "is_flag", False))
        value["help"] = shortened(first_sentence(record[1] if record else ""))
        value["several"] = bool(getattr(param, "multiple", False) or param.nargs == -1)
        if param.param_type_name == "argument":
            entry.setdefault("arguments", []).append(value)
            continue
        names = [*param.opts, *param.secondary_opts]
        value["names"] = [name for name in names if name.startswith("--")] + [name for name in names if name[1] != "-"]
        entry.setdefault("options", []).append(value)
    return entry


def parameter(page: Page, name: str, is_flag: bool) -> dict[str, Any]:
    """Return how the value of an argument or option is completed."""
    value: dict[str, Any] = {"name": name}
    info = page.terminal.config_type.model_fields.get(name) if page.terminal else None
    if is_flag:
        return value | {"flag": True}
    if info is None:
        return value | {"kind": {"config_file": "yaml", "shell": "shell"}.get(name, "")}
    if choices := [word for word in literals(FieldSpec(info.annotation)) if word]:
        value["choices"] = choices
    kind = OF_COMMAND.get((page.words[0], name), KINDS.get(name))
    if kind is None:
        kind = "file" if has_path(info.annotation) else ""
    return value | {"kind": kind}


def has_path(annotation: Any) -> bool:
    """Return whether a value may be a path."""
    return annotation is Path or any(has_path(inner) for inner in get_args(annotation) if inner is not annotation)


def keys_of(section: type[BaseModel], outer: frozenset[type]) -> dict[str, Any]:
    """Return key → what may be its value, of a section of the training config."""
    outer = outer | {section}
    return {key: node(key, field, outer) for key, field in section.model_fields.items() if key != "type"}


def node(key: str, field: FieldInfo, outer: frozenset[type]) -> dict[str, Any]:
    """Return what may be the value of a key: words, a family's members, or the keys of a section."""
    spec = FieldSpec(field.annotation, field)
    entry: dict[str, Any] = {"help": shortened(re.split(r"[;.] ", (field.description or "").strip())[0])}
    default = None if field.is_required() else plain(field.get_default(call_default_factory=True))
    values = [*literals(spec), *(["true", "false"] if bool in spec.branches else [])]
    if type(None) in spec.branches and default is not None:
        values.append("null")
    if values:
        entry["values"] = values
    if default is not None and not isinstance(default, dict):
        entry["default"] = default if isinstance(default, str) else json.dumps(default)
    if isinstance(default, dict) and "type" in default:
        entry["default"] = default["type"]
    for family in spec.families:
        if family not in outer:
            entry["members"] = {
                name: {
                    "help": shortened(first_sentence(member.__doc__ or "")),
                    "keys": keys_of(member, outer | {family}),
                }
                for name, member in sorted(family.members().items())
            }
    sections = [branch for branch in spec.branches if isinstance(branch, type) and issubclass(branch, BaseModel)]
    for section in sections:
        if section not in spec.families and section not in outer:
            entry["keys"] = entry.get("keys", {}) | keys_of(section, outer)
    kind = KEYS.get(key) or (
        "file" if any(getattr(branch, "__name__", "") == "Path" for branch in spec.branches) else ""
    )
    return entry | ({"kind": kind} if kind and not sections else {})


def shortened(text: str) -> str:
    """Return the text, cut at a word where it is too long for a list."""
    text = re.sub(r"\s+", " ", text.replace("`", "")).strip()
    return text if len(text) <= LONGEST_HELP else text[:LONGEST_HELP].rsplit(" ", 1)[0] + " …"


def text() -> str:
    """Return the file's text: one entry a line, so that changes of several people can be joined."""
    return json.dumps(tables(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_text(TABLES, text())
