"""Compare a config with the one that a run's state was saved with."""

from typing import Any

from eml.training.config import RunConfig

IRRELEVANT: Any = {  # settings that do not change the result: where it is written, where it runs, how it loads
    "output": True,
    "device": True,
    "data": {"workers": True, "cache": {"folder", "validation"}},
    "saving": True,
    "compile": True,
    "shard_network": True,
    "trackers": True,
}

BEFORE_THEY_EXISTED: Any = {"image.background": "white"}
"""Settings that earlier versions of eml did not have, and what they did in their place, where a new run differs."""


def decisive_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that can change the result of a run, as `section.key` → value."""
    return {
        f"{key}.{name}" if name else key: inner
        for key, value in config.model_dump(mode="json", exclude=IRRELEVANT).items()
        for name, inner in (value.items() if isinstance(value, dict) else [("", value)])
    }


def config_changes(before: dict[str, Any], config: RunConfig) -> list[str]:
    """Return the settings that differ, a line each; those that an earlier eml did not have count as unchanged."""
    now = decisive_settings(config)
    before = BEFORE_THEY_EXISTED | before
    return [f"  {key}: {before[key]} → {now[key]}" for key in sorted(now) if before.get(key, now[key]) != now[key]]
