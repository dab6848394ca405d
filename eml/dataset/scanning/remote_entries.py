"""The entries of remote folders, as `os.scandir` gives those of local ones, of one listing of all below a root."""

from collections import defaultdict
from dataclasses import dataclass, field

from eml.errors import DataError
from eml.files import is_path
from eml.storage import RemotePath, list_objects


@dataclass(slots=True)
class RemoteEntry:
    """A file or a folder in a remote folder."""

    name: str
    path: str
    """Relative to the root."""
    folder: bool
    files: set[str] = field(default_factory=set)
    """Names of the files in a folder."""

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        return self.folder

    def is_file(self) -> bool:
        """Return whether it is a file."""
        return not self.folder

    def is_symlink(self) -> bool:
        """Return False."""
        return False


class RemoteTree:
    """All that lies below a root.

    Args:
        root: The root.

    Raises:
        DataError: It cannot be listed.
    """

    def __init__(self, root: RemotePath) -> None:
        try:
            names = list_objects(root)
        except OSError as error:
            text = f"{root}: cannot be listed: {error.strerror or error}"
            raise DataError(text, code="not-readable", parameter="dataset") from error
        self.unusable: list[str] = []
        """Names that no path can have."""
        self._entries: dict[str, dict[tuple[str, bool], RemoteEntry]] = defaultdict(dict)
        for name in names:
            self._add(name)

    def _add(self, name: str) -> None:
        parts = name.rstrip("/").split("/")
        if any(part in ("", ".") for part in parts) or not is_path(name):
            self.unusable.append(name)
            return
        last = len(parts) - 1
        for place, part in enumerate(parts):
            folder = "".join(f"{outer}/" for outer in parts[:place])
            is_folder = place < last or name.endswith("/")
            entries = self._entries[folder]
            entry = entries.get((part, is_folder))
            if entry is None:
                entry = entries[part, is_folder] = RemoteEntry(part, folder + part, is_folder)
            if is_folder and place == last - 1 and not name.endswith("/"):
                entry.files.add(parts[last])

    def entries(self, folder: str) -> list[RemoteEntry]:
        """Return what lies directly in a folder, which is "" or ends in `/`."""
        return list(self._entries[folder].values()) if folder in self._entries else []
