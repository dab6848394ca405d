"""Links of pages as the site has them; links in a repository lead to files that a site does not hold."""

import re
from pathlib import Path
from posixpath import normpath

ROOT = Path(__file__).parents[2]
FROM_TOP = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Page of the site → the file of the top folder that it is."""

_FENCE = re.compile(r"(^ *(?:```+|~~~+).*?^ *(?:```+|~~~+)\s*$)", re.MULTILINE | re.DOTALL)
_CODE_OR_LINK = re.compile(r"`[^`]+`|(?<!!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def rewrite_links(markdown: str, folder: str) -> str:
    """Return the text with links as the site has them. folder: of the page, relative to the top folder."""
    pages = {name: page for page, name in FROM_TOP.items()}

    def replace(match: re.Match[str]) -> str:
        text, target = match.groups()
        if target is None or re.match(r"[a-z]+:|#", target):  # code, or an address
            return match[0]
        path, _, anchor = target.partition("#")
        from_top = normpath(f"{folder}/{path}" if folder else path)
        if from_top in pages:
            inside = pages[from_top]
        elif from_top.startswith("docs/"):
            inside = from_top.removeprefix("docs/")
        else:
            return text if "`" in text else f"`{from_top}`" if text in (path, from_top) else f"{text} (`{from_top}`)"
        return f"[{text}]({inside}{'#' * bool(anchor)}{anchor})"

    parts = _FENCE.split(markdown)
    return "".join(part if index % 2 else _CODE_OR_LINK.sub(replace, part) for index, part in enumerate(parts))
