"""Insightface's verification sets (lfw.bin, cfp_fp.bin, …): a pickle of image files and whether pairs are the same.

A pickle can run any code when it is read. This reader lets it make bytes, text, numbers, lists and tuples, and refuses
it at the first name of a class or a function.
"""

import pickle
from pathlib import Path
from typing import Any

from eml.errors import DataError


class _Plain(pickle.Unpickler):
    """An unpickler that imports nothing. Python 3's protocol 2 writes bytes as a call of `_codecs.encode`."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the only function that plain bytes need; refuse all others."""
        if (module, name) == ("_codecs", "encode"):
            return _latin
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _latin(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("it encodes something else than bytes")
    return text.encode("latin1")


def read_verification_bin(source: Path) -> tuple[list[bytes], list[bool]]:
    """Return the files of 2·P images, neighbours being a pair, and whether each of P pairs is of one person.

    Raises:
        DataError: It is no such pickle, or it would run code.
    """
    try:
        with source.open("rb") as file:
            content = _Plain(file, encoding="bytes").load()
    except Exception as error:  # a pickle's bytes can raise anything
        text = f"{source}: is not a pickle of image files and flags alone ({type(error).__name__}: {error}), and eml "
        raise DataError(f"{text}reads no other", code="damaged-file", parameter="dataset") from error
    if not isinstance(content, list | tuple) or len(content) != 2 or not all(isinstance(c, list) for c in content):
        raise _wrong(source, "must hold a list of images and a list of flags")
    images, same = content
    if not all(isinstance(image, bytes) for image in images):
        raise _wrong(source, "has images that are no bytes of a file")
    if not all(flag in (False, True) for flag in same if isinstance(flag, int)) or not all(
        isinstance(flag, int) for flag in same
    ):
        raise _wrong(source, "has flags that are not True or False")
    if not same or len(images) != 2 * len(same):
        raise _wrong(source, f"has {len(images):,} images and {len(same):,} flags; it needs two images for each")
    return images, [bool(flag) for flag in same]


def _wrong(source: Path, reason: str) -> DataError:
    return DataError(f"{source}: {reason}; fetch it again", code="damaged-file", parameter="dataset")
