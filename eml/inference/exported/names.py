"""The names by which a file of `eml export` is told from a checkpoint."""

import os
from pathlib import Path

from eml.inference.exported.runtimes import suffixes
from eml.models.pointers import FAILED


def is_exported(name: str | os.PathLike[str]) -> bool:
    """Return whether a name is that of an exported file, also of one whose proof failed, and not of a folder."""
    path = Path(name)
    own = path.with_suffix("") if path.suffix.lower() == FAILED else path
    return own.suffix.lower() in suffixes() and not path.is_dir()


def proof_files(out: Path, *, is_folder: bool) -> tuple[Path, Path]:
    """Return where the JSON and the page of a proof belong: beside the file, or in the folder."""
    if is_folder:
        return out / "proof.json", out / "proof.html"
    if out.suffix == FAILED:  # those of an earlier export that passed stay
        return out.with_name(f"{out.name}.proof.json"), out.with_name(f"{out.name}.proof.html")
    return out.with_suffix(".proof.json"), out.with_suffix(".proof.html")
