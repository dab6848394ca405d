"""Whether embeddings are of the model that made those of an index, by the digest of its fingerprint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eml.errors import ConfigError, DataError

Facts = dict[str, Any]


def fingerprint_facts(fingerprint: object) -> Facts:
    """Return a fingerprint as a dictionary with `digest`; an empty one for None.

    Args:
        fingerprint: A mapping, a pydantic model, or None.

    Raises:
        ConfigError: It is none of these, or has no digest.
    """
    if fingerprint is None:
        return {}
    if hasattr(fingerprint, "model_dump"):
        fingerprint = fingerprint.model_dump(mode="json")
    if not isinstance(fingerprint, Mapping):
        text = f"a fingerprint must be a mapping or a model with a digest, got {type(fingerprint).__name__}"
        raise ConfigError(text, code="wrong-type", parameter="fingerprint")
    facts: Facts = json.loads(json.dumps(dict(fingerprint)))
    if not facts:
        return {}
    if not isinstance(facts.get("digest"), str) or not facts["digest"]:
        raise ConfigError("a fingerprint must have a digest", code="missing-key", parameter="fingerprint")
    return facts


def check_same_model(folder: Path, own: Facts, theirs: Facts) -> None:
    """Raise a DataError unless two fingerprints have the same digest."""
    if own.get("digest") == theirs.get("digest"):
        return
    if not own or not theirs:
        side = "its embeddings" if not own else "the other embeddings"
        text = f"{folder}: {side} come without the model that made them, so that they cannot be compared"
        raise DataError(f"{text}. Embed both with one model", code="different-model")
    names = sorted(
        name for name in own.keys() | theirs.keys() if name != "digest" and own.get(name) != theirs.get(name)
    )
    difference = "; ".join(f"{name} {_short(theirs.get(name))} instead of {_short(own.get(name))}" for name in names)
    text = f"{folder}: its embeddings are of another model: {difference or 'another digest'}"
    raise DataError(f"{text}. Use the model of the index, or build another index", code="different-model")


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]} …"
