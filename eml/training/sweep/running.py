"""The runs of a sweep, one after another in this process or several at a time in processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eml.child_python import python_options
from eml.config import dump
from eml.config.plugins import exits_refused
from eml.dataset.table import Table
from eml.errors import EmlError, Interrupted
from eml.files import write_text
from eml.progress import Report
from eml.stopping import saving
from eml.threads import cores
from eml.training.fit import fit
from eml.training.run_folder import RunFolder
from eml.training.sweep.plan import PlannedRun, settings_file

GO_ON = "the same command goes on from there"
PATIENCE = 300.0
"""Seconds that runs have, after a stop, to finish their step and save."""
ROOM = 1.25
"""Free memory, relative to the largest run so far, that lets another one begin."""
_CHILD = (
    "import ctypes, signal\n"
    "if sys.platform == 'linux':\n"
    "    ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"  # PR_SET_PDEATHSIG: a run ends, saved, with its sweep
    "from eml.cli.app import main\n"
    "sys.exit(main())\n"
)

Failures = dict[str, str]
"""Name of a setting → why its run failed."""


def run_here(
    runs: Sequence[PlannedRun],
    table: Table,
    report: Report,
    done: Callable[[], None],
    train: Callable[..., object] = fit,
    command: str | None = None,
) -> Failures:
    """Train one run after another in this process; return those that failed, which lose the others nothing.

    Args:
        runs: The runs that are not finished.
        table: Of all of them.
        report: Receives a line on each run.
        done: Called after each.
        train: Trains one, as `fit` does.
        command: The command line, for run.json.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM, with the state of the run saved.
    """
    failures: Failures = {}
    for run in runs:
        report(f"{run.setting.name}: {'resumed' if run.status == 'begun' else 'begins'}")
        resume = run.status == "begun"
        keep_config(run, run.folder.parent)
        try:
            with exits_refused():
                train(run.config, table, resume=resume, overwrite=not resume, command=command)
        except (Interrupted, KeyboardInterrupt) as error:
            raise Interrupted(f"interrupted in {run.setting.name}, saved: {GO_ON}") from error
        except EmlError as error:
            failures[run.setting.name] = error.problems[0] if error.problems else str(error)
        except Exception as error:  # a fault of one run must not lose the others; it is shown, and told at the end
            failures[run.setting.name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        done()
    return failures


def keep_config(run: PlannedRun, out: Path) -> Path:
    """Write the planned config of a run, by which a later sweep knows it, and return the file."""
    file = settings_file(out, run.folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    own = run.config.model_copy(update={"output": run.folder.absolute()})  # not relative to the folder of this file
    write_text(file, dump(own))
    return file


@dataclass
class _Job:
    """A run in a process of its own."""

    run: PlannedRun
    process: "subprocess.Popen[bytes]"
    log: Path
    place: int


def run_in_processes(
    runs: Sequence[PlannedRun], out: Path, jobs: int, report: Report, done: Callable[[], None]
) -> Failures:
    """Train some runs at a time; return those that failed, which lose the others nothing.

    Each process gets its share of the cores. Another one begins only when those that run have taken a step, and so
    hold their memory, and there is room for one more as large as the largest.

    Args:
        runs: The runs that are not finished.
        out: The folder of the sweep, where configs and logs of the processes go.
        jobs: Processes at a time.
        report: Receives a line on each run.
        done: Called after each.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM, with the states of the runs saved.
    """
    waiting, active, failures = list(runs), list[_Job](), Failures()
    largest = 0
    try:
        while waiting or active:
            largest = max([largest, *(_memory(job.process.pid) for job in active)])
            if waiting and len(active) < jobs and (not active or _may_begin(active, largest)):
                run = waiting.pop(0)
                report(f"{run.setting.name}: {'resumed' if run.status == 'begun' else 'begins'}")
                place = min(set(range(jobs)) - {job.place for job in active})
                active.append(_start(run, out, jobs, place))
            for job in [job for job in active if job.process.poll() is not None]:
                active.remove(job)
                if code := job.process.returncode:
                    failures[job.run.setting.name] = f"{_last_line(job.log)} (exit code {code}; see {job.log})"
                done()
            time.sleep(0.2)
    except BaseException as error:
        _stop(active)
        if not isinstance(error, KeyboardInterrupt | Interrupted):
            raise
        raise Interrupted(f"interrupted with {len(active)} runs, saved: {GO_ON}") from error
    return failures


def _start(run: PlannedRun, out: Path, jobs: int, place: int) -> _Job:
    config, log = keep_config(run, out), out / "logs" / f"{run.setting.folder}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = ["train", str(config), "--resume" if run.status == "begun" else "--overwrite"]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *python_options(_CHILD), *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is the sweep's, which passes it on
            env=os.environ | _share(run, jobs, place),
        )
    return _Job(run, process, log, place)


def _share(run: PlannedRun, jobs: int, place: int) -> dict[str, str]:
    """Return the environment that gives a process its share of cores and of GPUs."""
    share = {"OMP_NUM_THREADS": str(max(1, cores() // jobs))}
    import torch

    if run.config.device == "auto" and (gpus := torch.cuda.device_count()) > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        share["CUDA_VISIBLE_DEVICES"] = visible[place % len(visible)]
    return share


def _may_begin(active: Sequence[_Job], largest: int) -> bool:
    """Return whether the runs hold their memory already, and there is room for another."""
    if not all(_has_stepped(job) for job in active):
        return False
    free = _free_memory()
    return free is None or free > ROOM * largest


def _has_stepped(job: _Job) -> bool:
    steps = RunFolder(job.run.folder).path / "steps.jsonl"
    return steps.is_file() and steps.stat().st_size > 0


def _memory(process: int) -> int:
    """Return the most bytes of memory that a process has held; 0 where the system does not say."""
    return _kilobytes(Path(f"/proc/{process}/status"), "VmHWM:") or 0


def _free_memory() -> int | None:
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable:")


def _kilobytes(file: Path, name: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None


def _stop(active: Sequence[_Job]) -> None:
    """Let the runs save and end; what has not ended in time is killed."""
    with saving():
        for job in active:
            job.process.terminate()
        for job in active:
            try:
                job.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                job.process.kill()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"
