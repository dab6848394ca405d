"""The model of the last shard, kept for the next one where a process makes shards and nothing else."""

from collections.abc import Callable
from typing import TypeVar

Model = TypeVar("Model")
_kept: dict[str, object] = {}
_is_kept = False


def keep_model() -> None:
    """Keep the last model in this process from now on: its memory is not needed otherwise."""
    global _is_kept
    _is_kept = True


def kept_model(key: str, load: Callable[[], Model]) -> Model:
    """Return the model that the last shard had by the same key, else load it.

    Args:
        key: All that the model depends on: the options, and the digests of its files.
        load: Loads it.
    """
    if not _is_kept:
        return load()
    if key not in _kept:
        _kept.clear()  # before the next one is loaded, so that two never take memory
        _kept[key] = load()
    model: Model = _kept[key]  # type: ignore[assignment]
    return model
