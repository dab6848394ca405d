"""Which PNG files eml may write over: those that say that the same command of eml made them."""

from pathlib import Path

from PIL import Image

from eml.errors import OutputError
from eml.files import unwritable


def refuse_plot(path: Path, made_by: str, option: str, *, overwrite: bool) -> None:
    """Raises OutputError when `path` is no name of a PNG, is a file that `made_by` did not make, or cannot be written.

    made_by: a command, and the PNG's text "Software" (`signature`). option: that which named the file.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path}: a PNG is written, so its name ends in .png")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite and not _made_by(path, made_by):
        raise OutputError(f"{path}: exists and was not made by {made_by}; give --overwrite or another {option}")
    if told := unwritable(path.parent):
        raise OutputError(f"{told}. Give another {option}")


def signature(made_by: str) -> dict[str, str]:
    """The PNG's text by which `refuse_plot` knows it again."""
    return {"Software": made_by}


def _made_by(path: Path, made_by: str) -> bool:
    try:
        with Image.open(path) as image:
            return bool(image.info.get("Software") == made_by)
    except OSError:
        return False
