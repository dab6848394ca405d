"""The files of docs/plugins.md: every Python block whose first line is the comment `# NAME.py`."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)


def page_files() -> dict[str, str]:
    """Return name → text of the plugins on the page."""
    named = [(re.match(r"# (\w+\.py)\n", block), block) for block in blocks("python")]
    return {match[1]: block for match, block in named if match is not None}


def write_files(folder: Path) -> list[Path]:
    """Write the plugins of the page into a folder, and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in page_files()]
    for path in paths:
        path.write_text(page_files()[path.name], encoding="utf-8")
    return paths
