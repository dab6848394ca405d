"""Embed image files by a checkpoint in torch and by its exported file without torch, each in a process of its own.

    PYTHONPATH=. python tests/benchmarks/exported_loading.py runs/shoes shoes.onnx photos --images 200 --rounds 5

Both use one thread. The processes stay, and take turns: the ratio is of rounds side by side, and the median of those is
shown. `reading` is decoding and resizing alone: by torch's kernel, and by NumPy. The CPU's time is measured beside the
clock, which says little on a busy machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

CHILD = """
import json, resource, sys, time
started = time.perf_counter(), time.process_time()
if sys.argv[1] == "exported":
    for name in ("torch", "timm", "pandas", "scipy"):
        sys.modules[name] = None
import eml
from eml.inference.image_inputs import load_pixels
if sys.argv[1] == "torch":
    import torch
    torch.set_num_threads(1)
    model = eml.load(sys.argv[2], device="cpu")
else:
    from eml.inference.exported.loading import load_exported
    from pathlib import Path
    model = load_exported(Path(sys.argv[2]), threads=1)
paths = json.loads(sys.stdin.readline())
model.embed(paths[:1])
ready = [time.perf_counter() - started[0], time.process_time() - started[1]]
print(json.dumps(ready), flush=True)
for line in sys.stdin:
    before = time.perf_counter(), time.process_time()
    count = len(model.embed(paths)) if line.strip() == "embed" else sum(1 for _ in load_pixels(paths, model.preprocess))
    spent = [time.perf_counter() - before[0], time.process_time() - before[1]]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([count / value for value in spent] + [memory]), flush=True)
"""


class Child:
    """A process with a model; `ask` measures images per second by the clock and by the CPU, and memory (MiB)."""

    def __init__(self, kind: str, model: str, paths: list[str]) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", CHILD, kind, model]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.ready = self.ask(json.dumps(paths))

    def ask(self, line: str) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer: list[float] = json.loads(self.process.stdout.readline())
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("exported")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = [str(path) for path in files[:: max(1, len(files) // options.images)]][: options.images]
    children = [Child("torch", options.checkpoint, paths), Child("exported", options.exported, paths)]
    names = ["torch", "exported"]
    for name, child in zip(names, children, strict=True):
        print(f"{name:9} start to first embedding: {child.ready[0]:.2f} s, {child.ready[1]:.2f} s of the CPU")
    for work in ("embed", "reading"):
        rounds = [[child.ask(work) for child in children] for _ in range(options.rounds)]
        for number, name in enumerate(names):
            clock, cpu = (statistics.median(row[number][kind] for row in rounds) for kind in (0, 1))
            memory = max(row[number][2] for row in rounds)
            print(f"{name:9} {work}: {clock:.1f} images/s, {cpu:.1f} per second of the CPU, {memory:.0f} MiB at most")
        ratio = statistics.median(row[1][1] / row[0][1] for row in rounds)
        print(f"{work}: exported / torch {ratio:.2f}, by the CPU's time")


if __name__ == "__main__":
    main()
