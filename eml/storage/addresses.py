"""Checks of the text of an address, before it becomes a path."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_path(text: str) -> Path:
    """Return the local path of what follows `file://`. Raises ValueError for another host, and for no path."""
    host, slash, path = text.partition("/")
    if host.lower() not in ("", "localhost"):
        raise ValueError(
            f"must be a file of this machine, got file://{host}/…. Write file:///FOLDER, or the path alone"
        )
    if not slash:
        raise ValueError("must have a path after file://, such as file:///FOLDER")
    path = unquote(path, errors="surrogateescape")
    return Path(path) if os.name == "nt" and re.match(r"[A-Za-z]:", path) else Path(f"/{path}")


def check_url(text: str, scheme: str) -> None:
    """Raise ValueError for a URL that holds a secret, or that a path cannot hold."""
    rest = text.partition("://")[2]
    host, _, path = rest.partition("/")
    parts = None
    if scheme in ("http", "https"):
        shown = f"{scheme}://{'***@' if '@' in host else ''}{host.rpartition('@')[2].partition('?')[0]}"
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise ValueError(f"must be an address such as {scheme}://host/folder, got {shown} ({error})") from None
        try:
            _ = parts.port
        except ValueError:
            raise ValueError(f"must have a port from 0 to 65535, got {shown}") from None
    if "@" in host and scheme not in ("hf", "abfs", "az"):
        raise ValueError(
            f"must not hold credentials, got {scheme}://***@{host.rpartition('@')[2]}/…. Give them in the environment, "
            "see docs/remote.md"
        )
    if ":" in host.partition("@")[0] and "@" in host:
        raise ValueError(f"must not hold credentials, got {scheme}://***. Give them in the environment")
    if (parts is not None and (parts.query or parts.fragment)) or (scheme != "memory" and "?" in rest):
        raise ValueError(
            f"must not have a query, which may be a signature, got {scheme}://{host}/…?***. "
            "Give the credentials in the environment, see docs/remote.md"
        )
    if not host:
        raise ValueError(f"must name a {'host' if parts is not None else 'bucket'} after {scheme}://")
    inner = path.rstrip("/").split("/") if path.rstrip("/") else []
    if any(part in ("", ".", "..") for part in inner):
        raise ValueError(f"must not have '..', '.' or an empty part after {scheme}://{host}/, got {text}")
