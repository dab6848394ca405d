"""Config files: frozen pydantic sections, families picked by `type`, and errors that name file and line.

Knows no domain. A section is a `Strict`, a family a direct subclass of `Choice`. `load` reads YAML and overrides into
one of them, `dump` and `document` write it back, and `schema` describes it to editors.
"""

from eml.config.loading import load
from eml.config.model import Choice, Strict
from eml.config.paths import ConfigPath, NameOrFolder
from eml.config.plugins import PluginNames, load_plugins
from eml.config.schema import schema
from eml.config.yaml_writer import document, dump

__all__ = [
    "Choice",
    "ConfigPath",
    "NameOrFolder",
    "PluginNames",
    "Strict",
    "document",
    "dump",
    "load",
    "load_plugins",
    "schema",
]
