"""A page as one HTML file that needs nothing else. Whatever a template prints is escaped by Jinja."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

SHARED = Path(__file__).parent


def render_page(folder: Path, *, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """page.html of the folder; in it the style and script of all pages, and page.css and page.js where it has them.

    Templates of this folder can be included. filters: beside number, share and day.
    """
    script = _joined(SHARED / "copy.js", folder / "page.js")
    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "share": share, "day": day, **(filters or {})}
    return environment.get_template("page.html").render(
        style=Markup(_joined(SHARED / "style.css", folder / "page.css")),  # ours, not the data's
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=version("easy-metric-learning"),
        now=datetime.now(UTC).isoformat(),
        **values,
    )


def _joined(*files: Path) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


def number(value: float) -> str:
    """`12,345`, `2.5`."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}".removesuffix(".0")


def share(value: float) -> str:
    """A share as percent with two digits that count; never 0 % or 100 % for what is not."""
    percent = 100 * value
    if 99.5 <= percent < 100 or 0 < percent < 0.01:
        return "> 99 %" if percent > 50 else "< 0.01 %"
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"


def day(value: str | None) -> str:
    """`2025-01-31 12:00` of an ISO time."""
    return value[:16].replace("T", " ") if value else ""
