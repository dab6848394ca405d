"""Compare a config with the one that a run's state was saved with."""

from pathlib import Path
from typing import Any

from eml.config.plugins import named_with_digest
from eml.dataset.merge import MergeSource
from eml.training.config import RunConfig

PATHS = (
    *("data.table", "data.root", "validation.tables", "model.weights"),
    *("class_texts.names", "class_texts.vectors"),
    *("distill.teacher", "distill.weights", "compatible_with.model"),
)

IRRELEVANT: Any = {  # settings that do not change the result: where it is written, where it runs, how it loads
    "output": True,
    "device": True,
    "cuda": True,
    "data": {"workers": True, "cache": {"folder", "validation"}},
    "distill": {"folder", "batch_size"},
    "compatible_with": {"batch_size"},
    "saving": True,
    "compile": True,
    "shard_network": True,
    "trackers": True,
}

BEFORE_THEY_EXISTED: Any = {
    "image.background": "white",
    "image.resize": "pillow",
    "task": "closed",
    "validation.images": None,
    "plugins": [],
}
"""Settings that earlier versions of eml did not have, and what they did in their place, where a new run differs."""


def decisive_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that can change the result of a run, as `section.key` → value.

    Of plugins the names and digests count, not where they lie.
    """
    settings = {
        f"{key}.{name}" if name else key: inner
        for key, value in config.model_dump(mode="json", exclude=IRRELEVANT).items()
        for name, inner in (value.items() if isinstance(value, dict) else [("", value)])
    }
    return settings | {"plugins": [named_with_digest(name) for name in config.plugins]}


def config_changes(before: dict[str, Any], config: RunConfig) -> list[str]:
    """Return the settings that differ, a line each; those that an earlier eml did not have count as unchanged.

    Where files lie is no difference: the digests of the tables say whether they are the same.
    """
    now = decisive_settings(config)
    was, names = _without_places(BEFORE_THEY_EXISTED | before), _without_places(now)
    was, names = _with_whole_sections(was, names), _with_whole_sections(names, was)
    return [
        f"  {key}: {was[key]} → {names[key]}" for key in sorted(names) if key in was and _differs(was[key], names[key])
    ]


def _with_whole_sections(settings: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with each section as one value that is null among the others."""
    whole = dict(settings)
    for key in [key for key, value in others.items() if value is None and "." not in key]:
        inner = {name.partition(".")[2]: whole.pop(name) for name in list(whole) if name.startswith(f"{key}.")}
        whole |= {key: inner} if inner else {}
    return whole


def _differs(before: Any, now: Any) -> bool:
    """Return whether a setting is another one, but for keys in it that an earlier eml did not have."""
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() <= now.keys():
        return any(_differs(before[key], now[key]) for key in before)
    return bool(before != now)


def moved_paths(before: dict[str, Any], config: RunConfig) -> list[str]:
    """Return the paths that differ, and nothing else of their settings, a line each."""
    now = decisive_settings(config)
    was, names = _without_places(before), _without_places(now)
    return [
        f"  {key}: {before[key]} → {now[key]}"
        for key in PATHS
        if key in now and before.get(key, now[key]) != now[key] and was.get(key) == names.get(key)
    ]


def _without_places(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the places of files: of several tables the names of their datasets stay."""
    table, tables, weights = (settings.get(key) for key in ("data.table", "validation.tables", "model.weights"))
    names = {key: value for key, value in settings.items() if key not in PATHS}
    if isinstance(table, list):
        names["data.table"] = [_dataset(source) for source in table]
    if isinstance(tables, dict):
        names["validation.tables"] = sorted(tables)
    for key in ("class_texts.names", "class_texts.vectors"):
        if key in settings:
            names[key] = None if settings[key] is None else "a file"
    for key, plain in (
        ("distill.teacher", ("timm:", "open_clip:", "hf-hub:")),
        ("distill.weights", ("pretrained", "none")),
    ):
        if key in settings:
            values = settings[key] if isinstance(settings[key], list) else [settings[key]]
            names[key] = [value if str(value).startswith(plain) else "a file or folder" for value in values]
    if "compatible_with.model" in settings:
        names["compatible_with.model"] = "a file or folder"
    if weights is not None:
        names["model.weights"] = weights if weights in ("pretrained", "none") else "a file or folder"
    return names


def _dataset(source: Any) -> Any:
    """Return the name of one of several datasets, which is part of its labels; with how it is read, where that is set.

    Those saved by an earlier eml have fewer keys.
    """
    fields = source if isinstance(source, dict) else {"table": source}
    name = MergeSource(Path(str(fields["table"])), name=fields.get("name")).dataset_name
    reading = {key: value for key, value in fields.items() if key not in ("table", "root", "name") and value}
    return {"name": name, **reading} if reading else name
