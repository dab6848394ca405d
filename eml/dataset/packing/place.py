"""The folder that packed files go to: what an earlier pack wrote there, and what is the user's and must stay."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from eml.dataset.packing.plan import FOLDER, PackPlan
from eml.dataset.scanning.packed_listing import MANIFEST
from eml.dataset.sidecar import SIDECAR_ENDING, edited_by_hand, sidecar_path, written_by_eml
from eml.errors import OutputError
from eml.files import digest, digest_of, is_loop, is_within
from eml.json_files import read_json
from eml.storage.remote_path import is_remote

README = "README.md"
TABLES = ("dataset_info", "dataset_merged", "dataset_info_filtered", "dataset_train", "dataset_test", "folds")
"""Stems of tables that later commands look for; a table of another name becomes the first."""
_MOST_NAMED = 5


@dataclass(frozen=True)
class PackedShard:
    """A packed file that is written.

    Attributes:
        file: Its name, relative to the folder.
        images: In it.
        bytes: Of the file.
        digest: blake2b-128 of its bytes.
        left_out: Images that could not be read, each with the reason.
    """

    file: str
    images: int
    bytes: int
    digest: str
    left_out: list[tuple[str, str, str]]


@dataclass(frozen=True)
class FileFacts:
    """Hold the facts that the list of packed files has of one."""

    images: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class Manifest:
    """Hold the facts that an earlier pack wrote: its plan's digest, the packed files, and the digests of its pages."""

    plan: str
    files: dict[str, FileFacts]
    pages: dict[str, str] = field(default_factory=dict)


def read_manifest(folder: Path) -> Manifest | None:
    """Return the list of packed files of a folder, None where there is none or it is none of `eml pack`."""
    try:
        manifest: Manifest = read_json(folder / MANIFEST, Manifest)
    except (ValueError, OSError):
        return None
    return manifest if manifest.files and all(map(_is_packed_name, manifest.files)) else None


def _is_packed_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == len(PurePosixPath(name).parts) == 2 and parts[0] == FOLDER and parts[1] != ".."


def packed_already(plan: PackPlan, out: Path) -> list[PackedShard] | None:
    """Return the packed files of a folder where they are those of the plan to the last bit; else None.

    All are read once for their digests, but only where the plan is the same and all have the size that they should.
    """
    manifest = read_manifest(out)
    if manifest is None or manifest.plan != plan.digest or not manifest.files.keys() <= set(plan.files):
        return None
    files = manifest.files.items()
    if any(not (out / name).is_file() or (out / name).stat().st_size != own.bytes for name, own in files):
        return None
    if any(digest(out / name) != own.digest for name, own in files):
        return None
    return [PackedShard(name, own.images, own.bytes, own.digest, []) for name, own in files]


def check_place(out: Path, *, overwrite: bool) -> bool:
    """Return whether a folder that an earlier pack wrote is to be replaced.

    Raises:
        OutputError: Something else is there, or it may not be replaced.
    """
    if is_loop(out) or (out.exists() and not out.is_dir()):
        kind = "a link that leads to itself" if is_loop(out) else "a file"
        text = f"{out}: is {kind}, not a folder. Give another `out`"
        raise OutputError(text, code="not-a-folder", parameter="out")
    if not out.exists() or not any(out.iterdir()):
        return False
    manifest = read_manifest(out)
    if manifest is None:
        state = f"has a damaged {MANIFEST}" if (out / MANIFEST).exists() else "was not written by eml pack"
        text = f"{out}: exists, is not empty and {state}. Give another `out`, or move it away"
        raise OutputError(text, code="folder-not-empty", parameter="out")
    if not overwrite:
        text = f"{out}: holds other packed images, or some that were changed. Set `overwrite` to replace them, or "
        raise OutputError(f"{text}give another `out`", code="file-exists", parameter="overwrite")
    if foreign := sorted(foreign_files(out, manifest)):
        named = ", ".join(foreign[:_MOST_NAMED])
        more = f" and {len(foreign) - _MOST_NAMED:,} more" if len(foreign) > _MOST_NAMED else ""
        text = f"{out}: holds {named}{more} beside the packed images, which replacing them would remove. Move it, or "
        raise OutputError(f"{text}give another `out`", code="folder-not-empty", parameter="out")
    return True


def foreign_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield what lies in a packed folder and is neither what `eml pack` wrote nor a table that eml wrote beside."""
    tables = {
        f"{stem}{suffix}{more}"
        for stem in (*TABLES, "pack_errors")
        for suffix in (".csv", ".parquet")
        for more in ("", SIDECAR_ENDING)
    }
    for path in folder.iterdir():
        if path.name == FOLDER and path.is_dir():
            names = (f"{FOLDER}/{inner.name}" for inner in path.iterdir() if not inner.is_dir())
            yield from (name for name in names if name not in manifest.files)
            yield from (f"{FOLDER}/{inner.name}" for inner in path.iterdir() if inner.is_dir())
        elif path.name in manifest.pages:
            if digest_of(path) != manifest.pages[path.name]:
                yield f"{path.name}, which was changed,"
        elif path.name != MANIFEST and (path.name not in tables or path.is_dir()):
            yield path.name
        elif path.name in tables and not path.name.endswith(SIDECAR_ENDING) and not written_by_eml(path):
            yield f"{path.name}, which was changed," if edited_by_hand(path) else path.name


def check_apart(dataset: Path, root: Path, table: Path | None, out: Path) -> None:
    """Raise OutputError where the packed images would lie among those that are packed, or take their place.

    Args:
        dataset: What is packed, as given.
        root: The folder of the images.
        table: Their table.
        out: The folder that is made.
    """
    for path in (root, table):
        if path is not None and not is_remote(path) and is_within(path, out):
            text = f"{out}: {path}, which is packed, lies in it, and `out` is made anew. Give an `out` apart from it"
            raise OutputError(text, code="folder-not-empty", parameter="out")
    scanned = (root / f"{TABLES[0]}{suffix}" for suffix in (".csv", ".parquet"))
    if is_remote(root) or not is_within(out, root):
        return
    if dataset.is_dir() or any(sidecar_path(path).exists() for path in scanned):
        text = f"{out}: lies in {root}, whose next scan would find each image twice. Give an `out` beside it, such as "
        text += os.fspath(root.with_name(f"{root.name}-packed"))
        raise OutputError(text, code="inside-dataset", parameter="out")


def is_work(folder: Path, record: str, keys: set[str]) -> bool:
    """Return whether a hidden folder is one in which `eml pack` writes, and nothing else.

    Args:
        folder: It.
        record: The name of the file that says what is written there.
        keys: Of the record.
    """
    if not folder.is_dir() or folder.is_symlink():
        return False
    try:
        facts = read_json(folder / record)
    except (ValueError, OSError):
        facts = None
    if isinstance(facts, dict) and set(facts) == keys:
        return True
    manifest = read_manifest(folder)  # of a run that was killed while it put the folder in its place
    return manifest is not None and not any(foreign_files(folder, manifest))
