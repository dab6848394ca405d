"""A small data set to try eml with: characters drawn in the fonts that matplotlib ships, one class per character."""

import hashlib
import shutil
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from eml.errors import DataError, OutputError
from eml.files import TEMPORARY_PREFIX

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

SIDE = 64  # pixels
EM = 44  # pixels: the widest bold capital and an accent on a capital still fit, turned and enlarged
BASELINE = 18  # pixels above the lower edge
COPIES = 2  # images of a character per font and style

LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz" + "ÆŒÞßæœðþøŁŋƒəɥɮɲɷɹʃʇʌʎʒʔʞɖɟɤʁʄʐ"
GREEK = "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθιλμξπρςστφχψω" + "ϑϖϟϡϘϰ"
CYRILLIC = "БДИЛУЦЧШЪЫЬЭЮЯбвджзлмнфцчшъыьэюя" + "ЂЄЉЊђљњҐѢЋџ"
DIGITS = "0123456789"
SIGNS = "!#$%&()+/<=>?@[^{}" + "£¤¥§©®±¶¿×«»€№™∂†‡…¼½¾“„"
# The same image with three labels: the trap that `eml filter --dedup --scope dataset --threshold 0` must find. All of a
# group are drawn as its first: STIX's outlines differ by some thousandths of an em, which can flip a bit of the hash.
# Left out: other homoglyphs (B/Β/В, c/с, κ/к, З/3, I/l …) and characters that look alike in italics (п/n, т/m).
HOMOGLYPHS = ("AΑА", "OΟО")

FONTS = (
    *(f"DejaVu{f}{s}" for f in ("Sans", "SansMono") for s in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{s}" for s in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{s}" for s in ("", "Bol", "Italic", "BolIta")),
)


@dataclass(frozen=True)
class Jitter:
    """The changes that set one copy of one font apart; the same for every character."""

    matrix: NDArray[np.float64]  # (2, 2), applied to outlines around the image's middle
    shift: NDArray[np.float64]  # (2,), pixels
    ink: NDArray[np.float64]  # (3,), 0 to 255
    paper: NDArray[np.float64]  # (SIDE, SIDE, 3), 0 to 255
    grain: NDArray[np.float64]  # (SIDE, SIDE, 1), added to ink and paper
    blur: float  # pixels


def draw_images(
    folder: Path,
    *,
    characters: Iterable[str] | None = None,
    copies: int = COPIES,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Draw a folder per character into `folder`.

    An image depends on character, font, style and copy alone, and is the same for homoglyphs.

    Args:
        folder: A new or empty folder.
        characters: The characters to draw; None draws all.
        copies: Images of a character per font and style.
        progress: Called with the number of images newly drawn.

    Returns:
        The number of images.

    Raises:
        OutputError: `folder` is not empty.
        DataError: matplotlib lacks a font.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        text = f"{folder}: is not an empty folder. Give another `folder`; images are drawn only into a new one"
        raise OutputError(text, code="folder-not-empty", parameter="folder")
    chosen = list(characters) if characters is not None else all_characters()
    fonts = font_files()
    with _new_folder(folder) as temporary:
        for character in chosen:
            (temporary / class_name(character)).mkdir()
        for font, file in fonts.items():
            outlines = [_outline(character, file) for character in chosen]
            for copy in range(copies):
                jitter = jitter_of(font, copy)
                for character, outline in zip(chosen, outlines, strict=True):
                    image = _image(outline, jitter)
                    image.save(temporary / class_name(character) / f"{font.lower()}-{copy}.png", compress_level=1)
                if progress:
                    progress(len(chosen))
    return len(chosen) * len(fonts) * copies


def all_characters() -> list[str]:
    """Return all characters, without repetition."""
    return list(dict.fromkeys(LATIN + GREEK + CYRILLIC + DIGITS + SIGNS + "".join(HOMOGLYPHS)))


def class_name(character: str) -> str:
    """Return the character's Unicode name as a folder name for any system: 'A' is latin_capital_a."""
    name = unicodedata.name(character).replace(" LETTER", "")
    return name.lower().replace(" ", "_").replace("-", "_")


def font_files() -> dict[str, Path]:
    """Return the font files by name. Raises DataError for fonts that matplotlib's data folder lacks."""
    from matplotlib import get_data_path

    folder = Path(get_data_path()) / "fonts" / "ttf"
    files = {font: folder / f"{font}.ttf" for font in FONTS}
    missing = [file for file in files.values() if not file.is_file()]
    if missing:
        advice = "Run: pip install --force-reinstall matplotlib"
        raise DataError(
            (f"{file}: this font of matplotlib is missing. {advice}" for file in missing), code="missing-file"
        )
    return files


def jitter_of(font: str, copy: int) -> Jitter:
    """Draw the changes of one copy of one font, seeded by a hash of both (equal on every machine)."""
    seed = hashlib.blake2b(f"{font}/{copy}".encode(), digest_size=8).digest()
    random = np.random.default_rng(int.from_bytes(seed, "big"))
    angle, shear = np.radians(random.uniform(-10, 10)), random.uniform(-0.15, 0.15)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.diag(random.uniform(0.86, 1.05, size=2))
    shift = random.uniform(-3, 3, size=2)
    ink = random.uniform(0, 60) + random.uniform(-6, 6, size=3)
    paper = random.uniform(215, 250) + random.uniform(-6, 6, size=3)
    slope = random.uniform(-10, 10, size=2)
    y, x = np.mgrid[-0.5 : 0.5 : SIDE * 1j, -0.5 : 0.5 : SIDE * 1j]
    shade = (slope[0] * x + slope[1] * y)[..., None]
    grain = random.uniform(-1, 1, size=(SIDE, SIDE, 1)) * random.uniform(1, 5)
    return Jitter(rotation @ [[1, shear], [0, 1]] @ stretch, shift, ink, paper + shade, grain, random.uniform(0, 0.8))


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, renamed to it at the end; files are not synced, which takes 3 ms each."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rmdir()
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}", code="not-writable") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _outline(character: str, font: Path) -> "Outline":
    """Return the character's outline in pixels, unhinted, its ink centred horizontally, on a fixed baseline."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    drawn = next((group[0] for group in HOMOGLYPHS if character in group), character)
    path = TextPath((0, 0), drawn, size=EM, prop=FontProperties(fname=str(font)))
    x = np.concatenate(path.to_polygons())[:, 0]
    return path.transformed(Affine2D().translate(-(x.min() + x.max()) / 2, BASELINE - SIDE / 2))


def _image(outline: "Outline", jitter: Jitter) -> Image.Image:
    """Draw an outline in RGB, SIDE × SIDE."""
    ink = _coverage(outline, jitter)[..., None]
    mixed = jitter.paper * (1 - ink) + jitter.ink * ink + jitter.grain
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def _coverage(outline: "Outline", jitter: Jitter) -> NDArray[np.float64]:
    """(SIDE, SIDE) share of each pixel that is ink, in [0, 1]."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Affine2D

    renderer = RendererAgg(SIDE, SIDE, 72)
    context = renderer.new_gc()
    context.set_linewidth(0)
    context.set_snap(False)
    (a, b), (c, d) = jitter.matrix
    e, f = jitter.shift + SIDE / 2
    renderer.draw_path(context, outline, Affine2D.from_values(a, c, b, d, e, f), (0.0, 0.0, 0.0))
    alpha = np.asarray(renderer.buffer_rgba())[..., 3]
    return np.asarray(Image.fromarray(alpha).filter(ImageFilter.GaussianBlur(jitter.blur)), np.float64) / 255
