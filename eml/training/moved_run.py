"""Read a run's config; one in a run's folder means that folder, wherever it and its data have been moved."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from eml.config import load
from eml.config.loading import PLUGINS, read_document
from eml.config.locations import Loc
from eml.config.plugins import find_loaded, is_file_name
from eml.config.type_info import find_field
from eml.dataset.splits.task import Task
from eml.errors import ConfigError, Problem
from eml.files import digest, moved_along
from eml.json_files import read_json
from eml.models.pointers import RUN_FILE, is_run_folder
from eml.training.config import DataConfig, RunConfig

CONFIG_NAME = "config.yaml"


def load_run_config(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    override_name: str = "override",
    plugins: Sequence[str] = (),
    import_plugins: bool = True,
    left_out: Sequence[str] = (),
) -> RunConfig:
    """Return the config in a file, as `load` does.

    The plugins that the config of the user's own names are imported first, those that the config in a run's folder or
    beside a checkpoint names are not: it may be someone else's. They have to be imported already.

    The output of the config in a run's folder is that folder. If the folder was elsewhere when the run began, the
    paths that the config itself names are those of now where they were moved along with it. Where the table is at both
    places, its digest decides which of them the run began with.

    Args:
        path, overrides, override_name: As for `load`.
        plugins: Further plugins, which have been imported.
        import_plugins: Whether to import what a config of the user's own names.
        left_out: Overrides that leave out what the config says.

    Raises:
        ConfigError: As `load` does; or a plugin that the config needs was not imported.
    """
    imports = import_plugins and not is_of_a_model(path)
    try:
        config: RunConfig = load(
            RunConfig, path, [*left_out, *overrides], override_name=override_name, import_plugins=imports
        )
    except ConfigError as error:
        if imports or not (problems := _missing_plugins(path)):
            raise
        raise ConfigError(problems) from error
    config = config.model_copy(update={"plugins": _placed_plugins(config.plugins, plugins)})
    if path.name != CONFIG_NAME or not is_run_folder(path.parent):
        return config
    config = _as_it_was_trained(config)
    try:
        recorded = load(RunConfig, path, left_out, import_plugins=False)
    except ConfigError:  # the overrides mend it
        return config
    now = path.parent.absolute()
    if recorded.output.resolve() == now.resolve():
        return config
    placed: RunConfig = _placed(config, recorded, _place_of_now(recorded, now))
    return placed if config.output != recorded.output else placed.model_copy(update={"output": now})


def load_run_data(path: Path) -> tuple[DataConfig, Task]:
    """Return the images that a run's config names, and its task; the plugins that it names need not be imported."""
    try:
        config = load_run_config(path)
    except ConfigError as error:
        if error.code != "needs-plugin":
            raise
        unknown = _unknown_members(read_document(path).value)
        config = load_run_config(path, left_out=[f"{key}=null" for key in unknown])
    return config.data, config.task


def _unknown_members(values: dict[str, Any]) -> list[str]:
    """Return the keys of a config whose value is an unknown member of a family; of a list its own key."""
    places: list[Loc] = [()]
    keys = []
    for place in places:
        value: Any = values
        for part in place:
            value = value[part]
        spec = find_field(RunConfig, place, values)
        name = value.get("type") if isinstance(value, dict) else value
        if spec and spec.families and isinstance(name, str) and not any(name in own.members() for own in spec.families):
            keys.append(".".join(str(part) for part in place if isinstance(part, str)))
        inner = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        places += [(*place, key) for key in inner]
    return list(dict.fromkeys(keys))


def is_of_a_model(path: Path) -> bool:
    """Return whether a config lies in the folder of a run or of a checkpoint, which may have come from elsewhere."""
    folders = path.absolute().parents
    checkpoint = all((folders[0] / name).is_file() for name in ("config.json", "model.safetensors"))
    return checkpoint or any(map(is_run_folder, folders[:3]))


def missing_plugins(names: Sequence[str], where: Path) -> list[Problem]:
    """Return a problem for each plugin of a config that this process has not imported.

    Args:
        names: The plugins, as the config has them.
        where: The config.
    """
    if is_of_a_model(where):
        why, more = "the config of a run or checkpoint, which may be someone else's", ""
    else:
        why, more = (
            "a config that it finds in a folder",
            f", or name the config itself: eml train {shlex.quote(str(where))}",
        )
    return [
        Problem(
            f"{where}: needs the plugin {Path(name).name if is_file_name(name) else name}. eml imports nothing because "
            f"of {why}: give it as {_as_given(name)}, if you trust that code{more}",
            "needs-plugin",
            "plugins",
        )
        for name in names
        if find_loaded(name) is None
    ]


def _as_given(name: str) -> str:
    """Return the parameter that names a plugin, without the folder of a file that is not there."""
    if not is_file_name(name) or Path(name).is_file():
        return f"`plugins={name}`"
    return f"`plugins={Path(name).name}`, with the path where it is here"


def _missing_plugins(path: Path) -> list[Problem]:
    """Return `missing_plugins` of a config that cannot be read, perhaps without them."""
    names = read_document(path).value
    names = names.get(PLUGINS) if isinstance(names, dict) else None
    names = [names] if isinstance(names, str) else names if isinstance(names, list) else []
    return missing_plugins([str(name) for name in names], path)


def _placed_plugins(names: Sequence[str], further: Sequence[str]) -> tuple[str, ...]:
    """Return the plugins of a config as they were imported here, and further ones."""
    plugins = [(name, find_loaded(name)) for name in (*names, *further)]
    return tuple(dict.fromkeys(name if plugin is None else plugin.config_name for name, plugin in plugins))


BEFORE_THEY_EXISTED: dict[str, Any] = {"images": None, "every": 1}
"""The keys of the section validation that eml 0.1.0 did not have, with what it did in their place."""


def _as_it_was_trained(config: RunConfig) -> RunConfig:
    """Return the config of a run with what eml 0.1.0 did where it has no key; a newer run's config has them all."""
    values: dict[str, Any] = {} if "task" in config.model_fields_set else {"task": "closed"}
    missing = {
        name: value for name, value in BEFORE_THEY_EXISTED.items() if name not in config.validation.model_fields_set
    }
    if missing:
        values["validation"] = config.validation.model_copy(update=missing)
    return config.model_copy(update=values) if values else config


def _place_of_now(config: RunConfig, now: Path) -> Callable[[Path], Path]:
    """Return a function that says where a path of a moved run's config is now."""

    def along(path: Path) -> Path:
        return moved_along(path, config.output, now)

    table = config.data.table
    stayed = isinstance(table, Path) and _began_with(now, table) and not _began_with(now, along(table))

    def place(path: Path) -> Path:
        first, second = (path, along(path)) if stayed else (along(path), path)
        return first if first.exists() or not second.exists() else second

    return place


def _began_with(run: Path, table: Path) -> bool:
    """Return whether the file is the table that the run began with."""
    try:
        facts = read_json(run / RUN_FILE, dict[str, Any]).get("table")
        return isinstance(facts, dict) and table.is_file() and digest(table) == facts.get("digest")
    except (OSError, ValueError):
        return False


def _placed(value: Any, recorded: Any, place: Callable[[Path], Path]) -> Any:
    """Return a part of a config with the paths that are as recorded at their place of now."""
    if isinstance(value, Path):
        return place(value) if value == recorded else value
    if isinstance(value, BaseModel) and type(value) is type(recorded):
        names = type(value).model_fields
        return value.model_copy(
            update={name: _placed(getattr(value, name), getattr(recorded, name), place) for name in names}
        )
    if isinstance(value, Mapping) and isinstance(recorded, Mapping):
        return {key: _placed(item, recorded.get(key), place) for key, item in value.items()}
    if isinstance(value, list | tuple) and isinstance(recorded, list | tuple) and len(value) == len(recorded):
        return type(value)(_placed(item, before, place) for item, before in zip(value, recorded, strict=True))
    return value
