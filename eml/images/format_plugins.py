"""Image formats that packages of their own decode where they are installed: HEIC, JPEG XL, AVIF in an older Pillow.

Such a package is imported when the first file of its format is read, since most folders have none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from PIL import Image

_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_AVIF_BRANDS = (b"avif", b"avis")
_ANY_BRANDS = (b"mif1", b"msf1")  # of HEIC and AVIF; the brands after it say which
_JXL_STARTS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
STARTS = 64
"""Bytes of a file by which its format is known."""


@dataclass(frozen=True)
class FormatPlugin:
    """A format that a package adds to Pillow.

    Attributes:
        format: Pillow's name of it.
        name: The name for people.
        modules: Of the packages that add it; the first that is installed is used.
        advice: How to install one.
        register: Makes Pillow know it.
    """

    format: str
    name: str
    modules: tuple[str, ...]
    advice: str
    register: Callable[[str], None]


def _register_heif(module: str) -> None:
    import_module(module).register_heif_opener(thumbnails=False, decode_threads=1)


def _register_jxl(module: str) -> None:
    import_module(module)
    import_module(f"{module}.JpegXLImagePlugin").DECODE_THREADS = 0  # type: ignore[attr-defined]  # eml's own decode


def _register_avif(module: str) -> None:
    import_module(module)


HEIF = FormatPlugin(
    "HEIF",
    "HEIC",
    ("pi_heif", "pillow_heif"),
    "to read it: pip install 'easy-metric-learning[heic]'; or convert it to PNG or JPEG",
    _register_heif,
)
JXL = FormatPlugin(
    "JXL",
    "JPEG XL",
    ("pillow_jxl",),
    "to read it: pip install 'easy-metric-learning[jxl]'; or convert it to PNG or JPEG",
    _register_jxl,
)
AVIF = FormatPlugin(
    "AVIF",
    "AVIF",
    ("pillow_avif",),
    "to read it: pip install --upgrade pillow (11.3 or later); or convert it to PNG or JPEG",
    _register_avif,
)


def plugin_for(start: bytes) -> FormatPlugin | None:
    """Return the format of a file that begins so, where a package adds it to Pillow."""
    if start.startswith(_JXL_STARTS):
        return JXL
    if start[4:8] != b"ftyp":
        return None
    brand, others = start[8:12], [start[place : place + 4] for place in range(16, len(start) - 3, 4)]
    if brand in _AVIF_BRANDS or (brand in _ANY_BRANDS and set(_AVIF_BRANDS) & set(others)):
        return AVIF
    return HEIF if brand in (*_HEIC_BRANDS, *_ANY_BRANDS) else None


@cache
def is_there(plugin: FormatPlugin) -> bool:
    """Return whether Pillow knows a format, after the first package of it that is installed was imported."""
    Image.init()
    if plugin.format in Image.OPEN:
        return True
    for module in plugin.modules:
        if find_spec(module) is not None:
            plugin.register(module)
            break
    return plugin.format in Image.OPEN
