"""The scripts of a job array: hostile paths are one word each, and run by a stand-in for sbatch they give the bytes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import eml
from eml.commands.sharded import SubmittedResult
from eml.errors import ConfigError, DataError, OutputError
from tests.sharding.executors.conftest import assert_same

HOSTILE = 'it\'s $(touch owned) `id` "x"; %A %% -n\t\nü'
SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path
options = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:-1])
os.chdir(options["chdir"])
script = Path(sys.argv[-1]).read_text()
found = re.search(r"^#SBATCH --array=0-(\\d+)", script, re.M)
number = 100 + len(list(Path({state!r}).iterdir()))
failed = False
if "dependency" in options:
    failed = (Path({state!r}) / options["dependency"].removeprefix("afterok:")).read_text() != "ok"
for task in range(int(found[1]) + 1 if found else 1):
    if not failed:
        patterns = {{"%%": "%", "%A": str(number), "%a": str(task)}}
        name = re.sub("%[%Aa]", lambda found: patterns[found[0]], options["output"])
        log = open(name, "wb")
        own = os.environ | {{"SLURM_ARRAY_TASK_ID": str(task)}}
        failed |= subprocess.run(["bash", sys.argv[-1]], env=own, stdout=log, stderr=log).returncode != 0
(Path({state!r}) / str(number)).write_text("failed" if failed else "ok")
print(f"{{number}};cluster")
"""
"""Runs the tasks of an array one after the other, and jobs that depend on it where all of them ended well."""


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for sbatch; the folder has a file for each job."""
    folder, state = tmp_path / "bin", tmp_path / "jobs"
    folder.mkdir()
    state.mkdir()
    (folder / "sbatch").write_text(SBATCH.format(python=sys.executable, state=str(state)))
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return state


@pytest.fixture
def told_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets the folder and the words of each call of Python in a script, in place of eml."""
    file, stub = tmp_path / "words.jsonl", tmp_path / "no python"
    code = f"import json, os, sys; open({str(file)!r}, 'a').write(json.dumps([os.getcwd(), *sys.argv[1:]]) + chr(10))"
    (tmp_path / "stub.py").write_text(code)
    stub.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/stub.py "$@"\n')
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    return file


@pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are bash's")
def test_the_words_of_the_scripts_are_those_of_the_command_whatever_the_paths_are(
    photos: Path, tmp_path: Path, sbatch: Path, told_words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / HOSTILE
    here.mkdir()
    shutil.copytree(photos, here / "-images")
    monkeypatch.chdir(here)
    result = eml.scan("./-images", out=f"{HOSTILE}.csv", shards=2, executor="slurm", executor_options="submit=true")
    assert isinstance(result, SubmittedResult)
    assert result.jobs == ("100", "101")
    assert result.next_command == "squeue --jobs 100,101"
    calls = [json.loads(line) for line in told_words.read_text().splitlines()]
    common = ["-P", "-m", "eml"]
    scan = [str(here), *common, "scan", "./-images", "--out", f"{HOSTILE}.csv", "--shards", "2", "--shard"]
    assert calls == [[*scan, "0"], [*scan, "1"], [str(here), *common, "merge-shards", f"{HOSTILE}.csv", "--remove"]]
    assert sorted(path.name for path in here.iterdir()) == ["-images", f"{HOSTILE}.csv.slurm"]
    logs = sorted(path.name for path in (here / f"{HOSTILE}.csv.slurm").glob("*.log"))
    assert logs == ["100_0.log", "100_1.log", "101.log"]
    assert not list(here.rglob("owned"))


def test_scripts_are_written_with_their_options_and_not_over_the_users_files(photos: Path, tmp_path: Path) -> None:
    options = ["partition=cpu", "time=1-02:00:00", "memory=8G", "threads=2", "at_once=3", "gpus=1", "account=a"]
    options += ["line=#SBATCH --qos=low", "line=module load cuda"]
    table = tmp_path / "t.csv"
    result = eml.scan(photos, out=table, shards=7, executor="slurm", executor_options=options, overwrite=True)
    assert isinstance(result, SubmittedResult)
    assert result.jobs == ()
    array, merge, submit = (path.read_text() for path in result.written)
    for line in ("partition=cpu", "account=a", "time=1-02:00:00", "mem=8G", "cpus-per-task=2", "gpus=1", "qos=low"):
        assert f"#SBATCH --{line}\n" in array
        assert f"#SBATCH --{line}\n" in merge
    assert "#SBATCH --array=0-6%3\n" in array
    assert "--array" not in merge
    words = f"exec {sys.executable} -P -m eml scan {photos} --out {table} --overwrite --shards 7 --shard"
    assert array.splitlines()[-2:] == ["module load cuda", f'{words} "$SLURM_ARRAY_TASK_ID"']
    assert merge.endswith(f"merge-shards {table} --remove --overwrite\n")
    assert "--kill-on-invalid-dep=yes --dependency=afterok:$array merge.sh" in submit
    assert result.next_command == f"bash {tmp_path}/t.csv.slurm/submit.sh"
    eml.scan(photos, out=table, shards=2, executor="slurm")  # eml's own are written anew
    (tmp_path / "t.csv.slurm" / "merge.sh").write_text("precious")
    with pytest.raises(OutputError, match=r"merge\.sh: exists and was not written by eml"):
        eml.scan(photos, out=table, shards=3, executor="slurm")
    assert "--shards 2" in (tmp_path / "t.csv.slurm" / "array.sh").read_text()


def test_what_cannot_be_submitted_is_told(
    photos: Path, tmp_path: Path, sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(**options: object) -> None:
        eml.scan(photos, out=tmp_path / "t.csv", executor="slurm", executor_options="submit=true", **options)

    with pytest.raises(ConfigError, match="needs `shards`"):
        scan()
    with pytest.raises(ConfigError, match="a backslash in its path"):
        eml.scan(photos, out=tmp_path / "a\\b" / "t.csv", executor="slurm", shards=2)
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    with pytest.raises(
        DataError, match=r"sbatch refused the jobs: sbatch: error: invalid partition\. The scripts are in"
    ):
        scan(shards=2)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="needs sbatch, which is not on this machine") as error:
        scan(shards=2)
    assert error.value.code == "no-cluster"


@pytest.mark.wide
def test_the_array_and_the_merging_job_leave_the_bytes_of_a_scan(
    many: Path, whole: Path, tmp_path: Path, sbatch: Path
) -> None:
    table = tmp_path / "t.csv"
    options = ["submit=true", "line=export COLUMNS=80"]
    result = eml.scan(many, out=table, shards=3, executor="slurm", executor_options=options)
    assert isinstance(result, SubmittedResult)
    logs = {path.name: path.read_text() for path in (tmp_path / "t.csv.slurm").glob("*.log")}
    assert {(sbatch / job).read_text() for job in result.jobs} == {"ok"}, logs
    assert sorted(logs) == ["100_0.log", "100_1.log", "100_2.log", "101.log"]
    assert_same(whole, table)


def has_slurm() -> bool:
    """Return whether jobs can be submitted here and some machine is up to do them."""
    if shutil.which("sbatch") is None:
        return False
    shown = subprocess.run(["sinfo", "--noheader", "--states=idle,mixed,allocated"], capture_output=True, check=False)
    return shown.returncode == 0 and bool(shown.stdout.strip())


def wait_for(job: str, folder: Path) -> None:
    """Return when a job has ended or has left the queue."""
    waiting = ["sbatch", "--wait", f"--dependency=afterany:{job}", f"--output={folder}/wait.log", "--wrap", "true"]
    subprocess.run(waiting, capture_output=True, check=True, timeout=300)


@pytest.mark.wide
def test_slurm_itself_leaves_the_bytes_of_a_scan_also_after_a_task_was_killed(
    many: Path, whole: Path, tmp_path: Path
) -> None:
    if not has_slurm():
        pytest.skip("no Slurm with a machine that is up")
    table, gate = tmp_path / "t.csv", tmp_path / "gate"
    killed = f'[ "${{SLURM_ARRAY_TASK_ID:-}}" != 1 ] || [ -e {gate} ] || kill -KILL $$'
    options = ["submit=true", "line=export COLUMNS=80", f"line={killed}"]
    result = eml.scan(many, out=table, shards=3, executor="slurm", executor_options=options)
    assert isinstance(result, SubmittedResult)
    wait_for(result.jobs[1], tmp_path)
    assert not table.exists()
    assert len(list((tmp_path / ".t.csv.eml-shards").glob("*.result"))) == 2
    with pytest.raises(DataError, match=r"shard 1 of 3 is missing"):
        eml.merge_shards(table)
    gate.touch()
    queue = subprocess.run(["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True)
    assert result.jobs[1] not in queue.stdout.split(), "the merging job waits for ever"
    submit = tmp_path / "t.csv.slurm" / "submit.sh"
    jobs = subprocess.run(["bash", submit], capture_output=True, text=True, check=True).stdout.split()
    wait_for(jobs[1], tmp_path)
    assert_same(whole, table)
