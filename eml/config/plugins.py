"""Plugins: files and modules of the user's own with members of families, imported because a config names them.

Nothing else is imported: what a checkpoint or a run's folder names is only compared with what is known.
"""

import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from eml.config.paths import ConfigFolder, OverrideText, absolute, check_path
from eml.config.plugin_source import (
    SUFFIX,
    digest_of_source,
    importing,
    module_name,
    read_source,
    registers_elsewhere,
    run_source,
)
from eml.config.registries import FILE_MODULE, forget, members_of
from eml.config.text import shown
from eml.errors import ConfigError, Problem
from eml.files import from_here

FAMILIES = "Margin, Loss, Neck, Sampler, Metric, BackboneFamily, …"
_lock = RLock()
_loaded: dict[str, "Plugin"] = {}
_sources: dict[str, bytes] = {}  # of the plugins that are files


@dataclass(frozen=True)
class Plugin:
    """A module of the user's own, as it was imported.

    Attributes:
        name: `my_margin.py`, or the dotted name of a module.
        module: Its name in `sys.modules`.
        file: Where it is from; None: it has no file.
        digest: SHA-256 of the file's bytes; None without a file.
        members: What it defines, such as `margin my_margin`.
    """

    name: str
    module: str
    file: Path | None
    digest: str | None
    members: tuple[str, ...] = ()

    @property
    def config_name(self) -> str:
        """Return its name in a config: the path of its file, or the module."""
        return str(self.file) if self.name.endswith(SUFFIX) else self.name


def is_file_name(name: str) -> bool:
    """Return whether a plugin's name is that of a file, and not of a module."""
    return name.endswith(SUFFIX) or "/" in name or os.sep in name


def plugin_name(value: object, folder: Path | None = None) -> object:
    """Return the name of a plugin, that of a file as an absolute path.

    Args:
        value: As the user wrote it.
        folder: What a file is relative to; None: the current folder.

    Raises:
        ValueError: It names neither a file nor a module; the message continues the parameter's name.
    """
    if not isinstance(value, str | Path):
        return value
    text = str(value)
    if not is_file_name(text):
        if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", text) is None:
            kinds = "a file (my_margin.py) or a module of an installed package (package.module)"
            raise ValueError(f"must name {kinds}, got {shown(text)}")
        return text
    check_path(text)
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"names an unknown home folder, got {text!r}") from None
    return str(absolute((folder or Path()) / path))


def validated_name(value: object, info: ValidationInfo) -> object:
    """Return `plugin_name`; a file that a config names is relative to the config's folder."""
    folder = info.context.path if isinstance(info.context, ConfigFolder) else None
    return plugin_name(value, None if isinstance(value, OverrideText) else folder)


def _several(value: object) -> object:
    """Return a single name as a list of one, and None as an empty list."""
    return () if value is None else [value] if isinstance(value, str | Path) else value


PluginNames = Annotated[tuple[Annotated[str, BeforeValidator(validated_name)], ...], BeforeValidator(_several)]
"""Plugins; a file is relative to the folder of the config that names it, or to the current one."""


def load_plugins(
    names: str | Path | Sequence[str | Path],
    *,
    folder: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    parameter: str = "plugins",
) -> list[Plugin]:
    """Import files and modules whose classes are then known as margins, losses, necks, samplers, metrics and so on.

    A file that is imported already is not imported again unless it was changed since; then its classes take the place
    of the earlier ones.

    Args:
        names: Of files (`my_margin.py`) or of modules of installed packages (`package.module`).
        folder: What files are relative to; None: the current folder.
        report: Receives a line on a file that is imported anew.
        parameter: What errors call the names.

    Raises:
        ConfigError: There is no such file or module, it fails, or it defines nothing; all problems at once.
    """
    names = [names] if isinstance(names, str | Path) else names
    plugins, problems = [], []
    with _lock:
        for name in names:
            try:
                plugins.append(_load(str(plugin_name(name, folder)), report, parameter))
            except ValueError as error:
                problems.append(Problem(f"`{parameter}`: {error}", "invalid-value", parameter))
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return plugins


def loaded_plugins() -> list[Plugin]:
    """Return the plugins of this process in the order in which they were imported."""
    return list(_loaded.values())


def find_loaded(name: str) -> Plugin | None:
    """Return the plugin of this process that a config, perhaps one that was moved, calls by a name; None: none."""
    plugins = list(_loaded.values())
    same = next((plugin for plugin in plugins if plugin.config_name == name), None)
    own = Path(name).name if is_file_name(name) else name
    return same or next((plugin for plugin in plugins if plugin.name == own), None)


def plugin_options() -> list[str]:
    """Return the words that name this process's plugins to another command, such as one that follows."""
    names = [plugin.config_name for plugin in _loaded.values()]
    places = [str(from_here(Path(name))) if is_file_name(name) else name for name in names]
    return [word for place in places for word in ("--plugin", place)]


def named_with_digest(name: str) -> str:
    """Return `my_margin.py 5891b5b522d5` of a plugin in a config: the name and the first digits of its digest."""
    plugin = find_loaded(name)
    if plugin is None:
        return Path(name).name if is_file_name(name) else name
    return f"{plugin.name} {plugin.digest[:12]}" if plugin.digest else plugin.name


def forget_plugins() -> None:
    """Take the members of all plugins out again, such as after a test."""
    for module in [*_loaded]:
        forget(module)
        if module.startswith(FILE_MODULE):
            sys.modules.pop(module, None)
    _loaded.clear()
    _sources.clear()


def raised_in_plugin(error: BaseException) -> str | None:
    """Return the line of a plugin that an exception went through, with what it says; None: of none."""
    files = {str(plugin.file): plugin for plugin in _loaded.values() if plugin.file is not None}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not frames:
        return None
    place, plugin = frames[-1], files[frames[-1].filename]
    reason = ": ".join(filter(None, [type(error).__name__, str(error).strip().partition("\n")[0]]))
    return f"{place.filename}:{place.lineno}: plugin {plugin.name} raises {reason}"


@contextmanager
def exits_refused() -> Iterator[None]:
    """Turn the exit of the process that a plugin's code asks for, as by sys.exit(), into a ConfigError."""
    try:
        yield
    except SystemExit as error:
        if (line := raised_in_plugin(error)) is None:
            raise
        raise ConfigError(line, code="plugin-failed", parameter="plugins") from error


def plugin_of(module: str) -> Plugin | None:
    """Return the plugin that a module belongs to, or what is known of a module of the user's own that is none.

    None for a module of eml itself.
    """
    for plugin in _loaded.values():
        if module == plugin.module or module.startswith(f"{plugin.module}."):
            return plugin
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    path = Path(file) if file and Path(file).is_file() else None
    name = path.name if module == "__main__" and path is not None else module
    return Plugin(name, module, path, None if path is None else digest_of_source(path.read_bytes()))


def _load(name: str, report: Callable[[str], None], parameter: str) -> Plugin:
    if not is_file_name(name):
        return _load_module(name, parameter)
    path, source = read_source(name, parameter)
    digest = digest_of_source(source)
    module = module_name(path)
    before = _loaded.get(module) or _same_elsewhere(path, digest)
    if before is not None and before.digest == digest:
        return before
    if before is None and (imported := _imported_by_the_user(path)) is not None:
        if imported in _loaded:
            report(f"plugin {path.name} was changed after this process had imported it; restart it to use the change")
            return _loaded[imported]
        module = imported
    else:
        with importing(path.name, module, path, parameter):
            run_source(module, path, source)
        _sources[module] = source
    plugin = Plugin(path.name, module, path, digest, tuple(members_of(module)))
    _refuse_empty(plugin, parameter)
    if before is not None:
        report(f"plugin {path.name} was changed: it is imported anew")
    _loaded[module] = plugin
    return plugin


def _load_module(name: str, parameter: str) -> Plugin:
    if name in _loaded:
        return _loaded[name]
    with importing(name, name, None, parameter):
        module = importlib.import_module(name)
    place = getattr(module, "__file__", None)
    file = None if place is None else Path(place)
    plugin = Plugin(
        name, name, file, None if file is None else digest_of_source(file.read_bytes()), tuple(members_of(name))
    )
    _refuse_empty(plugin, parameter)
    _loaded[name] = plugin
    return plugin


def _same_elsewhere(path: Path, digest: str) -> Plugin | None:
    """Return a plugin of the same name and bytes in another folder, such as before a run was moved."""
    copies = (plugin for plugin in _loaded.values() if plugin.name == path.name and plugin.digest == digest)
    return next(copies, None)


def _imported_by_the_user(path: Path) -> str | None:
    """Return the name of a module that was made of the file by a plain import, or by running it, and has members."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).name == path.name and Path(file).resolve() == path and members_of(name):
            return name
    return None


def _refuse_empty(plugin: Plugin, parameter: str) -> None:
    if not plugin.members and not registers_elsewhere(plugin.module):
        text = f"{plugin.file or plugin.name}: plugin {plugin.name} defines no member of a family. A class of it "
        text += f"extends one of {FAMILIES} and has a type of its own, type: Literal['my_name'] = 'my_name'"
        raise ConfigError(text, code="empty-plugin", parameter=parameter)


class PluginsInChild:
    """The plugins of a process; where it is unpickled, in a process that was not forked, they are imported as here.

    Files are not read again: they may have been changed since.
    """

    def __reduce__(self) -> tuple[Callable[..., "PluginsInChild"], tuple[object, ...]]:
        """Send the bytes of the files, and the names of the modules."""
        return _reimport, ([(plugin, _sources.get(module)) for module, plugin in _loaded.items()],)


def _reimport(plugins: list[tuple[Plugin, bytes | None]]) -> PluginsInChild:
    for plugin, source in plugins:
        if source is not None and plugin.file is not None:
            run_source(plugin.module, plugin.file, source)
            _sources[plugin.module] = source
        else:
            importlib.import_module(plugin.module)
        _loaded[plugin.module] = plugin
    return PluginsInChild()
