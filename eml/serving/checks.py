"""Checks of a request against the limits, and of what may be told of an item that failed."""

import logging
from collections.abc import Sequence

from eml.errors import ConfigError, DataError, EmlError
from eml.images.identify import ImageError
from eml.images.locate import stays_below
from eml.serving.answers import ItemProblem, ServedImage
from eml.serving.limits import ServingLimits

log = logging.getLogger("eml.serving")

NAMES = 10_000
"""Labels, file names and ids of one request to remove images."""


def check_items(images: int, texts: int, limits: ServingLimits) -> None:
    """Raise a ConfigError unless a request has images or texts, and not too many."""
    if not images + texts:
        raise ConfigError("there is no image, and no text", code="missing-key", parameter="input")
    if images + texts > limits.items:
        text = f"{images + texts:,} images and texts; at most {limits.items:,} are taken at once"
        raise ConfigError(text, code="out-of-range", parameter="input")


def check_texts(texts: Sequence[str], limits: ServingLimits, parameter: str, *, may_be_empty: bool = False) -> None:
    """Raise a ConfigError unless all texts have characters, not too many, and can be kept."""
    for text in texts:
        problem = ""
        if not may_be_empty and not text.strip():
            problem = "must not be empty"
        elif len(text) > limits.text_chars:
            problem = f"has {len(text):,} characters; at most {limits.text_chars:,} are taken"
        elif "\0" in text or not _is_utf8(text):
            problem = "has characters that no text can have"
        if problem:
            raise ConfigError(f"`{parameter}` {problem}", code="invalid-value", parameter=parameter)


def labels_and_names(
    images: Sequence[ServedImage],
    labels: str | Sequence[str],
    file_names: Sequence[str] | None,
    limits: ServingLimits,
) -> tuple[list[str], list[str]]:
    """Return the label and the file name of each image that is to be added to an index.

    Raises:
        DataError: There are not as many as images, or a file name leads to a folder above.
        ConfigError: One is too long, or can be no text.
    """
    all_labels = [labels] * len(images) if isinstance(labels, str) else list(labels)
    names = [image.name for image in images] if file_names is None else list(file_names)
    for values, parameter in ((all_labels, "labels"), (names, "file_names")):
        if len(values) != len(images):
            text = f"{len(images):,} images and {len(values):,} {parameter}; give one for each image"
            raise DataError(text, code="wrong-shape", parameter=parameter)
        check_texts(values, limits, parameter, may_be_empty=True)
    return all_labels, [_index_name(name, must_fit=file_names is not None) for name in names]


def _index_name(name: str, *, must_fit: bool) -> str:
    """Return the name of an image in the index; empty where the client's own name of it is none."""
    if not name or stays_below(name):
        return name
    if must_fit:
        text = "a file name must be relative and lead to no folder above"
        raise DataError(text, code="invalid-value", parameter="file_names")
    return ""


def check_names(count: int) -> None:
    """Raise a ConfigError if a request names too many images to be removed at once."""
    if count > NAMES:
        text = f"{count:,} labels, file names and ids; at most {NAMES:,} are taken at once"
        raise ConfigError(text, code="out-of-range", parameter="ids")


def check_search(k: int, where: str | None, limits: ServingLimits) -> None:
    """Raise a ConfigError unless the number of neighbours and the condition are within the limits."""
    if not 1 <= k <= limits.k:
        raise ConfigError(f"`k` must be 1 to {limits.k:,}, got {k:,}", code="out-of-range", parameter="k")
    if where is not None and len(where) > limits.where_chars:
        text = f"`where` has {len(where):,} characters; at most {limits.where_chars:,} are taken"
        raise ConfigError(text, code="out-of-range", parameter="where")


def check_classify(unknown_share: float | None) -> None:
    """Raise a ConfigError unless a share of unknown images is one."""
    if unknown_share is not None and not 0 < unknown_share < 1:
        text = f"`unknown_share` must be above 0 and below 1, got {unknown_share}"
        raise ConfigError(text, code="out-of-range", parameter="unknown_share")


def item_problem(error: BaseException) -> ItemProblem:
    """Return what a client is told of an item that failed; what is no problem of the item goes to the log alone."""
    if isinstance(error, ImageError):
        return ItemProblem(error.code, error.detail)
    if isinstance(error, EmlError) and error.code == "no-embedding":
        return ItemProblem(error.code, str(error))
    log.error("an item failed", exc_info=error)
    return ItemProblem("internal", "the server could not compute it; its log says why")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
