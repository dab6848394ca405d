"""`eml.load` of exported files: without torch, and as models of all commands that embed."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eml
from eml.errors import EmlError
from eml.inference.exported.model import ExportedModel
from eml.inference.load import load as load_network
from eml.models.calibration import CalibratedRate, Calibration

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests/fixtures/exported/tiny.onnx"
SERVICE = {"numpy", "pillow", "pydantic", "pyyaml", "onnxruntime"}
"""The packages that docs/export.md names for a service."""
MODULES = {"scikit-learn": "sklearn"}
RANDOM = np.random.default_rng(0)

WITHOUT_TORCH = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None
from pathlib import Path
import numpy as np
from PIL import Image
import eml

folder = Path(sys.argv[1])
model = eml.load(folder / "model.onnx")
array = np.load(folder / "image.npy")
path = folder / "photos" / "a" / "0.png"
forms = [path, str(path), path.read_bytes(), Image.open(path), array]
embeddings = model.embed((form for form in [*forms, path.open("rb")]), batch_size=4)
assert model.matches(path, array, threshold=0.999)
assert model.trained_on.classes == {"cup", "plate"}, model.trained_on
for call in (lambda: eml.load(folder), lambda: eml.load("timm:resnet18"), lambda: model.embed(folder / "photos")):
    try:
        call()
    except eml.EmlError as error:
        print(error.code, error)
del sys.modules["pandas"], sys.modules["scipy"], sys.modules["sklearn"]
photos, table = model.embed(folder / "photos"), model.embed(folder / "t.csv")
np.savez(folder / "embeddings.npz", image=embeddings, photos=photos, table=table)
assert sys.modules["torch"] is None and sys.modules["timm"] is None
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, and photos of four classes of two colours each, with a table of three of them."""
    root = tmp_path_factory.mktemp("exported")
    shutil.copyfile(TINY, root / "model.onnx")
    for label in "abcd":
        (root / "photos" / label).mkdir(parents=True)
        colour = RANDOM.integers(40, 215, 3)
        for number in range(4):
            pixels = np.clip(colour + RANDOM.integers(-30, 30, (20, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "photos" / label / f"{number}.png")
    np.save(root / "image.npy", np.asarray(Image.open(root / "photos/a/0.png")))
    rows = ["photos/b/1.png,b,2,3,25,18", "photos/c/2.png,c,0,0,30,20"]
    (root / "t.csv").write_text("\n".join(["file_name,label,x_1,y_1,x_2,y_2", *rows, ""]))
    return root


def not_of_a_service() -> list[str]:
    """Return the modules of eml's dependencies that a service need not have, by pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {name.split("=")[0].split(">")[0].lower() for name in project["dependencies"]} - SERVICE
    return [*sorted(MODULES.get(name, name) for name in names), "cv2"]


def test_a_service_needs_neither_torch_nor_most_packages_of_eml(folder: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(folder), *not_of_a_service()]
    run = subprocess.run(command, capture_output=True, text=True)
    assert not run.returncode, run.stderr
    assert [line.partition(" ")[0] for line in run.stdout.splitlines()] == ["missing-package"] * 3
    assert "eml export" in run.stdout
    model, saved = eml.load(folder / "model.onnx"), np.load(folder / "embeddings.npz")
    for name, images in (("photos", folder / "photos"), ("table", folder / "t.csv")):
        np.testing.assert_allclose(saved[name], model.embed(images), atol=1e-6)
    np.testing.assert_allclose(saved["image"], np.repeat(saved["photos"][:1], 6, 0), atol=1e-6)


def test_the_page_names_the_packages_of_a_service() -> None:
    lines = (ROOT / "docs/export.md").read_text(encoding="utf-8").splitlines()
    install = next(line for line in lines if "pip install" in line and "onnxruntime" in line)
    words = {word for word in install.replace("\\", " ").split() if not word.startswith("-")}
    assert words >= SERVICE - {"numpy"}  # which onnxruntime needs itself
    assert not {"torch", "timm", "pandas"} & words


@pytest.mark.parametrize(
    "argument, value, code",
    [
        ("image_size", 64, "conflicting-settings"),
        ("precision", "bfloat16", "conflicting-settings"),
        ("tta", "none", "conflicting-settings"),
        ("weights", "none", "conflicting-settings"),
        ("device", "cuda", "unusable-device"),
    ],
)
def test_what_the_file_fixes_cannot_be_set_otherwise(argument: str, value: object, code: str) -> None:
    with pytest.raises(EmlError) as error:
        eml.load(TINY, **{argument: value})  # type: ignore[arg-type]
    assert (error.value.code, error.value.parameter) == (code, argument)
    assert str(TINY) in str(error.value)


def test_what_the_file_says_itself_may_be_said_too() -> None:
    model = eml.load(TINY, image_size=(12, 8), precision="auto", tta="flip", device="cpu")
    assert isinstance(model, ExportedModel)
    assert (model.tta, model.precision, model.preprocess.size) == ("flip", "float32", (12, 8))


def test_a_large_batch_is_computed_in_parts_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = ExportedModel(TINY), []
    run = model.runtime.run
    monkeypatch.setattr(model.runtime, "run", lambda pixels: sizes.append(len(pixels)) or run(pixels))
    pixels = RANDOM.integers(0, 256, (35, 12, 8, 3), np.uint8)
    embeddings = model.embed_arrays(pixels)
    assert sizes == [16, 16, 3]
    np.testing.assert_allclose(embeddings, np.concatenate([run(image[None]) for image in pixels]), atol=1e-6)
    assert model.embed_arrays(pixels[:0]).shape == (0, 7) == model.embed([]).shape


def test_files_that_are_none_or_failed_their_proof_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    shutil.copyfile(TINY, tmp_path / "model.onnx.failed")
    names = {"gone.onnx": "missing-file", "empty.onnx": "damaged-file", "model.onnx.failed": "failed-proof"}
    for name, code in names.items():
        with pytest.raises(EmlError) as error:
            eml.load(tmp_path / name)
        assert error.value.code == code, name
    with pytest.raises(EmlError) as error:
        load_network(TINY)
    assert error.value.code == "no-checkpoint"


def test_commands_that_embed_take_an_exported_file(folder: Path, tmp_path: Path) -> None:
    model = eml.load(folder / "model.onnx")
    out = eml.embed(folder / "model.onnx", [folder / "photos"], out=tmp_path / "e.npz")
    np.testing.assert_allclose(np.load(out.out)["embeddings"], model.embed(folder / "photos"), atol=1e-6)
    assert out.fingerprint == model.fingerprint

    evaluated = eml.evaluate(str(folder / "model.onnx"), data=folder / "photos", out=tmp_path / "e", report=False)
    of_file = eml.evaluate(str(out.out), out=tmp_path / "f", report=False)
    results = [result.results[0].analysis.evaluation for result in (evaluated, of_file)]
    assert results[0].summary.values == results[1].summary.values
    assert results[0].trained_on.status == "known"
    assert results[0].trained_on.classes == 0


def calibration_of(model: ExportedModel, threshold: float) -> Calibration:
    rate = CalibratedRate(value=threshold, low=None, high=None)
    goal: dict[str, Any] = {"goal": "pair_far", "goal_value": 0.1, "strict": False, "protocol": "leave-one-out"}
    lists = {
        name: [] for name in ("held_out", "notes", *(f"histogram_{part}" for part in ("edges", "same", "different")))
    }
    return Calibration(
        **goal | lists,
        **{"eml_version": "0.2.0", "created": "now", "confidence": 0.95, "seed": 1, "resamples": 1, "counts": {}},
        **{"threshold": rate, "plain_threshold": threshold, "measured": {}, "held_out_mean": None},
        **{"table": None, "table_digest": None, "weights_digest": model.fingerprint.weights},
        fingerprint=model.fingerprint,
    )


def test_a_calibration_is_kept_in_the_file_and_changes_nothing_else(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copyfile(TINY, path)
    model = ExportedModel(path)
    with pytest.raises(EmlError) as error:
        _ = model.threshold
    assert error.value.code == "not-calibrated"
    for threshold in (0.5, 0.99999):
        model.keep_calibration(calibration_of(model, threshold))
        again = ExportedModel(path)
        assert (model.threshold, again.threshold) == (threshold, threshold)
        assert again.fingerprint == ExportedModel(TINY).fingerprint
        assert again.trained_on is not None
        assert list(tmp_path.iterdir()) == [path]
    images = folder / "photos/a/0.png", folder / "photos/b/0.png"
    assert again.matches(images[0], images[0])
    assert not again.matches(*images)


@pytest.mark.wide
def test_calibrate_takes_an_exported_file(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copyfile(TINY, path)
    result = eml.calibrate(path, data=folder / "photos", pair_far=0.2)
    assert [*result.written, *result.replaced] == [path, path]
    model = eml.load(path)
    assert model.calibration is not None
    assert model.calibration.fingerprint == model.fingerprint == eml.load(TINY).fingerprint
    assert model.threshold == result.threshold
    assert list(tmp_path.iterdir()) == [path]


def test_the_unknown_label_of_training_is_known_of_an_exported_file(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copyfile(TINY, path)
    model = ExportedModel(path)
    model.runtime.keep_facts(model.facts.model_copy(update={"unknown_label": "d"}))
    result = eml.evaluate(str(path), data=folder / "photos", out=tmp_path / "e", report=False)
    assert result.results[0].analysis.evaluation.trained_on.of_classes == 3
    eml.build_index(tmp_path / "index", path, [folder / "photos"])
    with eml.Index.open(tmp_path / "index") as index:
        assert index.labels == ["a", "b", "c"]


def test_an_index_remembers_an_exported_file_or_has_it_inside(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "model.onnx"
    shutil.copyfile(TINY, moved)
    eml.build_index(tmp_path / "beside", moved, [folder / "photos"])
    eml.build_index(tmp_path / "inside", moved, [folder / "photos"], with_model=True)
    assert eml.add_to_index(tmp_path / "beside", [folder / "photos/a"], duplicates="keep").added == 4
    moved.unlink()
    with eml.Index.open(tmp_path / "inside") as index:
        assert isinstance(index.model, ExportedModel)
        assert index.search(folder / "photos/b/1.png", k=1)[0].neighbours[0].label == "b"
    with pytest.raises(EmlError) as error:
        eml.search(tmp_path / "beside", [folder / "photos/b/1.png"])
    assert error.value.code == "no-checkpoint"
    answer = eml.search(tmp_path / "beside", [folder / "photos/b/1.png"], model=str(TINY))
    assert len(answer.answers) == 1
    with eml.load(TINY).index(folder / "photos") as index:
        assert len(index) == 16
