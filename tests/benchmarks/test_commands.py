"""The benchmark of whole commands draws its inputs, measures in turns and writes ratios."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("commands.py")


@pytest.mark.wide
def test_commands_are_measured_against_their_floors(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    words = [sys.executable, str(SCRIPT), "--work", str(tmp_path / "work"), "--out", str(out), "--rounds", "1"]
    only = ("train-reads-small", "hash-small", "file-evaluate", "start")
    done = subprocess.run([*words, "--only", *only], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text(encoding="utf-8"))
    assert set(results) == set(only)
    for facts in results.values():
        assert facts["problems"] == {}
        assert facts["sides"]["floor"]["ratio"] == 1
        assert facts["sides"]["after"]["seconds"] > 0
    assert "| goal | before | after |" in done.stdout
