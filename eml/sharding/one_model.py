"""All shards of an embedding are by one model."""

import shlex
from collections.abc import Sequence

from eml.errors import DataError, Problem
from eml.models.fingerprint import Fingerprint
from eml.sharding.jobs import FinishedShard

FINGERPRINT = "fingerprint"
"""The key of the facts of a shard's marker."""


def refuse_several_models(shards: Sequence[FinishedShard], line: str, key: str = FINGERPRINT) -> Fingerprint:
    """Return the fingerprint of the model of all shards.

    Args:
        shards: All shards.
        line: The command line without the options for shards.
        key: Of the fingerprint in their facts.

    Raises:
        DataError: Shards are by another model than the first one; each is named with the command that makes it.
    """
    fingerprints = [Fingerprint.model_validate(shard.marker.facts[key]) for shard in shards]
    first = fingerprints[0]
    problems = []
    for shard, fingerprint in zip(shards, fingerprints, strict=True):
        if fingerprint.digest == first.digest:
            continue
        text = f"{shard.shard} was embedded by another model than {shards[0].shard}"
        text += f" ({first.difference_from(fingerprint)}). Run again, each where the same model is: {line} "
        problems.append(Problem(text + shlex.join(shard.shard.words), "stale-shard"))
    if problems:
        raise DataError(problems)
    return first
