"""`GET /v1/images/{id}/thumbnail`: an image of the index made small, for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Response

from eml.serving.routes.base import ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eml.serving.thumbnails import ServedThumbnails

LARGEST_ID = 2**63 - 1
RESPONSES: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (400, 401, 404, 429)}
RESPONSES[200] = {"content": {"image/webp": {}}}


def thumbnail_routes(thumbnails: ServedThumbnails, dependencies: Sequence[Any] = ()) -> APIRouter:
    """Return the route of thumbnails. dependencies: those of FastAPI, such as the one that asks for a key."""
    router = APIRouter(dependencies=list(dependencies))

    @router.get(
        "/v1/images/{id}/thumbnail",
        summary="Return an image of the index, at most 240 pixels wide and high.",
        response_class=Response,
        responses=RESPONSES,
    )
    async def thumbnail(
        id_: Annotated[int, Path(alias="id", ge=0, le=LARGEST_ID, description="Of an image, as answers have it.")],
    ) -> Response:
        data = await thumbnails.get(id_)
        if data is None:
            raise HTTPException(404, "there is no file of this image")
        return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=300"})

    return router
