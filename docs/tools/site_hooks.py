"""MkDocs hooks: bring CHANGELOG.md and CONTRIBUTING.md into the site, and make links leave no page of it broken."""

import re
from pathlib import Path
from posixpath import normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
FROM_TOP = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}

# [text](target) outside of images; the target of a link of a page, without a title.
_LINK = re.compile(r"(?<!!)\[([^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\(([^()\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie in the top folder."""
    for page, name in FROM_TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=rewrite_links(text, "")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files outside of docs/ into plain text: the site does not hold them."""
    return rewrite_links(markdown, "docs")


def rewrite_links(markdown: str, folder: str) -> str:
    """Return the text with links as the site has them, read in a page of the folder (relative to the top folder)."""
    to_page = {name: page for page, name in FROM_TOP.items()}

    def replace(match: re.Match[str]) -> str:
        text, target = match.groups()
        if target.startswith(("http:", "https:", "mailto:", "#")):
            return match[0]
        path, _, anchor = target.partition("#")
        from_top = normpath(f"{folder}/{path}" if folder else path)
        if from_top in to_page:
            inside = to_page[from_top]
        elif from_top.startswith("docs/"):
            inside = path if folder else from_top.removeprefix("docs/")
        else:
            return text if "`" in text or text != path else f"`{from_top}`"
        return f"[{text}]({inside}{'#' * bool(anchor)}{anchor})"

    return _LINK.sub(replace, markdown)
