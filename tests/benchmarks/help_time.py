"""Time of `eml --help` and of each `eml COMMAND --help`: median wall time of seven runs, against a bare Python."""

import statistics
import subprocess
import sys
import time

from eml.cli.app import COMMANDS


def median(arguments: list[str]) -> float:
    """Return the median of seven runs in seconds."""
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


print(f"{'python -c pass':24s} {median(['-c', 'pass']):.3f} s")
for command in ([], *([name] for name in COMMANDS)):
    print(f"{' '.join(['eml', *command, '--help']):24s} {median(['-m', 'eml', *command, '--help']):.3f} s")
