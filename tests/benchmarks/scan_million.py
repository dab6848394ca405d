"""A scan of a million files, killed half way with SIGKILL and resumed: memory, rate, and the share that is reused.

    python tests/benchmarks/scan_million.py --images grocery160/images --folder /tmp/million

The files are hard links to the first images of the folder, in 1,000 classes; they take no space but names (about 250 MB
of directories and inodes' links per million on ext4). The folder is kept for another run; delete it yourself.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def link(images: Path, folder: Path, count: int, distinct: int) -> None:
    """Create `count` hard links to `distinct` images; existing links stay."""
    sources = sorted(path for path in images.glob("*/*") if path.is_file())[:distinct]
    folder.mkdir(parents=True, exist_ok=True)
    originals = folder / ".originals"  # links to files on another disk would fail; hidden from the scan
    originals.mkdir(exist_ok=True)
    for number, source in enumerate(sources):
        if not (originals / f"{number}{source.suffix}").exists():
            shutil.copy2(source, originals / f"{number}{source.suffix}")
    own = sorted(originals.iterdir())
    for number in range(count):
        original = own[number % len(own)]
        path = f"{folder}/class{number // 1000:04}/{number:07}{original.suffix}"
        if number % 1000 == 0:
            Path(path).parent.mkdir(exist_ok=True)
        if not os.path.lexists(path):
            os.link(original, path)


def resident(process: int) -> int:
    """Return the resident bytes of a process and its children."""
    total = 0
    for pid in [process, *children(process)]:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            continue
    return total


def children(process: int) -> Iterator[int]:
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())
    except OSError:
        return


def read_so_far(folder: Path) -> int:
    """Return the bytes of the parts, which grow with the number of files read."""
    parts = folder / ".dataset_info.csv.eml-scan.parts"
    return sum(path.stat().st_size for path in parts.glob("[!.]*")) if parts.is_dir() else 0


def scan(folder: Path, workers: int, kill_at: int | None = None) -> tuple[float, str]:
    """Scan and return the seconds and the messages. kill_at: bytes of parts at which the scan is killed."""
    command = [sys.executable, "-m", "eml", "scan", str(folder), "--workers", str(workers)]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown, peak, alone, seconds = 0.0, 0, 0, 0.0
    while process.poll() is None:
        time.sleep(0.5)
        used, seconds = resident(process.pid), time.monotonic() - start
        main = resident_alone(process.pid)
        peak, alone = max(peak, used), max(alone, main)
        if seconds > shown:
            print(f"  {seconds:6.0f} s  {main / 1e6:6.0f} MB, with workers {used / 1e6:6.0f} MB", flush=True)
            shown += 30
        if kill_at and read_so_far(folder) > kill_at:
            os.kill(process.pid, signal.SIGKILL)
            print(f"  killed after {seconds:.0f} s")
            break
    messages = (process.stdout.read() if process.stdout else "") or ""
    process.wait()
    seconds = time.monotonic() - start
    print(f"  ended after {seconds:.0f} s with {process.returncode}")
    print(f"  peak {alone / 1e6:.0f} MB, with workers {peak / 1e6:.0f} MB")
    return seconds, messages


def resident_alone(process: int) -> int:
    """Return the resident bytes of the process itself."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def main() -> None:
    """Link, scan, kill, resume, and rescan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of small images, one folder per class")
    parser.add_argument("--folder", type=Path, required=True, help="folder for the links")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--distinct", type=int, default=300, help="number of images that the links point to")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    link(options.images, options.folder, options.count, options.distinct)
    for path in options.folder.glob(".dataset_info.csv.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{options.count:,} files, {options.workers} processes\nfirst scan, killed half way:")
    record = 125  # approximate bytes of a record in a part
    first, _ = scan(options.folder, options.workers, kill_at=options.count // 2 * record)
    print("resumed:")
    second, messages = scan(options.folder, options.workers)
    going = re.search(r"going on .*", messages)
    print(f"  {going[0] if going else messages}")
    left = going[0].split()[-2] if going else options.count
    print("rescan without changes:")
    third, messages = scan(options.folder, options.workers)
    print("  " + (re.search(r".*unchanged.*", messages) or [messages])[0])
    print(f"seconds: {first:.0f} to the kill, {second:.0f} resumed ({left} files read), {third:.0f} unchanged")
    for path in sorted(options.folder.glob("*dataset_*")):
        print(f"  {path.name}: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
