"""Import the file or module of a plugin; what goes wrong becomes an error with the line in it."""

import hashlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from eml.config.registries import FILE_MODULE, MemberError, forget, undone_on_error
from eml.config.text import closest, listed
from eml.errors import ConfigError

SUFFIX = ".py"


def read_source(name: str, parameter: str) -> tuple[Path, bytes]:
    """Return a plugin's file, without links, and its bytes."""
    path = Path(name)
    if path.suffix != SUFFIX:
        text = f"`{parameter}`: {name}: is no Python file; give a file whose name ends in {SUFFIX}"
        raise ConfigError(text, code="missing-plugin", parameter=parameter)
    if path.is_dir():
        text = f"`{parameter}`: {name}: is a folder; give a Python file, such as one of the folder"
        raise ConfigError(text, code="missing-plugin", parameter=parameter)
    if not path.is_file():
        names = [file.name for file in path.parent.glob(f"*{SUFFIX}")] if path.parent.is_dir() else []
        near = closest(path.name, names)
        where = f"{path.parent} has no such file" if path.parent.is_dir() else f"there is no folder {path.parent}"
        hint = f" (did you mean {near!r}?)" if near else ""
        text = f"`{parameter}`: {path.name}: {where}{hint}. A path is relative to the folder of the config that names "
        text += "it, elsewhere to the current folder"
        raise ConfigError(text, code="missing-plugin", parameter=parameter)
    try:
        return path.resolve(), path.read_bytes()
    except OSError as error:
        text = f"`{parameter}`: {name}: cannot be read: {error.strerror or error}"
        raise ConfigError(text, code="not-readable", parameter=parameter) from error


def module_name(path: Path) -> str:
    """Return the name of the module of a file: another one for each path, so that equal names do not collide."""
    place, word = hashlib.sha256(os.fsencode(path)).hexdigest()[:8], re.sub(r"\W", "_", path.stem)
    return f"{FILE_MODULE}{word}_{place}"


def run_source(name: str, path: Path, source: bytes) -> ModuleType:
    """Make a module of a file's bytes under a name, in the place of the one that has it; that stays on an error."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "the file ends in .py"
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    try:
        with undone_on_error():
            forget(name)
            code = compile(source, str(path), "exec")
            sys.modules[name] = module
            exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        raise
    return module


@contextmanager
def importing(name: str, module: str, file: Path | None, parameter: str) -> Iterator[None]:
    """Turn what goes wrong in the block, where a plugin is imported, into a ConfigError; keep its prints off stdout."""
    try:
        with undone_on_error(), redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if file is None and error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise _no_module(name, error.name, parameter) from error
        raise _failed(name, module, file, error, parameter) from error
    except BaseException as error:  # of any type: the code is the user's, and may call sys.exit
        raise _failed(name, module, file, error, parameter) from error


def _no_module(name: str, missing: str, parameter: str) -> ConfigError:
    """Return the error for a module that Python does not find."""
    as_file = Path(*name.split(".")).with_suffix(SUFFIX)
    hint = f". A file is given with its suffix, {as_file}, relative to the folder of the config that names it"
    parent, _, last = missing.rpartition(".")
    if parent:
        import pkgutil

        inside = [module.name for module in pkgutil.iter_modules(getattr(sys.modules[parent], "__path__", []))]
        near = closest(last, inside)
        hint = f" (did you mean '{parent}.{near}'?)" if near else f"; {parent} has: {listed(inside)}"
    text = f"`{parameter}`: {name}: there is no module {missing!r} in this environment ({sys.executable}){hint}"
    return ConfigError(text, code="missing-plugin", parameter=parameter)


def _failed(name: str, module: str, file: Path | None, error: BaseException, parameter: str) -> ConfigError:
    """Return the error for a plugin that raises, with the line in it."""
    place = str(file) if file is not None else _file_of(module) or name
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == place else None
    if line is None:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == place), None)
    where = place if line is None else f"{place}:{line}"
    reason = error.msg if isinstance(error, SyntaxError) else str(error).strip().partition("\n")[0]
    kind = "" if isinstance(error, MemberError) else type(error).__name__
    code = error.code if isinstance(error, MemberError) else "plugin-failed"
    advice = "; give it another name" if code == "type-taken" else ""
    text = f"{where}: plugin {name} cannot be imported: {': '.join(filter(None, [kind, reason]))}{advice}"
    return ConfigError(text, code=code, parameter=parameter)


def _file_of(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None else None


def registers_elsewhere(module: str) -> bool:
    """Return whether a module has put something into timm's registry of models, which is a way to bring a backbone."""
    registry: Any = sys.modules.get("timm.models._registry")
    return any(entry.__module__ == module for entry in getattr(registry, "_model_entrypoints", {}).values())


def digest_of_source(source: bytes) -> str:
    """Return SHA-256 of a file's bytes as 64 hex digits."""
    return hashlib.sha256(source).hexdigest()
