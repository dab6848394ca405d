"""The number of the shard where a scheduler says it: an array of Slurm, an indexed job of Kubernetes."""

import os
from collections.abc import Mapping

from eml.errors import ConfigError
from eml.progress import Report
from eml.sharding.shard import WorkShard

VARIABLES = {
    "SLURM_ARRAY_TASK_ID": "the array should be 0-{last}",
    "JOB_COMPLETION_INDEX": "give the job completions: {count}",
}
"""Variable of a scheduler → how its tasks get the numbers of the shards."""


def shard_of_environment(count: int, report: Report, environment: Mapping[str, str] = os.environ) -> WorkShard:
    """Return the shard of `count` that this process is to do, and report where its number is from.

    Raises:
        ConfigError: No scheduler says a number, or it is not that of a shard.
    """
    for variable, advice in VARIABLES.items():
        if not (text := environment.get(variable, "").strip()):
            continue
        if not text.isdecimal() or int(text) >= count:
            numbers = f"`shards` {count} are numbered 0 to {count - 1}"
            text = f"{variable} is {text}, and {numbers}; {advice.format(last=count - 1, count=count)}, or give `shard`"
            raise ConfigError(text, code="out-of-range", parameter="shard")
        shard = WorkShard(count, int(text))
        report(f"{shard}, by {variable}")
        return shard
    if count == 1:
        return WorkShard(1, 0)
    names = " or ".join(VARIABLES)
    text = f"`shards` {count} needs `shard`, 0 to {count - 1}: the one to do here. A scheduler may say it in {names}"
    raise ConfigError(text, code="missing-key", parameter="shard")
