"""The thumbnails of the images that a page of answers shows, each made once."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext

from eml.images.thumbnails import Thumbnail
from eml.indexing.answers import ImagePlace
from eml.progress import Progress
from eml.threads import in_order

THUMBNAIL = 240  # pixels of the longer side: an image is shown with about 120, and larger when it is enlarged


def place_thumbnails(
    places: Iterable[ImagePlace], progress: Progress | None = None
) -> Callable[[ImagePlace], Thumbnail]:
    """Return a function that gives the thumbnail of each place.

    Args:
        places: Where the images are.
        progress: Shows the images that are read.
    """
    unique = list({_key(place): place for place in places}.values())
    small: dict[tuple[object, ...], Thumbnail] = {}
    with progress("thumbnails", len(unique)) if progress and unique else nullcontext(lambda count: None) as advance:
        for place, image in zip(unique, in_order(lambda place: place.thumbnail(THUMBNAIL), unique), strict=True):
            small[_key(place)] = image
            advance(1)
    return lambda place: small[_key(place)]


def _key(place: ImagePlace) -> tuple[object, ...]:
    return (place.path, place.box, None if place.path else id(place.pixels))
