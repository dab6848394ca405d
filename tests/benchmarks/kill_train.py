"""Kill a training run by SIGKILL twenty times at random moments and resume it: it ends with the same bytes.

    python tests/benchmarks/kill_train.py --images DIR/CLASS/… --kills 20

Trains test_resnet on the images twice, once undisturbed and once killed and resumed again and again, then compares the
weights and the logs.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    moments, killed = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run([sys.executable, "-m", "eml", "kfold", str(options.images), "--out", place], check=True)
        for name, workers in (("whole", 0), ("killed", 1)):
            text = CONFIG.format(
                name=name,
                table=folder / "folds.csv",
                workers=workers,
                epochs=options.epochs,
                precision=options.precision,
            )
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        train = [sys.executable, "-m", "eml", "train"]
        started = time.monotonic()
        subprocess.run([*train, str(folder / "whole.yaml")], check=True)
        whole = time.monotonic() - started
        resume: list[str] = []
        while True:
            process = subprocess.Popen([*train, str(folder / "killed.yaml"), *resume], stderr=subprocess.DEVNULL)
            try:
                code = process.wait(moments.uniform(3, 3 + whole / 3) if killed < options.kills else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                begun = (folder / "killed" / "state.pt").exists() or (folder / "killed" / "state.previous.pt").exists()
                resume = ["--resume"] if begun else ["--overwrite"]
                continue
            assert code == 0, f"exit code {code}"
            if killed >= options.kills:
                break
            resume = ["--overwrite"]  # it ended before enough kills: start again
        whole_files, killed_files = (contents(folder / name) for name in ("whole", "killed"))
        assert whole_files.keys() == killed_files.keys(), set(whole_files) ^ set(killed_files)
        different = [name for name, content in whole_files.items() if content != killed_files[name]]
        print(f"killed {killed} times; {len(whole_files)} files compared, different: {different or 'none'}")
        sys.exit(bool(different))


def contents(run: Path) -> dict[str, bytes]:
    files = [run / "steps.jsonl", run / "metrics.jsonl", *sorted((run / "checkpoints").rglob("*"))]
    return {str(file.relative_to(run)): file.read_bytes() for file in files if file.is_file()}


if __name__ == "__main__":
    main()
