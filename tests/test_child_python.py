"""A process that is started imports what this one would, and nothing that lies in the current folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eml.child_python import python_options

CODE = "import json, colorsys, own\nprint(json.dumps([colorsys.__file__, own.__file__, sys.argv[1:]]))"


def test_it_has_the_search_path_of_this_process_and_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder, name in ((here, "colorsys.py"), (here, "own.py"), (elsewhere, "own.py")):
        folder.mkdir(exist_ok=True)
        (folder / name).touch()
    monkeypatch.syspath_prepend(str(elsewhere))
    words = [sys.executable, *python_options(CODE), "train", "run.yaml"]
    done = subprocess.run(words, cwd=here, capture_output=True, text=True, check=True)
    colorsys, own, arguments = json.loads(done.stdout)
    assert not Path(colorsys).is_relative_to(here)
    assert (own, arguments) == (str(elsewhere / "own.py"), ["train", "run.yaml"])
