"""Name the plugins of this process to the commands that follow."""

import shlex

from eml.imported import is_imported

WITH_PLUGINS = frozenset(
    (
        *("backbones", "cache", "calibrate", "classify", "compress", "embed", "ensemble", "evaluate", "export"),
        *("index add", "index build", "init", "margins", "probe", "report", "search", "serve", "suspects"),
        *("sweep", "text", "train"),
    )
)
"""The commands whose config has a field `plugins`."""


def given_plugins(line: str | None) -> str | None:
    """Return a command line with an option for each plugin of this process, where its command needs that."""
    if line is None or not is_imported("eml.config.plugins"):
        return line
    from eml.config.plugins import plugin_options
    from eml.inference.exported.names import is_exported

    words = shlex.split(line)
    if any(map(is_exported, words)):  # such a file needs none
        return line
    takes_them = {" ".join(words[1:2]), " ".join(words[1:3])} & WITH_PLUGINS
    has_them = "--plugin" in words or (words[1:2] in (["train"], ["sweep"]) and "--resume" not in words)  # its config
    if not takes_them or has_them:
        return line
    return " ".join(filter(None, (line, shlex.join(plugin_options()))))
