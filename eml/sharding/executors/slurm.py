"""All shards as an array of Slurm, with a job that merges them."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from eml.errors import ConfigError, DataError, OutputError
from eml.files import as_argument, not_writable, whole_files
from eml.sharding.executors.base import Executor, ShardBatch, SubmittedShards
from eml.sharding.jobs import ShardCaller

MARK = "# Written by eml, and written anew by the same command."
ARRAY, MERGE, SUBMIT = "array.sh", "merge.sh", "submit.sh"
MOST_BYTES = 1024  # of an older script that are read to see whether eml wrote it


def _one_line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("a line of text without control characters")
    return text


Lines = Annotated[tuple[Annotated[str, AfterValidator(_one_line)], ...], Field(max_length=100)]
WORD = r"[\w.,:@+-]+"


class Slurm(Executor):
    """Write the script of a job array, one task for each shard, and that of a job which merges them afterwards."""

    type: Literal["slurm"] = "slurm"
    partition: str | None = Field(None, pattern=rf"^{WORD}$", description="where the jobs run")
    account: str | None = Field(None, pattern=rf"^{WORD}$", description="who is charged")
    time: str | None = Field(None, pattern=r"^\d[\d:-]*$", description="limit of a task: minutes, or D-HH:MM:SS")
    threads: int = Field(1, ge=1, le=1024, description="cores of each task")
    memory: str | None = Field(None, pattern=r"^\d+[KMGT]?$", description="memory of each task, such as 8G")
    gpus: int = Field(0, ge=0, le=64, description="GPUs of each task")
    at_once: int | None = Field(None, ge=1, description="tasks that may run at the same time")
    line: Lines = Field((), description="a further line of both scripts: #SBATCH …, or a command such as module load")
    submit: bool = Field(False, description="whether to submit the jobs, and not only to write the scripts")

    def run(self, batch: ShardBatch, caller: ShardCaller) -> SubmittedShards:
        """Write the scripts beside what the command writes, and submit them where that is asked for."""
        if batch.count is None:
            text = '`executor="slurm"` needs `shards`, the tasks of the array'
            raise ConfigError(text, code="missing-key", parameter="shards")
        if self.submit and shutil.which("sbatch") is None:
            text = "`executor_options` submit=true needs sbatch, which is not on this machine; leave it out and run "
            text += f"{SUBMIT} where it is"
            raise ConfigError(text, code="no-cluster", parameter="executor_options")
        folder = batch.target.absolute().with_name(f"{batch.target.name}.slurm")
        if "\\" in str(folder):
            text = f"{folder}: Slurm writes no logs into a folder with a backslash in its path; give another `out`"
            raise ConfigError(text, code="invalid-value", parameter="out")
        texts = {folder / name: text for name, text in self._scripts(batch, folder).items()}
        _write(texts)
        submitting = shlex.join(["bash", str(folder / SUBMIT)])
        if not self.submit:
            return SubmittedShards(tuple(texts), (), submitting)
        jobs = _submitted(folder / SUBMIT, submitting)
        caller.note(f"submitted {batch.count:,} tasks as job {jobs[0]}, and job {jobs[1]}, which merges them")
        checking = shlex.join(["eml", "merge-shards", as_argument(batch.target)])
        caller.note(f"if a task fails, nothing is merged: its log is in {folder}, and {checking} says what is missing")
        caller.note(f"what is done is not done again by: {submitting}")
        return SubmittedShards(tuple(texts), jobs, shlex.join(["squeue", "--jobs", ",".join(jobs)]))

    def _scripts(self, batch: ShardBatch, folder: Path) -> dict[str, str]:
        """Return name → text. Paths stand quoted in commands, never in lines of Slurm, which quotes in another way."""
        assert batch.count is not None, "the caller has looked"
        eml = [sys.executable, "-P", "-m", "eml"]
        words = shlex.split(batch.line)
        assert words[0] == "eml", batch.line
        shard = f'{shlex.join([*eml, *words[1:], "--shards", str(batch.count), "--shard"])} "$SLURM_ARRAY_TASK_ID"'
        merging = [*eml, "merge-shards", as_argument(batch.target), "--remove"]
        merging += ["--overwrite"] if getattr(batch.config, "overwrite", False) else []
        throttle = f"%{self.at_once}" if self.at_once else ""
        array = [f"--job-name=eml-{batch.command}", f"--array=0-{batch.count - 1}{throttle}", *self._resources()]
        merge = [f"--job-name=eml-merge-{batch.command}", *self._resources()]
        return {
            ARRAY: self._script(array, batch, shard),
            MERGE: self._script(merge, batch, shlex.join(merging)),
            SUBMIT: _submitting(folder),
        }

    def _resources(self) -> list[str]:
        options = {"partition": self.partition, "account": self.account, "time": self.time, "mem": self.memory}
        lines = [f"--{name}={value}" for name, value in options.items() if value is not None]
        return [*lines, f"--cpus-per-task={self.threads}", *([f"--gpus={self.gpus}"] if self.gpus else [])]

    def _script(self, options: list[str], batch: ShardBatch, command: str) -> str:
        own = [line for line in self.line if line.startswith("#SBATCH")]
        commands = [line for line in self.line if not line.startswith("#SBATCH")]
        lines = [
            "#!/bin/bash",
            MARK,
            *(f"#SBATCH {option}" for option in options),
            *own,
            "set -euo pipefail",
            f"export OMP_NUM_THREADS={self.threads}",
            f"cd -- {shlex.quote(str(batch.folder))}",
            *commands,
            f"exec {command}",
        ]
        return "\n".join(lines) + "\n"


def _submitting(folder: Path) -> str:
    """Return the script that submits both jobs. The logs are written into the folder of the scripts.

    Slurm replaces patterns such as %A in the whole path of a log, also in a relative one's folder; %% is a percent.
    Where a task failed, Slurm takes the merging job out of the queue, in which it would stay for ever.
    """
    sbatch, logs = ["sbatch", "--parsable", f"--chdir={folder}"], str(folder).replace("%", "%%")
    array = shlex.join([*sbatch, f"--output={logs}/%A_%a.log", ARRAY])
    merging = shlex.join([*sbatch, f"--output={logs}/%A.log", "--kill-on-invalid-dep=yes"])
    merge = " ".join([merging, "--dependency=afterok:$array", MERGE])
    lines = [
        "#!/bin/bash",
        MARK,
        "set -euo pipefail",
        f"cd -- {shlex.quote(str(folder))}",
        f"array=$({array})",
        "array=${array%%;*}  # without the name of the cluster",
        f"merge=$({merge})",
        'echo "$array ${merge%%;*}"',
    ]
    return "\n".join(lines) + "\n"


def _write(texts: dict[Path, str]) -> None:
    """Write the scripts, all or none. Raises OutputError where a file in the way is not eml's."""
    for path in texts:
        if path.is_symlink() or (path.exists() and not _is_own(path)):
            text = f"{path}: exists and was not written by eml; move it away"
            raise OutputError(text, code="file-exists")
    folder = next(iter(texts)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_files(list(texts)) as places:
            for path, text in texts.items():
                places[path].write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise not_writable(folder, error) from error


def _is_own(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(MOST_BYTES)
    except OSError:
        return False


def _submitted(script: Path, command: str) -> tuple[str, str]:
    """Submit both jobs and return their numbers."""
    done = subprocess.run(
        ["bash", str(script)], capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    numbers = done.stdout.split()
    if done.returncode or len(numbers) < 2 or not all(re.fullmatch(r"\d+", number) for number in numbers[-2:]):
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        text = f"sbatch refused the jobs: {reason}. The scripts are in {script.parent}; mend them, and run: {command}"
        raise DataError(text, code="no-cluster", parameter="executor_options")
    return numbers[-2], numbers[-1]
