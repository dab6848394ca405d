"""Pretrained weights from the hub: its cache without asking, else a short look whether it can be reached."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from eml.errors import CheckpointError

PATIENCE = 2.0  # seconds to reach the hub in; its own client tries for a minute
FILES = ("model.safetensors", "pytorch_model.bin")


@contextmanager
def pretrained_weights(name: str) -> Iterator[None]:
    """Have timm load a model's pretrained weights in the block, from the cache if they are there.

    Raises:
        CheckpointError: They are not in the cache, and the hub cannot be reached.
    """
    import timm

    settings = timm.get_pretrained_cfg(name)
    files = (settings.hf_hub_filename,) if settings is not None and settings.hf_hub_filename else FILES
    with from_hub(settings.hf_hub_id if settings is not None else None, files, name):
        yield


@contextmanager
def from_hub(identifier: str | None, files: Sequence[str], name: str, part: str = "") -> Iterator[None]:
    """Have a package load one of these files of a repository in the block, from the cache if it is there.

    Args:
        identifier: The repository; empty: none, so that nothing is looked at.
        files: Names in it, of which any will do.
        name: The network whose files they are, for the message.
        part: Which of them, such as its tokenizer; empty: its weights.

    Raises:
        CheckpointError: None is in the cache, and the hub cannot be reached.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if not identifier:
        yield
        return
    offline = constants.HF_HUB_OFFLINE
    if not any(isinstance(try_to_load_from_cache(identifier, file), str) for file in files):
        problem = why_unavailable()
        if problem:
            parameter = "model.backbone" if part else "model.weights"
            text = (
                f"{parameter}: the {part or 'pretrained weights'} of {name} are not in the cache, "
                f"{constants.HF_HUB_CACHE}, and {problem}. Copy the cache of a machine that has them (HF_HOME says "
                "where it is)"
            )
            if not part:
                text += ", give a file (model.weights: FILE) or train from scratch (model.weights: none)"
            raise CheckpointError(text, code="weights-unavailable", parameter=parameter)
        yield
        return
    constants.HF_HUB_OFFLINE = True  # else each load asks for news of what is in the cache
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


def has_cached_weights(name: str) -> bool:
    """Return whether the pretrained weights of a model of timm are in the cache."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    settings = timm.get_pretrained_cfg(name)
    if settings is None or not settings.hf_hub_id:
        return False
    files = (settings.hf_hub_filename,) if settings.hf_hub_filename else FILES
    return any(isinstance(try_to_load_from_cache(settings.hf_hub_id, file), str) for file in files)


def why_unavailable() -> str | None:
    """Return why nothing can be fetched from the hub: it is switched off, or cannot be reached; None if it can."""
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_unreachable()


def why_unreachable() -> str | None:
    """Return why the hub, or the proxy on the way to it, cannot be reached; None if it can."""
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    proxy = urlsplit(getproxies().get(hub.scheme, ""))
    target = proxy if proxy.hostname else hub
    reasons: list[str | None] = []

    def connect() -> None:
        try:
            port = target.port or (80 if target.scheme == "http" else 443)
            socket.create_connection((target.hostname or "", port), PATIENCE).close()
        except (OSError, ValueError) as error:
            reasons.append(getattr(error, "strerror", None) or str(error))
        else:
            reasons.append(None)

    thread = threading.Thread(target=connect, daemon=True)  # looking the name up knows no time limit
    thread.start()
    thread.join(PATIENCE + 0.5)
    reason = reasons[0] if reasons else f"no answer in {PATIENCE:g} s"
    return None if reason is None else f"{target.hostname} cannot be reached ({reason})"
