"""The file systems of fsspec: one for each scheme, with settings under which eml's own retries are the only ones."""

import os
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from eml.errors import DataError
from eml.storage.failures import plain_text
from eml.storage.remote_path import RemotePath, is_remote

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub", "https": "aiohttp"}
PACKAGES["http"] = PACKAGES["https"]
"""Scheme → the package that reads it, beside fsspec."""

IN_FLIGHT = 32
"""Requests at once of a process."""
_CONNECT, _READ = 10.0, 60.0  # seconds without an answer
_NO_CACHE = {"use_listings_cache": False}

_lock = threading.Lock()
_opened: dict[tuple[int, str], Any] = {}


def _new_lock() -> None:
    """Forget in a forked process the file systems of its parent, whose threads it does not have."""
    global _lock
    _lock = threading.Lock()
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def file_system(path: RemotePath) -> Any:
    """Return the file system of fsspec that reads a path; the same one for all threads of a process.

    Raises:
        DataError: fsspec is not installed, or not the package that reads the scheme, or its settings are wrong.
    """
    scheme = path.scheme
    with _lock:
        if (opened := _opened.get((os.getpid(), scheme))) is None:
            opened = _opened[os.getpid(), scheme] = _open(scheme)
    return opened


def threads_at(folder: Path) -> int | None:
    """Return how many threads read files of a folder at once: many of a remote one, where waiting takes the time.

    None: as many as a local one needs, which `in_order` knows.
    """
    return IN_FLIGHT if is_remote(folder) else None


def _open(scheme: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise _missing("fsspec", scheme) from error
    try:
        if scheme in ("https", "http"):
            from eml.storage.web_files import WebFileSystem

            return WebFileSystem(skip_instance_cache=True, **_settings(scheme))
        return fsspec.filesystem(scheme, skip_instance_cache=True, **_settings(scheme))
    except ImportError as error:
        raise _missing(PACKAGES.get(scheme, "fsspec"), scheme) from error
    except Exception as error:  # of a package's own kind: a wrong setting, no account name
        text = f"{scheme}://: cannot be opened: {plain_text(error)}. Its settings are those of the environment"
        raise DataError(f"{text}, see docs/remote.md", code="remote-place") from error


def _missing(package: str, scheme: str) -> DataError:
    advice = "pip install 'easy-metric-learning[remote]'"
    if package not in ("fsspec", "aiohttp", "s3fs"):
        advice += f" {package}"
    return DataError(f"{scheme}:// needs the package {package}: {advice}", code="missing-package")


def _settings(scheme: str) -> dict[str, Any]:
    """Return the arguments of a file system: time limits, and no retries of its own."""
    if scheme == "s3":
        from fsspec.config import conf

        own = dict(conf.get("s3", {}).get("config_kwargs", {}))
        limits = {
            "connect_timeout": _CONNECT,
            "read_timeout": _READ,
            "max_pool_connections": 2 * IN_FLIGHT,
            "retries": {"total_max_attempts": 1},
        }
        return _NO_CACHE | {"config_kwargs": limits | own}
    if scheme in ("https", "http"):
        from eml.storage.web_files import client_settings

        return _NO_CACHE | {"encoded": True, "client_kwargs": client_settings(_CONNECT, _READ)}
    return dict(_NO_CACHE) if scheme in ("gs", "az", "abfs", "hf") else {}


def location(path: RemotePath) -> str:
    """Return the path as its file system takes it: the percent-encoded URL of a web server, else without the scheme."""
    if path.scheme in ("https", "http"):
        return f"{path.scheme}://{quote(path.key, safe='/%:[]@~')}"
    return f"/{path.key}" if path.scheme == "memory" else path.key
