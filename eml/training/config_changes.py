"""What of a config decides the result of a run, and what has changed since its state was saved."""

from typing import Any

from eml.training.config import RunConfig

APART: Any = {  # where it goes, where it runs, how it is loaded
    "output": True,
    "device": True,
    "data": {"workers": True, "cache": {"folder", "validation"}},
    "saving": True,
    "compile": True,
    "shard_network": True,
    "trackers": True,
}


def decisive(config: RunConfig) -> dict[str, Any]:
    """The config without what does not change the result: {`section.key`: value}."""
    return {
        f"{key}.{name}" if name else key: inner
        for key, value in config.model_dump(mode="json", exclude=APART).items()
        for name, inner in (value.items() if isinstance(value, dict) else [("", value)])
    }


def changes_of(before: dict[str, Any], config: RunConfig) -> list[str]:
    """What differs, a line each; a setting that the earlier eml did not know has its default there."""
    now = decisive(config)
    return [f"  {key}: {before[key]} → {now[key]}" for key in sorted(now) if before.get(key, now[key]) != now[key]]
