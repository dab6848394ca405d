"""Time of an answer to TAB: `python tests/benchmarks/completion.py [--runs 9]`, beside a start of Python.

Each answer is a process of its own, as a shell starts it. Printed are medians of wall and processor time (ms), and the
processor time in starts of Python, which depends less on the machine.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINES = {
    "a command": "eml tra",
    "an option": "eml evaluate --sav",
    "a config key": "eml train run.yaml --set mar",
    "a member of a family": "eml train run.yaml --set margin=arc",
    "a backbone, of 1,300": "eml init photos --backbone mobilenetv3_sm",
    "open_clip's weights": "eml embed open_clip:ViT-B-32/",
}
CONFIG = "output: run\nmargin: {type: cosface, m: 0.2}\ndata: {table: photos/folds.csv}\n"


def measure(command: list[str], environment: dict[str, str], folder: Path, runs: int) -> tuple[float, float]:
    """Return the medians of wall and processor time (ms)."""
    walls, processor = [], []
    for _ in range(runs + 1):  # the first one warms the disk
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return statistics.median(walls[1:]), statistics.median(processor[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.yaml").write_text(CONFIG)
        wall, empty = measure([sys.executable, "-c", "pass"], dict(os.environ), folder, runs)
        print(f"{'python -c pass':<24}{wall:6.0f} ms wall{empty:6.0f} ms of a processor")
        for what, line in LINES.items():
            asked = {"_EML_COMPLETE": "bash", "_EML_LINE": line, "_EML_BREAKS": " \t\n\"'@><=;|&(:"}
            wall, cpu = measure([sys.executable, "-m", "eml"], os.environ | asked, folder, runs)
            print(f"{what:<24}{wall:6.0f} ms wall{cpu:6.0f} ms of a processor, ×{cpu / empty:.1f}")
