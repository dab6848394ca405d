"""The pages load from the server alone, and put in what they are given as text."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from eml.serving.routes import page

pytest.importorskip("fastapi")

FILES = sorted(path for path in page.FOLDER.iterdir() if path.is_file())
PALETTE = re.compile(r":root \{.*?\}", re.DOTALL)


def responses(*requests: tuple[str, dict[str, str]]) -> list[Any]:
    from fastapi import FastAPI
    from httpx import ASGITransport, AsyncClient

    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(page.page_routes(lambda: {"needs_key": True}))

    async def ask() -> list[Any]:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://eml") as client:
            return [await client.get(address, headers=headers) for address, headers in requests]

    return asyncio.run(ask())


def test_the_pages_and_their_files_are_served_and_nothing_else() -> None:
    names = [path.name for path in FILES if path.suffix != ".html"]
    index, docs, facts, *files = responses(
        ("/", {}), ("/docs", {}), ("/page/facts", {}), *((f"/page/{n}", {}) for n in names)
    )
    assert index.text == (page.FOLDER / "index.html").read_text(encoding="utf-8")
    assert index.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "docs.js" in docs.text
    assert facts.json() == {"needs_key": True}
    assert [file.content for file in files] == [(page.FOLDER / name).read_bytes() for name in names]
    again, *strays = responses(
        ("/", {"If-None-Match": index.headers["ETag"]}),
        *((f"/page/{name}", {}) for name in ("index.html", "__init__.py", "..%2Froutes%2Fpage.py", "nothing.js")),
    )
    assert (again.status_code, again.content) == (304, b"")
    assert [stray.status_code for stray in strays] == [404] * 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_loads_nothing_from_elsewhere_and_fits_the_policy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|//\w+\.\w+/", text)
    if path.suffix == ".html":
        assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", text)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    if path.suffix == ".js":
        assert not re.search(
            r"\.(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|srcdoc|cssText", text
        )
        assert not re.search(r"localStorage|document\.cookie", text), "a key stays in its tab"
    for name in re.findall(r'(?:src|href)="page/([\w.]+)"|from "\./([\w.]+)"', text):
        assert (page.FOLDER / "".join(name)).is_file()


def test_every_input_has_a_name_and_every_id_of_the_scripts_exists() -> None:
    html = (page.FOLDER / "index.html").read_text(encoding="utf-8") + (page.FOLDER / "docs.html").read_text(
        encoding="utf-8"
    )
    ids = set(re.findall(r'\sid="([\w-]+)"', html))
    labelled = set(re.findall(r'<label for="([\w-]+)"', html)) | set(re.findall(r'<label>.*?id="([\w-]+)"', html))
    for tag in re.findall(r"<(?:input|select)[^>]*>", html):
        (name,) = re.findall(r'\sid="([\w-]+)"', tag)
        assert name in labelled or "aria-label=" in tag, tag
    for reference in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', html):
        assert set(reference.split()) <= ids
    for script in page.FOLDER.glob("*.js"):
        used = set(re.findall(r'(?:byId|say)\("([\w-]+)"', script.read_text(encoding="utf-8")))
        assert used <= ids, script.name


def test_the_colours_are_those_of_the_reports() -> None:
    import eml.reports.rendering

    reports = (eml.reports.rendering.SHARED / "style.css").read_text(encoding="utf-8")
    own = (page.FOLDER / "page.css").read_text(encoding="utf-8")
    assert PALETTE.findall(own)[:2] == PALETTE.findall(reports)[:2]
