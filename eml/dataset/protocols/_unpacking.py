"""Image files that are written out of an archive, as they are."""

from pathlib import Path

from eml.errors import OutputError
from eml.files import not_writable

MARKER = ".eml-images"
SIGNATURES = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"BM": ".bmp"}


class ImageFolder:
    """A folder of images that eml writes. A file of the same size is there already: a stopped work continues.

    Raises:
        OutputError: The folder holds files that eml did not write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folders: set[Path] = set()
        try:
            if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
                text = f"{folder}: holds files that eml did not write, and the images would be written there. Give "
                raise OutputError(f"{text}another `out`", code="folder-not-empty", parameter="out")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MARKER).touch()
        except OSError as error:
            raise not_writable(folder, error) from error

    def has(self, name: str) -> bool:
        """Return whether the file of that name is there."""
        return (self.folder / name).is_file()

    def write(self, name: str, data: bytes) -> str:
        """Write a file, with a suffix by its first bytes, and return its name relative to the folder."""
        suffix = next((suffix for start, suffix in SIGNATURES.items() if data.startswith(start)), ".jpg")
        path = self.folder / f"{name}{suffix}"
        try:
            if path.parent not in self._folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(path.parent)
            if not path.is_file() or path.stat().st_size != len(data):
                part = path.with_name(f"{path.name}.part")  # a file of that name is whole
                part.write_bytes(data)
                part.replace(path)
        except OSError as error:
            raise not_writable(path, error) from error
        return f"{name}{suffix}"
