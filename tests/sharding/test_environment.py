"""The number of a shard where a scheduler says it."""

import pytest

from eml.errors import ConfigError
from eml.sharding.environment import shard_of_environment
from eml.sharding.shard import WorkShard


@pytest.mark.parametrize("variable", ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"])
def test_the_number_of_an_array_is_the_shard_and_is_told(variable: str) -> None:
    lines: list[str] = []
    assert shard_of_environment(16, lines.append, {variable: "7"}) == WorkShard(16, 7)
    assert lines == [f"shard 7 of 16, by {variable}"]


@pytest.mark.parametrize("text", ["16", "-1", "all", "1_5"])
def test_a_number_beyond_the_shards_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="are numbered 0 to 15; the array should be 0-15") as error:
        shard_of_environment(16, print, {"SLURM_ARRAY_TASK_ID": text})
    assert (error.value.code, error.value.parameter) == ("out-of-range", "shard")


def test_without_a_scheduler_the_shard_is_asked_for_unless_there_is_one() -> None:
    assert shard_of_environment(1, print, {"JOB_COMPLETION_INDEX": ""}) == WorkShard(1, 0)
    with pytest.raises(ConfigError, match="`shards` 4 needs `shard`, 0 to 3"):
        shard_of_environment(4, print, {})
