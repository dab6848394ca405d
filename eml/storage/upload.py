"""A folder or file that was written locally, copied whole to a remote place, and such a copy, fetched whole.

The file `eml-upload.json` lists the files of a copy with their digests. It is removed before a copy is replaced, and
written after all others, so that whoever finds it finds a whole copy; whoever reads one checks each file by its digest.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from eml.errors import DataError, OutputError
from eml.storage.file_systems import file_system, location
from eml.storage.object_ranges import read_range
from eml.storage.objects import object_info, read_bytes
from eml.storage.remote_path import RemotePath
from eml.storage.retries import with_retries

MANIFEST = "eml-upload.json"
"""The file of a copy that names all others, which is written last."""
SOURCE = ".copied-from"
"""The file beside a fetched copy that holds its address."""
WRITABLE = ("s3", "gs", "az", "abfs", "memory")
_TEMPORARY = ".eml-tmp-"
_THREADS = 8
_MOST = 32 * 2**20  # bytes of a manifest
_BLOCK = 8 * 2**20  # bytes of a request of a file that is fetched
_LEFT = 3600.0  # seconds after which an unfinished copy is one of a process that was killed

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Upload:
    """A copy that is complete.

    Attributes:
        target: The folder of the copy.
        files: Number of its files.
        bytes: Of all of them.
        sent: Number of the files that were not there with these bytes before.
    """

    target: Path
    files: int
    bytes: int
    sent: int


def check_target(target: Path, *, overwrite: bool = False) -> None:
    """Raise an OutputError where nothing can be copied to a place, or where something lies that is no copy of ours.

    overwrite: Allow to copy into a folder with files of others, of which those with the same names are replaced.
    """
    if not isinstance(target, RemotePath):
        _check_local_target(target, overwrite=overwrite)
        return
    if target.scheme not in WRITABLE:
        names = ", ".join(f"{name}://" for name in (*WRITABLE, "file"))
        text = f"{target}: nothing is written there; allowed: {names}"
        raise OutputError(text, code="remote-place", parameter="upload_to")
    if len(target.parts) < 3:
        raise OutputError(
            f"{target}: is a whole bucket; name a folder in it", code="remote-place", parameter="upload_to"
        )
    if overwrite or _manifest_of(target) is not None:
        return
    system, place = file_system(target), location(target)
    try:
        present = with_retries(lambda: system.find(place, maxdepth=2), target)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_writable(target, error) from error
    if present:
        raise _files_of_others(target, str(min(present)).rpartition("/")[2])


def _check_local_target(target: Path, *, overwrite: bool) -> None:
    """Do what `check_target` does for a folder of this machine, such as one that a web server serves."""
    try:
        if overwrite or _manifest_of(target) is not None or not target.exists():
            return
        present = [path.name for path in target.iterdir()]
    except OSError as error:
        raise _not_writable(target, error) from error
    if present:
        raise _files_of_others(target, min(present))


def _not_writable(target: Path, error: OSError) -> OutputError:
    text = f"{target}: cannot be written: {error.strerror or error}"
    return OutputError(text, code="not-writable", parameter="upload_to")


def _files_of_others(target: Path, name: str) -> OutputError:
    text = f"{target}: holds files that eml did not put there, such as {name}. Give another folder, or set `overwrite`"
    return OutputError(text, code="file-exists", parameter="overwrite")


def _check_apart(sources: Sequence[Path], target: Path) -> None:
    """Raise an OutputError where a local copy would lie in what is copied, or the other way round."""
    if isinstance(target, RemotePath):
        return
    place = Path(os.path.realpath(target))
    for source in sources:
        real = Path(os.path.realpath(source))
        if place.is_relative_to(real) or (real.is_relative_to(place) and real.is_dir()):
            text = f"{target}: one of it and {source}, which is copied, lies in the other. Give a folder apart from it"
            raise OutputError(text, code="inside-dataset", parameter="upload_to")


def upload(
    sources: Sequence[Path], target: Path, *, overwrite: bool = False, advance: Advance = lambda done: None
) -> Upload:
    """Copy what is in a folder, or files and folders by their names, to a remote place.

    Files that an earlier copy has with the same bytes stay; those that are no longer here are removed there.

    Args:
        sources: The local folder, or files and folders.
        target: The folder of the copy.
        overwrite: As for `check_target`.
        advance: Is called with the number of bytes that were copied.

    Raises:
        OutputError: The place refuses it, or failed as often as retries allow. The local files are untouched, and a
            copy that was begun has no manifest.
    """
    _check_apart(sources, target)
    check_target(target, overwrite=overwrite)
    files = local_files(sources)
    facts = {name: {"bytes": path.stat().st_size, "digest": _digest(path)} for name, path in sorted(files.items())}
    before = _manifest_of(target) or {}
    changed = [name for name in files if before.get(name) != facts[name] or not _is_there(target / name, facts[name])]
    obsolete = [name for name in before if name not in facts]

    def send(name: str) -> None:
        _put(files[name], target / name)
        advance(int(str(facts[name]["bytes"])))

    try:
        if before and (changed or obsolete):
            _remove(target / MANIFEST)
        with ThreadPoolExecutor(_THREADS) as pool:
            for future in [pool.submit(send, name) for name in changed]:
                future.result()
        for name in obsolete:
            _remove(target / name)
        if changed or obsolete or not before:
            _put_bytes(json.dumps({"files": facts}, indent=1).encode(), target / MANIFEST)
    except OSError as error:
        text = f"{target}: the copy is not complete: {error.filename or target}: {error.strerror or error}"
        raise OutputError(text, code="not-uploaded", parameter="upload_to") from error
    return Upload(target, len(files), sum(int(str(fact["bytes"])) for fact in facts.values()), len(changed))


def local_files(sources: Sequence[Path]) -> dict[str, Path]:
    """Return name in the copy → file, of all that is copied.

    Raises:
        DataError: A source does not exist, or nothing is in them.
    """
    files: dict[str, Path] = {}
    for source in sources:
        if not source.exists():
            raise DataError(f"{source}: no such file or folder", code="missing-file", parameter="sources")
        base = source if source.is_dir() and len(sources) == 1 else source.parent
        files |= {path.relative_to(base).as_posix(): path for path in _files(source)}
    if not files:
        raise DataError(f"{sources[0]}: holds no file to copy", code="missing-file", parameter="sources")
    return files


def _files(source: Path) -> Iterator[Path]:
    """Yield the files to copy, without temporary ones and locks. Links are followed to files in the folder alone."""
    if source.is_file():
        yield source
        return
    root = os.path.realpath(source)
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]
        for name in names:
            path = Path(folder) / name
            inside = os.path.realpath(path).startswith(root + os.sep)
            if inside and path.is_file() and not name.startswith(_TEMPORARY) and path.suffix != ".lock":
                yield path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _is_there(path: Path, facts: dict[str, Any]) -> bool:
    """Return whether an object has the size that the manifest says."""
    try:
        size = object_info(path).bytes if isinstance(path, RemotePath) else path.stat().st_size
        return bool(size == facts["bytes"])
    except OSError:
        return False


def _put(source: Path, target: Path) -> None:
    if not isinstance(target, RemotePath):
        _write(target, lambda temporary: shutil.copyfile(source, temporary))
        return
    system, place, size = file_system(target), location(target), source.stat().st_size

    def request() -> None:
        system.put_file(str(source), place)
        if system.info(place).get("size") != size:
            raise OSError(errno.EIO, "the object is shorter than the file", str(target))

    with_retries(request, target)


def _put_bytes(data: bytes, target: Path) -> None:
    if not isinstance(target, RemotePath):
        _write(target, lambda temporary: temporary.write_bytes(data))
        return
    system, place = file_system(target), location(target)
    with_retries(lambda: system.pipe_file(place, data), target)


def _write(target: Path, write: Callable[[Path], object]) -> None:
    """Write a local file whole or not at all: beside its place, and on the disk before it is renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{_TEMPORARY}{uuid.uuid4().hex[:8]}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if not isinstance(path, RemotePath):
        path.unlink(missing_ok=True)
        return
    system, place = file_system(path), location(path)
    with suppress(FileNotFoundError):
        with_retries(lambda: system.rm_file(place), path)


def _manifest_of(target: Path) -> dict[str, dict[str, Any]] | None:
    """Return name → bytes and digest of the files of a whole copy; None where there is none.

    Raises:
        OutputError: The place cannot be asked.
    """
    try:
        file = target / MANIFEST
        data = read_bytes(file, at_most=_MOST) if isinstance(file, RemotePath) else file.read_bytes()
        content = json.loads(data)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        text = f"{target}: cannot be read: {error.strerror or error}"
        raise OutputError(text, code="not-readable", parameter="upload_to") from error
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files or not all(map(_is_entry, files.items())):
        return None
    if any(folder.as_posix() in files for name in files for folder in PurePosixPath(name).parents):
        return None
    return {name: {"bytes": facts["bytes"], "digest": facts["digest"]} for name, facts in files.items()}


def _is_entry(item: tuple[object, object]) -> bool:
    """Return whether an entry of a manifest names a file below its folder, with its bytes and digest."""
    name, facts = str(item[0]), item[1]
    path = PurePosixPath(name)
    if (
        name != path.as_posix()
        or path.is_absolute()
        or not path.parts
        or ".." in path.parts
        or set(name) & {"\0", "\\"}
    ):
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    size = facts.get("bytes") if isinstance(facts, dict) else None
    return type(size) is int and size >= 0 and isinstance(facts, dict) and isinstance(facts.get("digest"), str)


def fetch(source: RemotePath, folder: Path) -> Path:
    """Return a local folder with a copy that `upload` made, each file checked by its digest.

    It lies in `folder`, under the digest of the manifest, so that one that was fetched before is not fetched again
    while its files are there with their sizes.

    Raises:
        DataError: There is no whole copy, or a file of it does not fit its digest.
        OSError: It cannot be read, or the disk is full.
    """
    files = _manifest_of(source)
    if files is None:
        text = f"{source}: {_what_is_missing(source)}, so it is no whole copy of a run, index or file; eml upload "
        text += "makes one"
        raise DataError(text, code="not-a-copy")
    key = hashlib.blake2b(json.dumps([str(source), files], sort_keys=True).encode(), digest_size=12).hexdigest()
    place = folder / key / source.name
    if _is_whole(place, files):
        return place
    _remove_leftovers(folder)
    temporary = folder / f".{key}-{uuid.uuid4().hex[:8]}"

    def bring(name: str) -> None:
        path = temporary / source.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is_brought(source / name, path, files[name]["bytes"]) or _digest(path) != files[name]["digest"]:
            text = f"{source / name}: is not the file that {MANIFEST} lists; the copy may be in the making: try again"
            raise DataError(text, code="damaged-file")

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            for future in [pool.submit(bring, name) for name in sorted(files)]:
                future.result()
        (temporary / SOURCE).write_text(str(source), encoding="utf-8")
        _put_in_place(temporary, folder / key, lambda: _is_whole(place, files))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place


def _what_is_missing(source: RemotePath) -> str:
    """Return what an address lacks that has no manifest that can be read."""
    with suppress(OSError):
        object_info(source / MANIFEST)
        return f"has no {MANIFEST} that can be read"
    try:
        object_info(source)
    except FileNotFoundError:
        return f"nothing is there, and no {MANIFEST} in it"
    except OSError:
        pass
    return f"has no {MANIFEST}"


def _is_whole(place: Path, files: dict[str, dict[str, Any]]) -> bool:
    """Return whether a folder is a fetched copy of which every file has the size that the manifest says."""
    try:
        if not (place.parent / SOURCE).is_file():
            return False
        states = {name: (place / name).lstat() for name in files}
    except OSError:
        return False
    return all(stat.S_ISREG(state.st_mode) and state.st_size == files[name]["bytes"] for name, state in states.items())


def _is_brought(source: RemotePath, path: Path, size: int) -> bool:
    """Write an object into a file, a block at a time, and return whether it has so many bytes; it is read no further.

    Raises:
        OSError: It cannot be read, after retries, or the disk is full.
    """
    info = object_info(source)
    if info.is_folder or info.bytes not in (-1, size):
        return False
    system, place = file_system(source), location(source)

    def check(count: int, expected: int) -> None:
        if count < expected:
            raise OSError(errno.EIO, f"{count:,} bytes were read of {expected:,}", str(source))

    def request() -> None:
        system.get_file(place, str(path), most=size)
        check(path.stat().st_size, size)

    def block(start: int, end: int) -> bytes:
        data = bytes(system.cat_file(place, start=start, end=end))
        check(len(data), end - start)
        return data

    if source.scheme in ("https", "http"):
        with_retries(request, source)
        return path.stat().st_size == size
    with path.open("wb") as file:
        for start in range(0, size, _BLOCK):
            end = min(start + _BLOCK, size)
            if source.scheme == "s3" and info.tag and info.is_exact:
                file.write(read_range(source, info, start, end))
            else:
                file.write(with_retries(partial(block, start, end), source))
        return file.tell() == size


def _put_in_place(temporary: Path, copy: Path, is_whole: Callable[[], bool]) -> None:
    """Rename a fetched copy to its place, unless another process was first; what lies there and is not whole goes.

    Raises:
        OSError: It cannot be renamed.
    """
    for attempt in range(3):
        with suppress(OSError):
            temporary.replace(copy)
            return
        if is_whole():
            return
        old = temporary.with_name(f"{temporary.name}-{attempt}")
        with suppress(OSError):
            copy.replace(old)
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink()
    temporary.replace(copy)


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they fetched have left."""
    for path in folder.glob(".*-*"):
        with suppress(OSError):
            latest = max(entry.lstat().st_mtime for entry in (path, *path.rglob("*")))
            if time.time() - latest > _LEFT:
                shutil.rmtree(path, ignore_errors=True)
