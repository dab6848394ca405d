"""Paths of remote places: URLs that behave as paths.

A `RemotePath` is a subclass of the machine's own path class, since `Path` is the type of every root, table and file
that eml carries around, and a type beside it would have to be allowed at each of these places. universal-pathlib does
the same with a class of its own for each version of Python, because it changes how pathlib takes paths apart. Nothing
of that is needed here: pathlib's own reading of `s3://bucket/a` gives the parts `s3:`, `bucket` and `a`, on which `/`,
`parent`, `name`, `with_name` and `parents` are right as they are, in Python 3.11 to 3.14. What differs is public:
the text, and whatever looks at the disk.
"""

import errno
import io
import os
import posixpath
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from eml.errors import DataError
from eml.storage.addresses import check_url, local_path
from eml.storage.object_info import ObjectInfo

SCHEMES = ("s3", "gs", "az", "abfs", "hf", "https", "http", "memory")
"""The schemes of URLs that are read; `file` is a local path."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # one letter is a drive
_COLLAPSED = re.compile(rf"({'|'.join(SCHEMES)}):[/\\](?![/\\])")
_FILE_NAME = re.compile(
    r"\.(csv|tsv|txt|json|jsonl|ya?ml|parquet|html?|tar|zip|gz|pt|onnx|safetensors|npz|npy"
    r"|jpe?g|png|webp|gif|bmp|tiff?|avif|heic|jxl|jp2|ppm|qoi|ico)$",
    re.IGNORECASE,
)
_FOLDER, _FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644


class PlaceReader(Protocol):
    """Asks remote places; `eml.storage` sets it, since it is built on these paths."""

    def info(self, path: "RemotePath") -> ObjectInfo:
        """Return the facts of an object or folder. Raises OSError."""

    def names(self, folder: "RemotePath") -> list[str]:
        """Return the names of what lies directly below a folder. Raises OSError."""

    def open(self, path: "RemotePath") -> IO[bytes]:
        """Return an object as a file that can be sought in. Raises OSError."""

    def read(self, path: "RemotePath") -> bytes:
        """Return the bytes of an object. Raises OSError."""


_readers: list[PlaceReader] = []


def read_by(reader: PlaceReader) -> None:
    """Have all paths ask their places through this reader."""
    _readers[:] = [reader]


if TYPE_CHECKING:
    _LocalPath = Path
else:
    _LocalPath = type(Path())


def is_url(text: object) -> bool:
    """Return whether a text or path is a URL of any scheme; `C:/photos` is none."""
    return isinstance(text, RemotePath) or (isinstance(text, str) and _URL.match(text) is not None)


def is_remote(path: object) -> bool:
    """Return whether a path lies in a remote place."""
    return isinstance(path, RemotePath)


def as_place(text: str | os.PathLike[str]) -> Path:
    """Return the path that a text stands for: a `RemotePath` of a URL, a local path of `file://` and any other text.

    Raises:
        ValueError: The URL has a scheme that is not read, credentials, a query, `..`, no bucket or host, or a port
            that is none; or it is one of a file on another host. The text of the error continues the parameter's name
            and holds no secret.
    """
    if isinstance(text, RemotePath):
        return text
    text = os.fspath(text)
    match = _URL.match(text)
    if match is None:
        if collapsed := _COLLAPSED.match(text):
            raise ValueError(f"is no URL, since it has one slash after {collapsed[1]}:, got {text!r}")
        return Path(text)
    scheme = match[1].lower()
    if scheme == "file":
        return local_path(text[len("file://") :])
    if scheme not in SCHEMES:
        raise ValueError(f"must be a path or a URL of {', '.join(SCHEMES)} or file, got {scheme}://…")
    check_url(text, scheme)
    return RemotePath(scheme + text[len(match[1]) :])


def place_below(folder: Path, text: str) -> Path:
    """Return the path that a text means that was written in a folder: a URL, an absolute path, or one relative to it.

    `..` is taken out by name. Raises ValueError for a URL that is not read.
    """
    if is_url(text):
        return as_place(text)
    if not isinstance(folder, RemotePath) or Path(text).is_absolute():
        return Path(os.path.normpath(folder / text))
    bucket, *inner = posixpath.normpath(f"{folder.key}/{text}").split("/")
    if bucket != folder.parts[1]:
        raise ValueError(f"leads out of {folder}")
    return RemotePath("/".join((f"{folder.scheme}://{bucket}", *inner)))


def common_place(places: Iterable[Path]) -> Path:
    """Return the deepest folder that holds all, itself where it is one. Raises ValueError where none does."""
    paths = list(places)
    remote = [path for path in paths if isinstance(path, RemotePath)]
    if not remote:
        return Path(os.path.commonpath(paths))
    first = remote[0]
    folders: list[Path] = [first, *first.parents] if len(remote) == len(paths) else []
    for folder in folders:
        if all(path.is_relative_to(folder) for path in paths):
            return folder
    raise ValueError("no place holds all of them")


class RemotePath(_LocalPath):
    """A path in a remote place. Whatever would look for it on the local disk raises an error that says so."""

    __slots__ = ()

    @property
    def scheme(self) -> str:
        """The scheme of the URL, such as `s3`."""
        return self.parts[0].removesuffix(":")

    @property
    def key(self) -> str:
        """The bucket or host, and the path in it."""
        return "/".join(self.parts[1:])

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return RemotePath, (str(self),)

    def __fspath__(self) -> str:
        text = f"{self}: is a remote place, and a local file or folder is needed here"
        raise DataError(text, code="remote-place")

    def __bytes__(self) -> bytes:
        return str(self).encode()

    def __hash__(self) -> int:
        return hash(str(self))

    def __eq__(self, path: object) -> bool:
        return isinstance(path, RemotePath) and str(self) == str(path)

    def __truediv__(self, name: Any) -> "RemotePath":
        if isinstance(name, RemotePath):
            return name
        text = name.as_posix() if isinstance(name, Path) else str(name)
        return RemotePath("/".join((str(self), *(part for part in text.split("/") if part not in ("", ".")))))

    def __rtruediv__(self, folder: Any) -> "RemotePath":
        """Return this path: it is absolute, whatever stands before it."""
        return self

    def joinpath(self, *names: Any) -> "RemotePath":
        """Return the path below this one."""
        path = self
        for name in names:
            path = path / name
        return path

    def as_posix(self) -> str:
        """Return the URL."""
        return str(self)

    def as_uri(self) -> str:
        """Return the URL."""
        return str(self)

    @property
    def anchor(self) -> str:
        """The scheme and the bucket or host."""
        return f"{self.scheme}://"

    @property
    def parents(self) -> Any:
        """The folders around it as a tuple, up to the bucket or host."""
        return tuple(
            RemotePath(f"{self.scheme}://{'/'.join(self.parts[1:end])}") for end in range(len(self.parts) - 1, 1, -1)
        )

    @property
    def parent(self) -> "RemotePath":
        """The folder around it; of a bucket or host itself."""
        folders: tuple[RemotePath, ...] = self.parents
        return folders[0] if folders else self

    def is_absolute(self) -> bool:
        """Return True."""
        return True

    def absolute(self) -> "RemotePath":
        """Return the path."""
        return self

    def resolve(self, strict: bool = False) -> "RemotePath":
        """Return the path; there are no links."""
        return self

    def expanduser(self) -> "RemotePath":
        """Return the path."""
        return self

    def is_relative_to(self, *folders: Any) -> bool:
        """Return whether it is the folder or lies in it."""
        folder = folders[0]
        return isinstance(folder, RemotePath) and self.parts[: len(folder.parts)] == folder.parts

    def relative_to(self, *folders: Any, **settings: Any) -> Any:
        """Return the relative local path from the folder to this one. Raises ValueError where it does not lie in it."""
        if not self.is_relative_to(*folders):
            raise ValueError(f"{self} is not in {folders[0]}")
        return Path(*self.parts[len(folders[0].parts) :])

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the kind, the size and the time of the last change, 0 where it is not known.

        What a web server has counts as a folder without a request, unless its name has the suffix of a file.

        Raises:
            FileNotFoundError: There is nothing.
            DataError: The place cannot be asked.
        """
        try:
            is_web_folder = self.scheme in ("https", "http") and not _FILE_NAME.search(self.key.partition("/")[2])
            info = ObjectInfo(0, "", is_folder=True) if is_web_folder else _readers[0].info(self)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"{self}: cannot be read: {error.strerror or error}", code="not-readable") from error
        mode = _FOLDER if info.is_folder else _FILE
        seconds = info.modified // 10**9
        times = {f"st_{kind}time_ns": info.modified for kind in "acm"}
        return os.stat_result((mode, 0, 0, 1, 0, 0, max(0, info.bytes), seconds, seconds, seconds), times)

    def lstat(self) -> os.stat_result:
        """Return what `stat` does."""
        return self.stat()

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether there is an object or a folder. Raises DataError where the place cannot be asked."""
        return self._mode() != 0

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether there is an object. Raises DataError where the place cannot be asked."""
        return self._mode() == _FILE

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether objects lie below it. Raises DataError where the place cannot be asked."""
        return self._mode() == _FOLDER

    def _mode(self) -> int:
        """Return the kind of what is there, 0 for nothing."""
        try:
            return self.stat().st_mode
        except FileNotFoundError:
            return 0

    def is_symlink(self) -> bool:
        """Return False."""
        return False

    def iterdir(self) -> Any:
        """Yield what lies directly below it. Raises OSError."""
        for name in _readers[0].names(self):
            yield self / name

    def glob(self, *arguments: Any, **settings: Any) -> Any:
        """Raise the error that patterns are not looked for in remote places."""
        raise DataError(
            f"{self}: patterns are not looked for in remote places; give a folder or a table", code="remote-place"
        )

    def rglob(self, *arguments: Any, **settings: Any) -> Any:
        """Raise the error of `glob`."""
        return self.glob()

    def open(self, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
        """Open the object for reading; other arguments are those of text files. Raises OSError, also for writing."""
        if set(mode) - {"r", "b", "t"}:
            raise OSError(errno.EROFS, "it is a remote place, where nothing is written", str(self))
        file = _readers[0].open(self)
        if "b" in mode:
            return file
        names = ("encoding", "errors", "newline")
        return io.TextIOWrapper(file, **dict(zip(names, arguments[1:], strict=False)), **settings)

    def read_bytes(self) -> bytes:
        """Return the bytes of the object. Raises OSError."""
        return _readers[0].read(self)

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        """Return the text of the object. Raises OSError."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")
