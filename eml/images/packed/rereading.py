"""Say what reading images of compressed Parquet in a shuffled order costs: a row group for nearly each image."""

from collections.abc import Sequence
from pathlib import Path

from eml.images.packed import parquet_file
from eml.images.packed.contents import NotPackedError, UnusableError
from eml.images.packed.members import Member, packed_file
from eml.images.packed.parquet_file import ParquetFile
from eml.units import MIB


def rereading(files: Sequence[Path]) -> str | None:
    """Return a line where a process cannot keep the row groups of all these packed files; None where it can.

    The line ends before the command that packs them again.
    """
    groups, images, bytes_ = 0, 0, 0
    for file in files:
        counts = _compressed_groups(file)
        groups, images, bytes_ = groups + counts[0], images + counts[1], bytes_ + counts[2]
    kept = parquet_file.KEPT
    if not groups or bytes_ <= kept or images <= groups:
        return None
    cost = images / groups * (1 - kept / bytes_)
    return (
        f"the images lie in {groups:,} compressed row groups of Parquet, of {images / groups:,.0f} images and "
        f"{bytes_ / groups / MIB:,.1f} MiB on average, and a process keeps {kept // MIB} of {bytes_ / MIB:,.0f} MiB. "
        f"In a shuffled training an image costs the reading of {cost:,.0f} on average. This makes it one"
    )


def _compressed_groups(file: Path) -> tuple[int, int, int]:
    try:
        packed = packed_file(Member(str(file), ""))
    except (OSError, UnusableError, NotPackedError):
        return 0, 0, 0
    return packed.compressed_groups() if isinstance(packed, ParquetFile) else (0, 0, 0)
