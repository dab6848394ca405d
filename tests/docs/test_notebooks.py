"""docs/notebooks: kept without outputs, and running from the first cell to the last."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import eml

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
INSTALL = "%pip install -q easy-metric-learning"
MINUTES = 12
"""Of a whole notebook, on a machine that has other work too; on two free cores it takes three."""


def read(path: Path) -> dict[str, Any]:
    """Return a notebook's content."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def code_cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells with code."""
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    """Return a cell's text."""
    return "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_machine_paths(path: Path) -> None:
    for cell in code_cells(path):
        assert (cell["outputs"], cell["execution_count"]) == ([], None), f"clear the outputs of {path.name}"
    assert not re.findall(r"(?:/home|/Users|/tmp|/root|/work)/\S*", path.read_text(encoding="utf-8"))
    assert set(read(path)["metadata"]) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_installs_and_the_others_are_python_that_uses_what_eml_has(path: Path) -> None:
    first, *others = map(source, code_cells(path))
    assert first == INSTALL
    for code in others:
        compile(code, path.name, "exec")
        assert set(re.findall(r"\beml\.([A-Za-z]\w*)(?=\()", code)) <= set(eml.__all__)


@pytest.mark.wide
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = run(nbformat.read(path, as_version=4), tmp_path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    streams = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not [text for text in streams if "IProgress not found" not in text], "nothing is printed to stderr"
    assert not [output for output in outputs if "<progress" in str(output.get("data"))], "bars leave nothing"
    assert any(output.get("data") == {"text/plain": "", "text/html": ""} for output in outputs), "there were bars"
    tables = [output.data["text/html"] for output in outputs if "EvaluateResult(" in str(output.get("data"))]
    (rate,) = re.findall(r"<td>R@1</td><td>(0\.\d+) \(", tables[0])
    assert float(rate) > 0.7
    assert any(output.get("data", {}).get("text/html", "").count("<img ") == 9 for output in outputs), (
        "eight neighbours"
    )


@pytest.mark.wide
def test_a_training_in_a_notebook_is_interrupted_with_its_state_saved_and_resumed(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    cells = [
        "import asyncio, os, signal, threading, eml\n"
        "from pathlib import Path\n"
        "from eml.demo_data.demo import draw_images\n"
        "draw_images(Path('photos'), characters='ABCDEFGHKM', copies=1)\n"
        "eml.init('photos', backbone='test_resnet', weights='none').written",
        "def interrupt():\n"
        "    steps, state = Path('photos/run/steps.jsonl'), Path('photos/run/state.pt')\n"
        "    while not (state.exists() and steps.stat().st_size):\n"
        "        threading.Event().wait(0.1)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        "try:\n"
        "    eml.train('photos', epochs=40, progress=True)\n"
        "except eml.errors.Interrupted as error:\n"
        "    print(error)",
        "eml.scan('nowhere')",
        "await asyncio.sleep(0)  # a notebook's cells run in an event loop\n"
        "eml.train('photos/run', resume=True, accept_changes=True, epochs=2).folder.name",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    ran = run(notebook, tmp_path, allow_errors=True)
    assert "state saved" in ran.cells[1].outputs[-1]["text"]
    (error,) = ran.cells[2].outputs
    assert len(error["traceback"]) <= 3, "the cell's line and the message, not the way inside eml"
    assert error["traceback"][-1].startswith("DataError: nowhere: no such folder. ")
    assert ran.cells[3].outputs[-1]["data"]["text/plain"] == "'run'"


def run(notebook: Any, folder: Path, **options: Any) -> Any:
    """Return the notebook with the outputs of all of its cells; what the first one installs is here already."""
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for cell in notebook.cells:
        if cell.source == INSTALL:
            cell.source = ""
    resources = {"metadata": {"path": str(folder)}}
    return client.NotebookClient(notebook, timeout=60 * MINUTES, resources=resources, **options).execute()
