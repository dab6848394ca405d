"""Graphs that were damaged on purpose fail their proof, each of them (must not leave under the name that was given)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import eml
from eml.cli.app import main
from eml.dataset.table import Table
from eml.exporting.export import ExportOptions, _facts
from eml.exporting.formats import FormatSettings
from eml.exporting.formats.onnx import Onnx
from eml.exporting.proof.images import ProofImages, choose_images
from eml.exporting.proof.outcome import ProofOutcome, prove_file
from eml.exporting.proof.record import ProofLimits
from eml.inference.exported.facts import read_facts
from eml.inference.exported.names import proof_files
from eml.inference.model import Model
from eml.models.necks.bnneck import BNNeck
from tests.exporting.conftest import tiny_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.xdist_group("proof")  # its graph is written once

Damage = Callable[[Any], None]
CLASSES, EACH = 6, 3


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(BNNeck())


@pytest.fixture(scope="module")
def written(model: Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    Onnx().write(model, path, FormatSettings())
    return path.read_bytes()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ProofImages:
    folder = tmp_path_factory.mktemp("images")
    random, rows = np.random.default_rng(0), []
    for label in range(CLASSES):
        base = random.integers(0, 255, (12, 8, 3))
        (folder / f"c{label}").mkdir()
        for number in range(EACH):
            pixels = np.clip(base + random.integers(-40, 40, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"c{label}/{number}.png")
            rows.append((f"c{label}", f"c{label}/{number}.png"))
    return choose_images(Table(pd.DataFrame(rows, columns=["label", "file_name"]), folder))


def proved(content: bytes, model: Model, images: ProofImages, folder: Path, precision: str = "float32") -> ProofOutcome:
    path = folder / "model.onnx"
    path.write_bytes(content)
    form = Onnx()
    facts = _facts(model, ExportOptions("x", path, precision=precision), "", form.graph_digest(path))  # type: ignore[arg-type]
    form.write_facts(path, facts)
    return prove_file(form, path, model, facts, images, ProofLimits.of(precision), seconds=0)


def weights_of(proto: Any, least: int = 2) -> Any:
    """Return the first weight with several numbers along several axes."""
    return next(weight for weight in proto.graph.initializer if len(weight.dims) >= least and weight.dims[0] > 1)


def scale(factor: float, index: tuple[int, ...] | None = None) -> Damage:
    def damage(proto: Any) -> None:
        weight = weights_of(proto)
        values = onnx.numpy_helper.to_array(weight).copy()
        if index is None:
            values *= factor
        else:
            values[index] *= factor
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    return damage


def bypass(node: Any) -> None:
    """Let a node return its first input as it is."""
    first = node.input[0]
    node.op_type = "Identity"
    del node.input[:], node.attribute[:]
    node.input.append(first)


def remove_normalisation(proto: Any) -> None:
    channels = {weight.name for weight in proto.graph.initializer if list(weight.dims) == [1, 3, 1, 1]}
    nodes = [node for node in proto.graph.node if channels & set(node.input)]
    assert len(nodes) == 2, "the mean and the deviation"
    for node in nodes:
        bypass(node)


def remove_unit_length(proto: Any) -> None:
    (node,) = (node for node in proto.graph.node if "embedding" in node.output)
    assert node.op_type == "Div"
    bypass(node)


def fix_batch(proto: Any) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2


def put_first(proto: Any, node: Any, *constants: Any) -> None:
    """Put a node between the input and all that read it."""
    for reader in proto.graph.node:
        for place, name in enumerate(reader.input):
            if name == "image":
                reader.input[place] = node.output[0]
    proto.graph.node.insert(0, node)
    proto.graph.initializer.extend(constants)


def exchange_channels(proto: Any) -> None:
    order = onnx.numpy_helper.from_array(np.array([2, 1, 0]), "order")
    put_first(proto, onnx.helper.make_node("Gather", ["image", "order"], ["exchanged"], axis=3), order)


def mirror(proto: Any) -> None:
    order = onnx.numpy_helper.from_array(np.arange(8)[::-1].copy(), "columns")
    put_first(proto, onnx.helper.make_node("Gather", ["image", "columns"], ["mirrored"], axis=2), order)


def resize(proto: Any) -> None:
    """Read every second row and column twice, as if the image had been resized to half its size."""
    for axis, size in ((1, 12), (2, 8)):
        order = onnx.numpy_helper.from_array(np.arange(size) // 2 * 2, f"half_{axis}")
        put_first(
            proto, onnx.helper.make_node("Gather", ["image", f"half_{axis}"], [f"small_{axis}"], axis=axis), order
        )
        proto.graph.node[0].input[0] = "image"


def fix_size(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 16


DAMAGES: dict[str, tuple[Damage, str]] = {
    "normalisation removed": (remove_normalisation, "the least cosine"),
    "one weight scaled": (scale(1.05), "the least cosine"),
    "one weight scaled a little": (scale(1.002), "rounding explains"),
    "one number of a weight doubled": (scale(2, (0, 0, 0, 0)), "rounding explains"),
    "output not of unit length": (remove_unit_length, "not of unit length"),
    "batch fixed": (fix_batch, "batches of 1, 7, 16 images"),
    "channels exchanged": (exchange_channels, "the least cosine"),
    "mirrored": (mirror, "the least cosine"),
    "of half the size": (resize, "the least cosine"),
    "for images of another size": (fix_size, "cannot be run"),
}


def damaged(content: bytes, damage: Damage) -> bytes:
    proto = onnx.load_from_string(content)
    damage(proto)
    changed: bytes = proto.SerializeToString()
    return changed


def test_a_sound_graph_passes(written: bytes, model: Model, images: ProofImages, tmp_path: Path) -> None:
    outcome = proved(written, model, images, tmp_path)
    assert outcome.proof.passed, outcome.proof.problems
    assert outcome.calibration is None
    assert outcome.calibration_line == "it is not calibrated, as the checkpoint is not"
    assert outcome.proof.graph == Onnx().graph_digest(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_graph_fails(name: str, written: bytes, model: Model, images: ProofImages, tmp_path: Path) -> None:
    damage, text = DAMAGES[name]
    outcome = proved(damaged(written, damage), model, images, tmp_path)
    assert any(text in problem for problem in outcome.proof.problems), outcome.proof.problems
    assert not outcome.proof.passed
    assert outcome.calibration is None


def test_a_wrong_size_in_the_metadata_fails(written: bytes, model: Model, images: ProofImages, tmp_path: Path) -> None:
    other = Model(model.embedder, model.preprocess.model_copy(update={"interpolation": "bilinear"}), model.device)
    path, form = tmp_path / "model.onnx", Onnx()
    path.write_bytes(written)
    facts = _facts(other, ExportOptions("x", path), "", form.graph_digest(path))
    form.write_facts(path, facts)
    outcome = prove_file(form, path, model, facts, images, ProofLimits.of("float32"), seconds=0)
    assert "another preprocessing than the checkpoint: interpolation bilinear, not bicubic" in outcome.proof.problems[0]


def test_a_failed_proof_is_exit_1_and_names_the_file_so(
    written: bytes,
    model: Model,
    images: ProofImages,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("eml.exporting.export.load", lambda *names, **ways: model)
    broken = [True]

    def write(form: Onnx, own: Model, path: Path, settings: FormatSettings) -> str:
        path.write_bytes(damaged(written, exchange_channels) if broken[0] else written)
        return ""

    monkeypatch.setattr(Onnx, "write", write)
    out = tmp_path / "model.onnx"
    words = ["export", str(checkpoint), str(out), "--prove-on", str(images.table.root)]
    assert main(words) == 1
    shown = capsys.readouterr()
    assert f"the proof failed: the file is {out}.failed" in shown.out
    assert "the least cosine between" in shown.err.replace("\n", " ")
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.onnx.failed",
        "model.onnx.failed.proof.json",
        "model.onnx.failed.proof.html",
    }
    record = json.loads((tmp_path / "model.onnx.failed.proof.json").read_text())
    assert (record["passed"], record["images"]) == (False, CLASSES * EACH)
    with pytest.raises(eml.errors.CheckpointError, match=r"model\.onnx\.failed\.proof\.html says why"):
        eml.load(f"{out}.failed")
    kept = onnx.load(f"{out}.failed").metadata_props[0].value
    summary = read_facts(kept, "x").proof
    assert summary is not None
    assert not summary.passed

    broken[0] = False
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["proof"]["passed"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.onnx",
        "model.proof.json",
        "model.proof.html",
    }
    before, proof = out.read_bytes(), (tmp_path / "model.proof.json").read_bytes()
    broken[0] = True
    result = eml.export(checkpoint, out, prove_on=images.table.root, overwrite=True)
    assert not result.passed
    assert out.read_bytes() == before, "an earlier file that passed stays"
    assert (tmp_path / "model.proof.json").read_bytes() == proof, "and so does its proof"
    (tmp_path / "model.proof.json").write_text("{}")
    out.unlink()
    with pytest.raises(eml.errors.OutputError, match=r"model\.proof\.json: exists"):
        eml.export(checkpoint, tmp_path / "model.onnx")


def test_the_files_of_a_proof_stand_beside_a_file_and_in_a_folder() -> None:
    beside = proof_files(Path("a/shoes.v2.onnx"), is_folder=False)
    assert [path.name for path in beside] == ["shoes.v2.proof.json", "shoes.v2.proof.html"]
    assert proof_files(Path("a/hub"), is_folder=True)[0] == Path("a/hub/proof.json")
