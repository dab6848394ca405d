"""Pages as one self-contained HTML file. Jinja escapes everything that a template prints."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eml.versions import eml_version

SHARED = Path(__file__).parent
VAGUE = {"pictures", "image", "img", "imgs", "data", "dataset", "images", "photos", "train", "test"}
"""Folder names that say little about their content."""


def render_page(folder: Path, *, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """Render the page.html of a folder, with the common style and scripts and the folder's own page.css and page.js.

    Args:
        folder: The folder of the template. The template can include those of this folder, such as head.html, and
            import the common macros (parts.html), of which `frame` draws an image that a click enlarges.
        filters: Jinja filters, in addition to `number`, `share` and `day`.
        values: Variables of the template.
    """
    script = _join(SHARED / "copy.js", SHARED / "zoom.js", folder / "page.js")
    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "share": share, "day": day, **(filters or {})}
    return environment.get_template("page.html").render(
        style=Markup(_join(SHARED / "style.css", folder / "page.css")),  # from this package, not from the data
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=eml_version(),
        now=datetime.now(UTC).isoformat(),
        **values,
    )


def _join(*files: Path) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


def number(value: float) -> str:
    """Format a number: `12,345`, `2.5`."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}".removesuffix(".0")


def share(value: float) -> str:
    """Format a share as percent with two significant digits; 0 % and 100 % are exact."""
    percent = 100 * value
    if 99.5 <= percent < 100 or 0 < percent < 0.01:
        return "> 99 %" if percent > 50 else "< 0.01 %"
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"


def day(value: str | None) -> str:
    """Format an ISO time as `2025-01-31 12:00`."""
    return value[:16].replace("T", " ") if value else ""


def dataset_title(root: Path) -> str:
    """Return the folder's name, with its parent's if the name alone says little: `shop/images`."""
    parts = root.resolve().parts
    return "/".join(parts[-2:] if parts[-1].lower() in VAGUE else parts[-1:])
