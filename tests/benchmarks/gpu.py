"""What eml does on one GPU: steps, class head, loader, evaluation, waits, and whether results equal the CPU's.

    python tests/benchmarks/gpu.py --out gpu [--only head evaluate] [--seconds 470] [--dry-run]

One command of at most eight minutes that needs this checkout and its packages alone; where pytorch-metric-learning is
installed it is compared too. It writes gpu.json and gpu.html into the folder `--out`. Every part has a time of its own,
and runs in another process: one that fails, takes too long or ends that process is recorded as such, the rest goes on.
`--dry-run` runs all parts with tiny sizes on the CPU, to show that they work; its figures say nothing.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, whatever else is installed

PARTS = {
    "machine": ("gpu_machine", "machine", "The machine", 25),
    "margins": ("gpu_checks", "margins", "Every margin equals the CPU", 50),
    "head": ("gpu_head", "head", "The class head", 70),
    "evaluate": ("gpu_data", "evaluate", "Evaluation", 80),
    "steps": ("gpu_training", "steps", "Training steps", 80),
    "waits": ("gpu_training", "waits", "Waits for the device", 30),
    "resume": ("gpu_checks", "resume", "Stopped and resumed", 40),
    "loader": ("gpu_data", "loader", "Images to the device", 45),
    "tests": ("gpu_checks", "gpu_tests", "Tests that need a GPU", 50),
    "compile": ("gpu_training", "compiled_steps", "Compiled training steps", 150),
}
"""For each part its module, function, title and the seconds that it may take: in the order of what is worth most."""
GRACE = 5  # seconds beyond its time, in which a part may finish what it measures
SLOW = 4  # times as long may a part of a dry run take, on a machine that has other work
PACKAGES = ("torch", "triton", "timm", "numpy", "pytorch-metric-learning")


@dataclass
class Outcome:
    """What a part left: its state, its rows and notes, and what of it failed."""

    name: str
    title: str
    state: str = "not run: no time was left"
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def take(self, event: dict[str, Any]) -> None:
        """Add an event of the log."""
        match event["event"]:
            case "row":
                self.rows.append({"name": event["name"], **event["values"]})
            case "note":
                self.notes.append(event["text"])
            case "failed" | "skipped":
                self.failures.append({key: value for key, value in event.items() if key not in ("part", "event")})
            case "end":
                self.state = "failed" if event["failed"] else "done"


class Worker:
    """A process that runs parts one after the other, each when it is told to."""

    def __init__(self, log: Path, options: argparse.Namespace) -> None:
        command = [sys.executable, sys.argv[0], "--log", str(log), *(["--dry-run"] if options.dry_run else [])]
        output = (log.parent / "gpu.log").open("a", encoding="utf-8")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, text=True, start_new_session=True
        )

    def begin(self, part: str, seconds: float) -> None:
        """Tell it to run a part."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{part} {seconds}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """End it, with all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def work(log: Path, dry: bool) -> None:
    """Run the parts whose names and times arrive on standard input."""
    import torch
    from gpu_kit import Part

    device = torch.device("cpu" if dry else "cuda")
    for line in sys.stdin:
        name, seconds = line.split()
        module, function, *_ = PARTS[name]
        part, failed = Part(name, device, dry, float(seconds), log), False
        try:
            getattr(import_module(module), function)(part)
        except BaseException as error:  # a part that calls sys.exit, too, is one that fails
            part.failed(name, error)
            failed = True
        part.write("end", failed=failed)


def events(log: Path, position: int) -> tuple[list[dict[str, Any]], int]:
    """Return the whole lines of the log from a position on, and the position after them."""
    if not log.exists():
        return [], position
    with log.open("rb") as file:
        file.seek(position)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], position + len(whole)


def run_parts(names: Sequence[str], log: Path, options: argparse.Namespace) -> list[Outcome]:
    """Run the parts within the time of all; return what they left."""
    end, worker, position = time.monotonic() + options.seconds, Worker(log, options), 0
    outcomes = [Outcome(name, PARTS[name][2]) for name in names]
    for outcome in outcomes:
        left = end - time.monotonic() - GRACE
        usual = PARTS[outcome.name][3] * (SLOW if options.dry_run else 1)
        seconds = min(options.budget.get(outcome.name, usual), left)
        if left < 3:
            continue
        started = time.monotonic()
        print(f"{outcome.title}: up to {seconds:g} s", flush=True)
        if worker.process.poll() is not None:
            worker = Worker(log, options)
        outcome.state = "running"
        worker.begin(outcome.name, seconds)
        while outcome.state == "running":
            ended = worker.process.poll() is not None
            new, position = events(log, position)
            for event in new:
                outcome.take(event)
            if outcome.state != "running":
                break
            if ended:
                outcome.state = f"failed: its process ended with status {worker.process.returncode}, see gpu.log"
            elif time.monotonic() - started > seconds + GRACE:
                outcome.state = f"failed: it was ended after its {seconds:.3g} s"
                worker.end()
            time.sleep(0.1)
        outcome.seconds = round(time.monotonic() - started, 1)
        print(f"  {outcome.state} after {outcome.seconds:.1f} s, {len(outcome.rows)} rows", flush=True)
    worker.end()
    return outcomes


def facts(options: argparse.Namespace) -> dict[str, Any]:
    """Return the versions that the figures hold for."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {"python": platform.python_version(), "versions": versions, "dry_run": options.dry_run}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--seconds", type=float, default=470, help="for all parts together")
    parser.add_argument("--budget", nargs="+", default=[], metavar="PART=SECONDS", help="other times for parts")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.budget = {name: float(value) for name, _, value in (entry.partition("=") for entry in options.budget)}
    return options


def main() -> None:
    options = parse()
    if options.log:
        work(options.log, options.dry_run)
        return
    from gpu_page import write_page

    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "gpu.jsonl"
    log.unlink(missing_ok=True)
    started = time.monotonic()
    outcomes = run_parts(options.only, log, options)
    result = facts(options) | {"seconds": round(time.monotonic() - started, 1)}
    result["parts"] = [vars(outcome) for outcome in outcomes]
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (options.out / "gpu.json").write_text(text + "\n", encoding="utf-8")
    write_page(result, options.out / "gpu.html")
    failed = [outcome.name for outcome in outcomes if outcome.state != "done"]
    incomplete = [outcome.name for outcome in outcomes if outcome.state == "done" and outcome.failures]
    print(f"{options.out / 'gpu.html'} and gpu.json, {result['seconds']:.0f} s")
    print(f"failed: {', '.join(failed) or 'none'}; incomplete: {', '.join(incomplete) or 'none'}")


if __name__ == "__main__":
    main()
