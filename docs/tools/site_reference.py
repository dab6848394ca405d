"""Make the reference pages of the site from the package's models and docstrings; they are never committed."""

from command_pages import command_pages
from config_pages import config_pages
from python_pages import CLASSES, FUNCTIONS, python_pages

Nav = list[dict[str, "str | Nav"]]


def reference_pages() -> dict[str, str]:
    """Return path under docs/ → Markdown, for each page under reference/."""
    pages = {f"commands/{name}": text for name, text in command_pages().items()}
    pages |= config_pages()
    pages |= {f"python/{name}": text for name, text in python_pages().items()}
    return {f"reference/{name}": text for name, text in pages.items()}


def reference_nav(pages: dict[str, str]) -> dict[str, Nav]:
    """Return placeholder in the nav of mkdocs.yml → the pages that take its place."""
    titles = {name: title_of(text) for name, text in pages.items()}
    titles |= {f"reference/python/{name}.md": title for name, (title, *_) in {**FUNCTIONS, **CLASSES}.items()}
    nav: dict[str, Nav] = {
        f"reference/{start}": [{titles[name]: name} for name in pages if name.startswith(f"reference/{folder}")]
        for start, folder in (("commands/index.md", "commands/"), ("python/index.md", "python/"))
    }
    families = [
        {titles[name].removeprefix("The family "): name} for name in pages if name.startswith("reference/families/")
    ]
    return nav | {"reference/config.md": [{"All keys": "reference/config.md"}, *families]}


def title_of(page: str) -> str:
    """Return the first heading of a page as plain text."""
    return page.partition("\n")[0].lstrip("# ").replace("`", "")
