"""Reading rate of images in a folder, in tar and in Parquet files: in order and shuffled, in one run.

    OMP_NUM_THREADS=1 python tests/benchmarks/packs.py [--images 4000] [--side 160]

Draws JPEGs, packs them with `eml pack`, and writes the same rows as Parquet with snappy and row groups of 1,000, as
others do. Each way is read by `eml.images.decode.read`, without decoding, which is the same for all; the file cache of
the system is warm. Of the compressed file 16 MiB of row groups are kept, so that a set of 50 MB behaves as one four
times as large with the 64 MiB of the package; also told is how often a row group was read for an image.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import eml
from eml.images.decode import read
from eml.images.packed import parquet_file
from eml.units import MIB


def draw(root: Path, images: int, side: int) -> None:
    """Write JPEGs of blurred noise in folders of 20."""
    for number in range(images):
        pixels = np.random.default_rng(number).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
        folder = root / f"class {number // 20:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((side, side)).save(folder / f"{number:06d}.jpg", quality=90)


def write_compressed(root: Path, names: list[str], path: Path) -> None:
    """Write Parquet as others do: compressed, row groups of 1,000."""
    import pyarrow
    import pyarrow.parquet

    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = pyarrow.array([{"bytes": (root / name).read_bytes(), "path": name} for name in names], kind)
    path.parent.mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"image": rows}), path, row_group_size=1_000)


def rate(paths: list[Path], most: float) -> tuple[float, int]:
    """Return images per second, and the images that were read within `most` seconds."""
    read(paths[0])
    begin, count = time.perf_counter(), 0
    for path in paths:
        read(path)
        count += 1
        if time.perf_counter() - begin > most:
            break
    return count / (time.perf_counter() - begin), count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--kept", type=int, default=16, help="MiB of row groups that are kept, in place of 64")
    options = parser.parse_args()
    parquet_file._row_groups._most = options.kept * MIB
    groups: list[int] = []
    real = parquet_file.ParquetFile._read_group
    parquet_file.ParquetFile._read_group = lambda self, group: groups.append(group) or real(self, group)  # type: ignore
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw(folder / "photos", options.images, options.side)
        table = eml.scan(folder / "photos", hashes=False).table
        names, size = table.frame["file_name"].tolist(), int(table.frame["bytes"].sum())
        ways = {"folder": [folder / "photos" / name for name in names]}
        for format_ in ("tar", "parquet"):
            eml.pack(folder / "photos", folder / format_, format=format_, shard_size="16MB")
            packed = eml.scan(folder / format_, hashes=False, out=folder / f"{format_}.csv").table.frame["file_name"]
            ways[format_] = [folder / format_ / name for name in packed]
        write_compressed(folder / "photos", names, folder / "snappy" / "a.parquet")
        ways["Parquet, snappy, row groups of 1,000"] = [folder / "snappy" / "a.parquet" / name for name in names]
        print(f"{options.images:,} images of {size / options.images / 1e3:.1f} kB\n")
        print(
            "| | in order, images/s | shuffled, images/s | row groups read for an image, shuffled |\n|---|--:|--:|--:|"
        )
        for name, paths in ways.items():
            shuffled = random.Random(0).sample(paths, len(paths))
            ordered, _ = rate(paths, 20)
            groups.clear()
            mixed, count = rate(shuffled, 20)
            print(f"| {name} | {ordered:,.0f} | {mixed:,.0f} | {len(groups) / count:.2f} |", flush=True)


if __name__ == "__main__":
    main()
