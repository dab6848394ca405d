"""The page in the browser and the page of the API: files of `eml/serving/page/`, which load nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from eml.files import bytes_digest

FOLDER = Path(__file__).parents[1] / "page"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PAGES = {"/": "index.html", "/docs": "docs.html"}
"""Address → file."""

PageFacts = Callable[[], dict[str, Any]]


def page_routes(facts: PageFacts, *, page: bool = True, docs: bool = True) -> APIRouter:
    """Return the routes of the pages. None needs a key: they hold nothing of the index.

    Args:
        facts: Returns what the page needs to know before it has a key: `needs_key`, `has_page`, `has_docs`,
            `has_index`, `takes_text` and the `limits` of an image.
        page: Whether there is the page to drop a photo on.
        docs: Whether there is the page of the API.
    """
    router = APIRouter(include_in_schema=False)
    files = {path.name: _PageFile(path) for path in sorted(FOLDER.iterdir()) if path.suffix in MEDIA_TYPES}

    @router.get("/page/facts")
    async def page_facts() -> dict[str, Any]:
        return facts()

    @router.get("/page/{name}")
    async def page_file(name: str, request: Request) -> Response:
        if name not in files or name in PAGES.values():
            raise HTTPException(404)
        return await files[name].response(request)

    shown = {"/": page, "/docs": docs}
    for address, name in PAGES.items():
        if not shown[address]:
            continue
        router.add_api_route(address, files[name].response, methods=["GET", "HEAD"])
    return router


class _PageFile:
    """A file of the page, read once. A browser asks each time whether it has changed."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._media_type = MEDIA_TYPES[path.suffix]
        self._headers = {"Cache-Control": "no-cache", "ETag": f'"{bytes_digest(self._content)}"'}

    async def response(self, request: Request) -> Response:
        """Return the file, or 304 where the browser has it."""
        if request.headers.get("If-None-Match") == self._headers["ETag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, media_type=self._media_type, headers=self._headers)
