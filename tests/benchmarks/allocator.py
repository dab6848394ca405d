"""Measure what freed memory that stays in the process saves: processor time of training steps and of embedding.

    OMP_NUM_THREADS=1 python tests/benchmarks/allocator.py [--rounds 3] [--size 128]

Each round runs a process with EML_MALLOC=default and one without, in turns; mobilenetv2_100 with random weights, 8
steps of 32 random images and 8 batches of 64 to embed. Prints the medians, the median ratio and the peak memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time


def child(size: int) -> None:
    """Print processor seconds of the steps and of embedding, and the peak memory (MiB)."""
    import torch

    from eml.models.config import ModelConfig
    from eml.models.embedder import build_embedder

    torch.manual_seed(0)
    network = build_embedder(ModelConfig(weights="none"), size)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    seconds = []
    for batch, trains in ((32, True), (64, False)):
        images = torch.randn(batch, 3, size, size)
        network.train(trains)
        for step in range(10):
            if step == 2:  # after two to warm up
                started = time.process_time()
            with torch.set_grad_enabled(trains):
                loss = network(images).square().mean()
            if trains:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        seconds.append(time.process_time() - started)
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main() -> None:
    """Run the processes in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.size)
        return
    runs: dict[str, list[list[float]]] = {"default": [], "kept": []}
    for _ in range(options.rounds):
        for name, found in runs.items():
            words = [sys.executable, __file__, "--child", "--size", str(options.size)]
            output = subprocess.run(words, env=os.environ | {"EML_MALLOC": name}, capture_output=True, check=True)
            found.append(json.loads(output.stdout))
    for place, name in enumerate(("8 steps of 32 images, s", "8 batches of 64 images, s", "peak memory, MiB")):
        default, kept = ([run[place] for run in found] for found in runs.values())
        ratio = statistics.median(after / before for before, after in zip(default, kept, strict=True))
        print(f"{name}: {statistics.median(default):.2f} → {statistics.median(kept):.2f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
