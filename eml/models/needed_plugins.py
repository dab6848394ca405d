"""The plugins that a network needs, which its checkpoint names; nothing here imports one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from eml.config import Strict
from eml.config.plugins import plugin_of
from eml.errors import CheckpointError, Problem
from eml.models.backbones import find_family
from eml.models.config import ModelConfig
from eml.models.necks import Neck

NOTEBOOK = "__main__"
"""Names what was defined in no file, such as in a notebook."""


class NeededPlugin(Strict):
    """A plugin that a checkpoint's network cannot be built without.

    Attributes:
        name: `my_neck.py`, a module, or `__main__` for a notebook.
        digest: SHA-256 of its file; None: it had none.
        necks: The types of necks that it defines.
        backbones: The names of backbones that it defines.
    """

    name: Annotated[str, Field(max_length=255, pattern=r"^[^`/\\\x00-\x1f]+$")]
    digest: str | None = None
    necks: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Return what needs it: `neck 'my_neck'`."""
        return " and ".join([*(f"neck '{name}'" for name in self.necks), *(f"'{name}'" for name in self.backbones)])


def needed_plugins(models: Iterable[ModelConfig]) -> tuple[NeededPlugin, ...]:
    """Return the plugins that define the necks and backbones of networks; none where eml defines them."""
    needed: dict[str, NeededPlugin] = {}
    for model in models:
        for key, name, module in _parts(model):
            if (plugin := plugin_of(module)) is None:
                continue
            entry = needed.setdefault(plugin.name, NeededPlugin(name=plugin.name, digest=plugin.digest))
            names = tuple(dict.fromkeys((*getattr(entry, key), name)))
            needed[plugin.name] = entry.model_copy(update={key: names})
    return tuple(needed.values())


def _parts(model: ModelConfig) -> list[tuple[str, str, str]]:
    """Return the key in NeededPlugin, the name and the defining module of a network's neck and backbone."""
    backbone = find_family(model.backbone).defined_in(model.backbone)
    return [("necks", model.neck.type, type(model.neck).__module__), ("backbones", model.backbone, backbone)]


def refuse_unknown(file: Path, written: object) -> None:
    """Raise a CheckpointError that says which plugins to give, where a checkpoint's network needs them.

    Args:
        file: The checkpoint's config.json.
        written: What it has under `plugins`, unchecked.
    """
    problems = [
        _problem(file, plugin)
        for plugin in _read(written)
        if not all(map(_is_known_neck, plugin.necks)) or not all(map(_is_known_backbone, plugin.backbones))
    ]
    if problems:
        raise CheckpointError(problems)


def _read(written: object) -> list[NeededPlugin]:
    """Return the plugins that config.json names; what cannot be read is left to the check of the whole file."""
    try:
        return [NeededPlugin.model_validate(entry) for entry in written] if isinstance(written, list) else []
    except ValueError:
        return []


def _is_known_neck(name: str) -> bool:
    member = Neck.members().get(name)
    return member is not None and plugin_of(member.__module__) is not None


def _is_known_backbone(name: str) -> bool:
    return plugin_of(find_family(name).defined_in(name)) is not None


def _problem(file: Path, plugin: NeededPlugin) -> Problem:
    text = f"{file}: the network needs {plugin.words}, "
    if plugin.name == NOTEBOOK:
        text += "which was defined in no file, such as in a notebook; define it again before you load the checkpoint, "
        text += "or put it into a file and give that as `plugins`"
    else:
        digest = f" (SHA-256 {plugin.digest[:12]}…)" if plugin.digest else ""
        text += f"which the plugin {plugin.name}{digest} defines. eml imports nothing that a checkpoint names: give "
        text += f"`plugins={plugin.name}`, with the path where it is here, if you trust that code"
    return Problem(text, "needs-plugin", "plugins")


def changed_notes(plugins: Sequence[NeededPlugin], models: Sequence[ModelConfig]) -> tuple[str, ...]:
    """Return a line for each plugin whose file is not as it was when the checkpoint was written."""
    now: dict[str, Any] = {plugin.name: plugin.digest for plugin in needed_plugins(models)}
    return tuple(
        f"plugin {plugin.name} is not as it was when the checkpoint was written (SHA-256 {plugin.digest[:12]}… then, "
        f"{now[plugin.name][:12]}… now): the network may compute something else"
        for plugin in plugins
        if plugin.digest and now.get(plugin.name) and now[plugin.name] != plugin.digest
    )
