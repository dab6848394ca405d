"""Image files that eml may replace: those that say in the file that the same command wrote them."""

from pathlib import Path

from PIL import Image

from eml.errors import OutputError
from eml.files import refuse_pipe, unwritable


def refuse_plot(
    path: Path, made_by: str, parameter: str, *, overwrite: bool, suffixes: tuple[str, ...] = (".png",)
) -> None:
    """Check before the work that an image can be written to `path`.

    Args:
        path: The plot to write.
        made_by: The command that writes it, as in the file's signature (`signature`).
        parameter: The parameter that named the file.
        overwrite: Allow `path` to be any existing file.
        suffixes: Allowed endings of the name, in lower case.

    Raises:
        OutputError: The name has another suffix, is that of a folder or of a file that `made_by` did not write, or
            cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        text = f"{path}: the name of the file must end in {', '.join(suffixes)}"
        raise OutputError(text, code="wrong-suffix", parameter=parameter)
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file", code="not-a-file", parameter=parameter)
    if path.exists() and not overwrite and not _is_made_by(path, made_by):
        text = f"{path}: exists and was not made by {made_by}"
        advice = f"set `overwrite` to replace it, or give another `{parameter}`"
        raise OutputError(f"{text}; {advice}", code="file-exists", parameter=parameter)
    if problem := unwritable(path.parent):
        raise OutputError(f"{problem}. Give another `{parameter}`", code="not-writable", parameter=parameter)


def signature(made_by: str) -> dict[str, str]:
    """Return the PNG text by which `refuse_plot` recognises a file."""
    return {"Software": made_by}


def _is_made_by(path: Path, made_by: str) -> bool:
    try:
        refuse_pipe(path)
        with Image.open(path) as image:
            return image.info.get("Software") == made_by or image.info.get("comment", b"") == made_by.encode()
    except OSError:
        return False
