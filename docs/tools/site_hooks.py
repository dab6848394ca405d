"""MkDocs hooks: the reference, the pages of the top folder, and links that hold on the site."""

import re
from html import escape
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_links import FROM_TOP, ROOT, rewrite_links
from site_reference import reference_nav, reference_pages

_PAGE_LINK = re.compile(r"\[`?(?:docs/)?(\w+\.md)`?\]\((\1)")
_CODE_OR_LINK = re.compile(r"(<(a|pre|h[1-6]|svg)\b.*?</\2>|<[^>]*>)", re.DOTALL)
_IMAGE = re.compile(r'(<a\b[^>]*>\s*)?(<img [^>]*src="([^"]+)"[^>]*>)')
_NAMED_PAGE = re.compile(r"\bdocs/(\w+\.md)\b")

_generated: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the reference, and put its pages into the nav."""
    _generated.clear()
    _generated.update(reference_pages())
    config.nav = _with_pages(config.nav, reference_nav(_generated))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference and of the top folder."""
    from_top = {page: rewrite_links((ROOT / name).read_text("utf-8"), "") for page, name in FROM_TOP.items()}
    for page, text in {**_generated, **from_top}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files outside of docs/ into plain text: the site does not hold them.

    A link whose text is the name of a page shows the page's title.
    """
    titles = {file.src_uri: str(file.page.title) for file in files.documentation_pages() if file.page is not None}
    is_own = page.file.src_uri in {*_generated, *FROM_TOP}
    text = markdown if is_own else rewrite_links(markdown, "docs")
    return _PAGE_LINK.sub(lambda match: f"[{titles.get(match[1], match[1])}]({match[2]}", text)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link the pages that a docstring names as docs/NAME.md, and each image to itself, which a phone then enlarges."""

    def link(match: re.Match[str]) -> str:
        file = files.get_file_from_path(match[1])
        if file is None or file.page is None:
            return match[0]
        title = escape(str(file.page.title), quote=False)
        return title if file is page.file else f'<a href="{file.url_relative_to(page.file)}">{title}</a>'

    parts = _CODE_OR_LINK.split(html)  # text, element, its name, text, …
    parts[::3] = [_NAMED_PAGE.sub(link, text) for text in parts[::3]]
    html = "".join(part for index, part in enumerate(parts) if index % 3 < 2)
    return _IMAGE.sub(lambda match: match[0] if match[1] else f'<a href="{match[3]}">{match[2]}</a>', html)


def _with_pages(nav: Any, pages: dict[str, Any]) -> Any:
    """Return the nav with pages in place of their placeholders."""
    if isinstance(nav, list):
        return [_with_pages(item, pages) for item in nav]
    if isinstance(nav, dict):
        return {title: _with_pages(item, pages) for title, item in nav.items()}
    return pages.get(nav, nav)
