"""Copying the result of a command to a remote place, where its user asks for that."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eml.errors import OutputError
from eml.progress import Progress, Report

if TYPE_CHECKING:
    from eml.storage.upload import Upload


def check_upload(target: Path, *, overwrite: bool) -> None:
    """Raise an OutputError before the work where nothing could be copied to the place after it."""
    from eml.storage.upload import check_target

    if _is_first():
        check_target(target, overwrite=overwrite)


def upload_result(
    results: Sequence[Path], target: Path, *, overwrite: bool, report: Report, progress: Progress
) -> None:
    """Copy what a command wrote, and report where it is.

    Args:
        results: The files and folders.
        target: The place.
        overwrite: Allow to replace files of others there.
        report: Receives the line.
        progress: Shows the bytes.

    Raises:
        OutputError: It could not be copied; the text names the command that copies it.
    """
    from eml.files import from_here
    from eml.storage import is_remote

    if not _is_first() or not results:
        return
    sources = with_sidecars(results)
    try:
        done = upload_with_bar(sources, target, progress, overwrite=overwrite)
    except OutputError as error:
        address = str(target) if is_remote(target) else target.absolute().as_uri()
        words = ["eml", "upload", *(str(from_here(path)) for path in sources), "--to", address]
        text = f"{error.problems[0]}. What the command made is here and complete; to copy it, run: {shlex.join(words)}"
        raise OutputError(text, code="not-uploaded", parameter="upload_to") from error
    report(f"copied {done.files:,} files, {done.bytes / 1e6:,.1f} MB, to {target}")


def with_sidecars(paths: Sequence[Path]) -> list[Path]:
    """Return files and folders, each once, with the sidecars that lie beside them."""
    sidecars = [path.with_name(f"{path.name}.eml.json") for path in paths]
    return list(dict.fromkeys([*paths, *(path for path in sidecars if path.is_file())]))


def upload_with_bar(sources: Sequence[Path], target: Path, progress: Progress, *, overwrite: bool) -> Upload:
    """Copy files and folders with a bar of the bytes."""
    from eml.storage.upload import local_files, upload

    total = sum(path.stat().st_size for path in local_files(sources).values())
    with progress(f"copying to {target.name}", total) as advance:
        return upload(sources, target, overwrite=overwrite, advance=advance)


def _is_first() -> bool:
    """Return whether this is the first of several processes, which alone writes."""
    return os.environ.get("RANK", "0") == "0"
