"""Kill a training run by SIGKILL again and again at random moments and resume it: it ends with the same bytes.

    python tests/benchmarks/kill_train.py --images DIR/CLASS/… --kills 20
    python tests/benchmarks/kill_train.py --images DIR/CLASS/… --kills 20 --victim one --devices 2

Trains test_resnet on the images twice, once undisturbed and once killed and resumed again and again, then compares the
weights and the logs. Killed is the whole command, or any one of the processes that it has started: a process of
`--devices`, or one that loads images. Then the command must end by itself, with exit code 2, and say how to resume.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

CONFIG = """output: {name}
recipe: none
data: {{table: {table}, fold: 0, workers: {workers}}}
image: {{size: 64}}
model: {{backbone: test_resnet, weights: none, neck: {{type: linear, size: 64, dropout: 0.2}}}}
margin: {{type: elastic_arcface, m: 0.3}}
head: {{scale: 16}}
ema: {{decay: 0.99}}
precision: {precision}
epochs: {epochs}
batch_size: 32
saving: {{steps: 5}}
"""
END = 90  # seconds in which a command ends after one of its processes was killed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--victim", choices=["command", "one"], default="command")
    options = parser.parse_args(arguments)
    moments, killed = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run([sys.executable, "-m", "eml", "kfold", str(options.images), "--out", place], check=True)
        for name, workers in (("whole", 0), ("killed", options.workers)):
            text = CONFIG.format(
                name=name,
                table=folder / "folds.csv",
                workers=workers,
                epochs=options.epochs,
                precision=options.precision,
            )
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        devices = ["--devices", str(options.devices)] if options.devices > 1 else []
        train = [sys.executable, "-m", "eml", "train"]
        started = time.monotonic()
        subprocess.run([*train, str(folder / "whole.yaml"), *devices], check=True)
        whole = time.monotonic() - started
        resume: list[str] = []
        ends: Counter[int] = Counter()
        while True:
            told = (folder / "told").open("w")
            command = [*train, str(folder / "killed.yaml"), *devices, *resume]
            process = subprocess.Popen(command, stderr=told, start_new_session=True)
            try:
                code = process.wait(moments.uniform(3, 3 + whole / 2) if killed < options.kills else None)
            except subprocess.TimeoutExpired:
                ends[strike(process, moments, options.victim)] += 1
                killed += 1
                begun = (folder / "killed" / "state.pt").exists() or (folder / "killed" / "state.previous.pt").exists()
                resume = ["--resume"] if begun else ["--overwrite"]
                continue
            finally:
                told.close()
            assert code == 0, f"exit code {code}: {(folder / 'told').read_text()}"
            if killed >= options.kills:
                break
            resume = ["--overwrite"]  # it ended before enough kills: start again
        whole_files, killed_files = (contents(folder / name) for name in ("whole", "killed"))
        assert whole_files.keys() == killed_files.keys(), set(whole_files) ^ set(killed_files)
        different = [name for name, content in whole_files.items() if content != killed_files[name]]
        print(
            f"killed {killed} times, exit codes {dict(ends)}; {len(whole_files)} files compared, different: "
            f"{different or 'none'}"
        )
        return len(different)


def strike(process: subprocess.Popen[bytes], moments: random.Random, victim: str) -> int:
    """Kill the command, or one of those that it has started, and return its exit code."""
    others = list(descendants(process.pid))
    if victim == "command" or not others:
        os.killpg(process.pid, signal.SIGKILL)
        for other in others:
            kill(other)
        return process.wait()
    kill(moments.choice(others))
    code = process.wait(END)
    assert code in (0, 2, -9), f"exit code {code}"  # 0: it was at its end, or had no more need of the process
    return code


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process has started, and those that they have (Linux)."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in file.read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from descendants(child)


def contents(run: Path) -> dict[str, bytes]:
    files = [run / "steps.jsonl", run / "metrics.jsonl", *sorted((run / "checkpoints").rglob("*"))]
    return {str(file.relative_to(run)): file.read_bytes() for file in files if file.is_file()}


if __name__ == "__main__":
    sys.exit(main())
