"""The benchmark of a GPU runs as a whole, and a part that fails does not end the rest."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pretend_cuda import CUDA, PretendCuda

SCRIPT = Path(__file__).with_name("gpu.py")

FAILING = """
import os, sys, time
def raises(part): raise ValueError("no such thing")
def dies(part): part.row("before", value=1); os._exit(9)
def hangs(part): time.sleep(100)
def works(part):
    part.attempt("bad", lambda: 1 / 0)
    part.attempt("long", lambda: None, needs=1e6)
    part.row("good", value=2)
"""


def run(script: Path, out: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, script, "--out", out, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads((out / "gpu.json").read_text())
    return result


@pytest.mark.wide
def test_a_dry_run_on_the_cpu_runs_every_part(tmp_path: Path) -> None:
    result = run(SCRIPT, tmp_path, "--dry-run")
    parts = {part["name"]: part for part in result["parts"]}
    assert {name: part["state"] for name, part in parts.items()} == dict.fromkeys(parts, "done")
    assert not [failure for part in parts.values() for failure in part["failures"]]
    assert all(part["rows"] or part["notes"] for part in parts.values())
    assert all(row["equal"] for row in parts["margins"]["rows"])
    assert all(row["to the bit"] for row in parts["resume"]["rows"])
    assert parts["evaluate"]["rows"][0]["ranks that differ"] == 0
    page = (tmp_path / "gpu.html").read_text()
    assert "its figures say nothing" in page
    assert all(part["title"] in page for part in parts.values())


@pytest.mark.wide
def test_parts_that_fail_hang_or_end_their_process_are_recorded_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    parts = {name: ("failing", name, f"Part {name}", 50) for name in ("raises", "dies", "hangs", "works")}
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import gpu
gpu.PARTS, gpu.GRACE = {parts!r}, 0.5
if __name__ == "__main__":
    gpu.main()
""")
    result = run(script, tmp_path, "--dry-run", "--budget", "hangs=0.5", "--only", *parts)
    found = {part["name"]: part for part in result["parts"]}
    assert found["raises"]["state"] == "failed"
    assert found["raises"]["failures"][0]["error"] == "ValueError: no such thing"
    assert "ended with status 9" in found["dies"]["state"]
    assert found["dies"]["rows"] == [{"name": "before", "value": 1}]
    assert found["hangs"]["state"] == "failed: it was ended after its 0.5 s"
    assert found["works"]["state"] == "done"
    assert found["works"]["rows"] == [{"name": "good", "value": 2}]
    assert [failure["name"] for failure in found["works"]["failures"]] == ["bad", "long"]


@pytest.mark.wide
def test_parts_keep_their_tensors_on_a_pretend_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    checks, head, data, kit = (import_module(f"gpu_{name}") for name in ("checks", "head", "data", "kit"))
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *device: None)
    with PretendCuda():
        part = kit.Part("pretend", CUDA, True, 500, tmp_path / "log")
        for margin in ("elastic_arcface", "vpl"):
            checks.check_margin(part, margin)
        head.compare(part, 300, 8, 16, "bfloat16")
        data.compare_with_cpu(part, 300, 16)
        data.measure_evaluation(part, 600, 16, (100, 600))
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line for line in lines if line["event"] == "failed"] == []
    rows = {line["name"]: line["values"] for line in lines if line["event"] == "row"}
    assert rows["elastic_arcface"]["equal"]
    assert rows["vpl"]["equal"]
    assert rows["300 × 16, the device and the CPU"]["ranks that differ"] == 0
