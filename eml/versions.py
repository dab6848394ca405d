"""The versions of eml and of other packages; eml's own stands in pyproject.toml alone."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OWN = "easy-metric-learning"
UNKNOWN = "unknown"


@cache
def eml_version() -> str:
    """Return the version of eml.

    It is that of the pyproject.toml beside the package, where the package lies in its source tree, installed or not;
    else the version that was installed; `unknown` for a package that was copied without either.
    """
    return _source_version(Path(__file__).parent.parent / "pyproject.toml") or _installed(OWN) or UNKNOWN


def version_of(package: str) -> str | None:
    """Return the version of an installed package, by the name that pip knows, or None; of eml as `eml_version`."""
    return eml_version() if package == OWN else _installed(package)


def _source_version(file: Path) -> str | None:
    """Return the version in a pyproject.toml of eml; None for another project's, or none."""
    import tomllib

    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return None
    return str(project["version"]) if project.get("name") == OWN and "version" in project else None


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
