"""Scan with hashes against easy_metric_learning's way, an imagesize loop followed by imagededup's PHash, in turns.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install imagesize imagededup
    python tests/benchmarks/scan_peer.py --images grocery160/images --peer /tmp/peer/bin/python

JPEGs of three sizes are created by tiling real photos. Both sides use the same number of processes. Each side times its
work in its own process, without imports and start. The peer computes sizes and hashes; eml computes sizes, format,
mode, hash of the bytes, a decode to the end of the file, and hashes. Measured are wall time and processor time,
including child processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {(348, 348): 1000, (500, 375): 800, (2048, 1536): 80}  # pixels: images


def tile(sources: list[Path], folder: Path, size: tuple[int, int], count: int, enlarged: int = 1) -> None:
    """Write JPEGs of quality 90, each tiled from the next few photos, `enlarged` times as large."""
    from PIL import Image

    following = 0
    for number in range(count):
        canvas, (x, y, row) = Image.new("RGB", size), (0, 0, 0)
        while y < size[1]:
            with Image.open(sources[following % len(sources)]) as photo:
                large = photo.convert("RGB").resize((photo.width * enlarged, photo.height * enlarged), Image.BICUBIC)
                canvas.paste(large, (x, y))
                x, row = x + large.width, max(row, large.height)
            following += 1
            if x >= size[0]:
                x, y, row = 0, y + row, 0
        path = folder / f"class{number % 10}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.save(path, quality=90)


def eml_side(folder: Path, workers: int) -> int:
    """Return the number of images with a hash."""
    from eml.dataset.scanning.scan import scan_folder

    return len(scan_folder(folder, workers=workers).table)


def peer_side(folder: Path, workers: int) -> int:
    """Return the number of images with a hash."""
    import imagesize
    from imagededup.methods import PHash

    sizes = {f"{path.parent.name}/{path.name}": imagesize.get(path) for path in folder.glob("*/*")}
    hashes = PHash(verbose=False).encode_images(folder, recursive=True, num_enc_workers=0 if workers == 1 else workers)
    return sum(name in hashes for name, size in sizes.items() if min(size) > 0)


def measure(side: str, folder: Path, workers: int) -> None:
    """Run one side in this process, after its imports, and print its times."""
    if side == "eml":
        import eml.dataset.scanning.scan  # noqa: F401
    else:
        import imagededup.methods  # noqa: F401
        import imagesize  # noqa: F401
    before, start = os.times(), time.perf_counter()
    count = {"eml": eml_side, "peer": peer_side}[side](folder, workers)
    seconds, after = time.perf_counter() - start, os.times()
    print(json.dumps({"count": count, "wall": seconds, "cpu": sum(after[:4]) - sum(before[:4])}))


def main() -> None:
    """Create the images, run both sides in turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="real photos, one folder per class")
    parser.add_argument("--peer", help="a Python that has imagesize and imagededup")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes of each side")
    parser.add_argument(
        "--enlarge", type=int, default=1, help="enlarge the photos before tiling: fewer bytes per pixel"
    )
    parser.add_argument("--measure", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]), options.workers)
        return
    sources = sorted(options.images.glob("*/*.jpg"))[::7]
    print(f"processes of each side: {options.workers}; medians of {options.rounds} rounds; images per second")
    print("| size | images | peer | eml | faster | by processor time |\n|---|---|---|---|---|---|")
    for size, count in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            tile(sources, Path(folder), size, count, options.enlarge)
            times: dict[str, list[dict[str, float]]] = {"peer": [], "eml": []}
            for _ in range(options.rounds):
                for side, python in (("peer", options.peer), ("eml", sys.executable)):
                    command = [python, __file__, "--workers", str(options.workers), "--measure", side, folder]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    times[side].append(json.loads(done.stdout.splitlines()[-1]))
                    assert times[side][-1]["count"] == count
            wall = {side: statistics.median(run["wall"] for run in runs) for side, runs in times.items()}
            cpu = {side: statistics.median(run["cpu"] for run in runs) for side, runs in times.items()}
            rates = " | ".join(f"{count / wall[side]:,.0f}" for side in ("peer", "eml"))
            ratios = f"{wall['peer'] / wall['eml']:.2f}× | {cpu['peer'] / cpu['eml']:.2f}×"
            print(f"| {size[0]}×{size[1]} | {count:,} | {rates} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
