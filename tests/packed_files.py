"""Small images inside tar, Parquet and Arrow files."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from eml.images.packed.random_access import LocalFile


def jpeg(colour: int = 100, size: tuple[int, int] = (12, 8), format_: str = "JPEG") -> bytes:
    """A small image that is not blank."""
    drawn = Image.new("RGB", size, (colour % 256, 255 - colour % 256, 60))
    drawn.paste((255, 255, 255), (0, 0, size[0] // 2, size[1]))
    data = io.BytesIO()
    drawn.save(data, format_)
    return data.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str | tarfile.TarInfo, bytes]], **options: Any) -> Path:
    """Write members in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as file:
        for name, data in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            if isinstance(name, str):
                member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def arrow_table(
    images: Sequence[tuple[str | None, bytes | None]], names: Sequence[str] | None = None, **columns: Sequence[Any]
) -> Any:
    """Return a table of Arrow in the layout of Hugging Face's datasets; names: of the classes of the column label."""
    import pyarrow

    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = pyarrow.array([{"bytes": data, "path": path} for path, data in images], kind)
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if names is not None:
        features["label"] = {"_type": "ClassLabel", "names": list(names)}
    facts = json.dumps({"info": {"features": features}})
    return pyarrow.table({"image": rows, **columns}).replace_schema_metadata({"huggingface": facts})


def write_parquet(path: Path, table: Any, **options: Any) -> Path:
    """Write a table of Arrow as Parquet."""
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path, **options)
    return path


def write_arrow(path: Path, table: Any, rows: int = 2) -> Path:
    """Write a table of Arrow as `save_to_disk` does: a stream of batches."""
    import pyarrow

    path.parent.mkdir(parents=True, exist_ok=True)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write a folder of files."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


class KeepingFile(LocalFile):
    """A local file that keeps what is found out about it, as remote ones do, and counts its reads.

    Args:
        path: The file.
        kept: What was kept, by name.
    """

    def __init__(self, path: Path, kept: dict[str, bytes]) -> None:
        super().__init__(str(path), path.stat().st_size)
        self.kept, self.reads = kept, 0

    def read(self, offset: int, count: int) -> bytes:
        self.reads += 1
        return super().read(offset, count)

    def recall(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def keep(self, name: str, data: bytes) -> None:
        self.kept[name] = data
