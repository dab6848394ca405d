"""Who makes all shards of a command: processes of this machine, a Ray cluster, or an array of Slurm."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from eml.config.text import did_you_mean, listed, shown
from eml.errors import ConfigError, Problem
from eml.sharding.executors.base import Executor
from eml.sharding.executors.local import Local as Local
from eml.sharding.executors.ray import Ray as Ray
from eml.sharding.executors.slurm import Slurm as Slurm


def executor_of(name: str, options: Sequence[str], address: str | None) -> Executor:
    """Return the executor of a command's options.

    Args:
        name: Of the executor.
        options: `KEY=VALUE`. A key that is given twice, where several values are allowed, has them all.
        address: The address of a Ray cluster.

    Raises:
        ConfigError: An option is unknown, or its value is not allowed; all problems at once.
    """
    member = Executor.members()[name]
    fields = [field for field in member.model_fields if field not in ("type", "address")]
    values: dict[str, Any] = {}
    problems = []
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in fields:
            text = f"`executor_options` {shown(option)}: executor {name} takes {listed([f'{key}=…' for key in fields])}"
            problems.append(Problem(text + did_you_mean(key, fields), "unknown-key", "executor_options"))
        elif key in values and "tuple" in str(member.model_fields[key].annotation):
            values[key] = (*values[key], value)
        else:
            values[key] = (value,) if "tuple" in str(member.model_fields[key].annotation) else value
    if address is not None:
        if "address" in member.model_fields:
            values["address"] = address
        else:
            text = f'`address` is that of a Ray cluster; it goes with `executor="ray"`, not with {name}'
            problems.append(Problem(text, "conflicting-settings", "address"))
    try:
        executor = member(**values)
    except ValidationError as error:
        problems += [_problem(details, values) for details in error.errors()]
    if problems:
        raise ConfigError(problems)
    return executor


def _problem(details: Any, values: Mapping[str, Any]) -> Problem:
    key = str(details["loc"][0])
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    parameter = "address" if key == "address" else "executor_options"
    value = shown(details["input"]) if details["type"] != "value_error" else shown(values.get(key))
    return Problem(f"`{parameter}` {key} must be {message}, got {value}", "invalid-value", parameter)
