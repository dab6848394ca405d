import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eml
from eml.cli.app import main
from eml.dataset.table import read_table
from eml.errors import CheckpointError
from eml.evaluation.gallery_calibration import calibrate_gallery, is_recalibration_due
from eml.images.preprocess import Preprocess
from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.linear import Linear
from eml.models.trained_on import trained_on
from eml.retrieval.answers.drift import measure_drift
from eml.retrieval.class_answers import answer_by_classes
from eml.retrieval.verification import OpenSet, measure_acceptance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 classes of 5 images, each with a colour of its own and noise, and their table."""
    root, random = tmp_path_factory.mktemp("calibrate") / "photos", np.random.default_rng(0)
    for label in range(16):
        (root / f"{label:02}").mkdir(parents=True)
        colour = random.integers(0, 256, 3)
        for number in range(5):
            pixels = (colour + random.normal(0, 50, (4, 4, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((40, 40)).save(root / f"{label:02}" / f"{number}.png")
    assert main(["scan", str(root), "--no-hashes"]) == 0
    return root


RECORD = trained_on(["03", "x"], np.zeros(1, np.uint64))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that was trained on a class 03."""
    torch.manual_seed(0)
    config = ModelConfig(backbone="test_resnet", weights="none", neck=Linear(size=16))
    folder = tmp_path_factory.mktemp("made") / "epoch-001"
    save_checkpoint(folder, build_embedder(config), config, Preprocess(size=32), ["03", "x"], {}, trained_on=RECORD)
    return folder


@pytest.fixture
def checkpoint(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "checkpoint"))


@pytest.mark.usefixtures("one_scoring")
def test_a_threshold_is_found_kept_in_the_checkpoint_and_used(
    checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = (checkpoint / "model.safetensors").read_bytes()
    plot = tmp_path / "plot.png"
    monkeypatch.chdir(photos.parent)
    words = ["calibrate", str(checkpoint), "--data", photos.name, "--json", "--plot", str(plot)]
    assert main([*words, "--pair-far", "0.05"]) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    kept = json.loads((checkpoint / "calibration.json").read_text())
    assert {**kept, "checkpoint": str(checkpoint), "written": str(checkpoint / "calibration.json")} == told
    assert "1 of 16 classes (0 of 80 images) were trained on. The threshold flatters" in shown.err
    assert kept["trained_on"]["classes"] == 1
    assert kept["table"] == str(photos / "dataset_info.csv")
    assert f"wrote {checkpoint}/calibration.json" in shown.err
    assert "held-out classes" not in shown.out + shown.err  # a result, which JSON takes the place of
    assert (kept["goal"], kept["goal_value"], kept["counts"]["images"]) == ("pair_far", 0.05, 80)
    assert sum(kept["histogram_same"]) == 160
    assert sum(kept["histogram_different"]) == kept["counts"]["different_pairs"] == 80 * 79 // 2 - 160
    assert (checkpoint / "model.safetensors").read_bytes() == weights

    model, table = eml.load(checkpoint, device="cpu"), read_table(photos / "dataset_info.csv")
    assert model.calibration is not None
    assert model.threshold == model.calibration.threshold.value == kept["threshold"]["value"]
    labels = table.frame["label"].astype(int).to_numpy(np.int64)
    embeddings = torch.from_numpy(model.embed([photos / name for name in table.frame["file_name"]]))
    found = measure_acceptance(OpenSet.leave_one_out(embeddings, labels), model.threshold)
    for name, rate in kept["measured"].items():
        assert rate["value"] == pytest.approx(found[name], abs=0.01), name
    first, near, far = photos / "00/0.png", photos / "00/1.png", photos / "05/0.png"
    cosine = float(embeddings[0] @ embeddings[1])
    assert model.matches(first, near, threshold=cosine - 1e-4)
    assert not model.matches(first, near, threshold=cosine + 1e-4)
    assert model.matches(first, far) == (float(embeddings[0] @ embeddings[25]) >= model.threshold)

    with Image.open(plot) as image:
        assert image.size > (800, 500)


@pytest.mark.wide
@pytest.mark.usefixtures("one_scoring")
def test_an_evaluation_and_a_second_calibration_know_the_first(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(checkpoint), "--data", str(photos), "--json"]
    assert main([*words, "--pair-far", "0.05"]) == 0
    kept = json.loads((checkpoint / "calibration.json").read_text())
    calibration = eml.load(checkpoint, device="cpu").calibration
    capsys.readouterr()
    evaluate = ["evaluate", str(checkpoint), "--no-report", "--json", "--out"]
    for source, same in ((photos, True), (shutil.copytree(photos, tmp_path / "copy"), False)):
        (source / "dataset_info.csv").write_text((photos / "dataset_info.csv").read_text() + ("" if same else "\n"))
        assert main([*evaluate, str(tmp_path / f"out-{same}"), "--data", str(source / "dataset_info.csv")]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["evaluations"][0]["calibrated_on_this_table"] is same
        assert ("the threshold was chosen on this table" in shown.err) is same

    against = ["--against", "timm:test_resnet", "--weights", "none", "--image-size", "32"]
    words_of_text = [word for word in evaluate if word != "--json"]
    assert main([*words_of_text, str(tmp_path / "out"), "--data", str(photos), *against]) == 0
    assert "accepted queries of unknown classes" in capsys.readouterr().out  # in the words of calibrate
    facts = json.loads((tmp_path / "out" / "dataset_info" / "metrics.json").read_text())
    assert facts["comparison"]["against"] == "timm:test_resnet"
    assert main([*words, "--precision", "0.6"]) == 0  # eml's own files are replaced, and it is said
    assert "replaced" in capsys.readouterr().err
    assert eml.load(checkpoint).calibration != calibration
    assert main([word for word in [*words, "--pair-far", "0.05", "--strict"] if word != "--json"]) == 0
    assert "held-out classes, 10 times half of them" in capsys.readouterr().out
    assert eml.load(checkpoint).threshold == kept["threshold"]["high"] > kept["threshold"]["value"]


@pytest.mark.parametrize(
    "words, told",
    [
        ("", "no goal is given; give one goal: --far ("),
        ("--far 0.1 --precision 0.9", "--far and --precision are given; give one goal"),
        ("--far 1.5", "--far must be above 0 and below 1, got 1.5"),
        ("--far 0.1 --plot x.jpg", "x.jpg: the name of the file must end in .png"),
        ("--pair-far 0.05 --plot /proc/x.png", "/proc: cannot be written"),
        ("--precision 0.85", "these 16 differ too much: their resamples give no threshold. Give images"),
        ("--far 0.001", "--far 0.001 cannot be shown by 80 queries"),
    ],
)
def test_what_cannot_be_calibrated_says_why_and_writes_nothing(
    checkpoint: Path, photos: Path, words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(checkpoint), "--data", str(photos), *words.split()]) == 2
    assert told in capsys.readouterr().err
    assert not (checkpoint / "calibration.json").exists()


@pytest.mark.wide
@pytest.mark.usefixtures("one_scoring")
def test_no_average_is_shown_of_halves_of_which_most_gave_no_threshold(
    checkpoint: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(checkpoint), "--data", str(photos), "--json", "--pair-far"]
    assert main([*words, "0.006"]) == 0
    shown = capsys.readouterr()
    kept = json.loads(shown.out)
    missing = kept["held_out"].count(None)
    assert 5 < missing < 10
    assert kept["held_out_mean"] is None
    assert f"warning: {missing} of 10 halves of the classes gave no threshold for this goal: too many" in shown.err
    assert main([word for word in [*words, "0.006"] if word != "--json"]) == 0
    assert "on average" not in capsys.readouterr().out


@pytest.mark.usefixtures("one_scoring")
def test_the_protocol_is_that_of_evaluate_and_is_kept(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = read_table(photos / "dataset_info.csv").frame
    labels = frame["label"].astype(int).to_numpy(np.int64)
    cameras, kinds = np.where(labels == 5, 0, np.arange(len(labels)) % 4), labels // 8
    frame.assign(camera=[f"c{each}" for each in cameras], kind=kinds).to_csv(tmp_path / "cameras.csv", index=False)
    words = [
        "calibrate",
        str(checkpoint),
        "--data",
        str(tmp_path / "cameras.csv"),
        "--root",
        str(photos),
        "--far",
        ".3",
    ]
    model = eml.load(checkpoint, device="cpu")
    embeddings = torch.from_numpy(model.embed([photos / name for name in frame["file_name"]]))
    for options, protocol, left_out in (
        (["--leave-out-same", "camera"], "leave-one-out, without the same camera", {"groups": cameras}),
        (["--within", "kind"], "leave-one-out, within each kind", {"within": kinds}),
    ):
        assert main([*words, *options]) == 0
        assert f"protocol: {protocol}\n" in capsys.readouterr().out
        kept = json.loads((checkpoint / "calibration.json").read_text())
        assert kept["protocol"] == protocol
        assert kept["counts"]["known_queries"] == (
            75 if "groups" in left_out else 80
        )  # of class 05 none has a positive
        everything = np.arange(len(labels))
        images = OpenSet(embeddings, labels, everything, everything, **left_out)
        found = measure_acceptance(images, kept["threshold"]["value"])
        for name, rate in kept["measured"].items():
            assert rate["value"] == pytest.approx(found[name], abs=0.01), name
        assert not any("pairs are of all" in note for note in kept["notes"])
    assert main([*words[:-2], "--pair-far", ".1", "--within", "kind"]) == 0
    assert "pairs are of all the images" in capsys.readouterr().err
    assert main([*words, "--within", "colour"]) == 2
    assert "has no column 'colour'" in capsys.readouterr().err


def test_nothing_of_the_users_is_replaced(
    checkpoint: Path, photos: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["calibrate", str(checkpoint), "--data", str(photos), "--pair-far", "0.05"]
    (checkpoint / "calibration.json").write_text("{}")
    assert main(words) == 2
    assert "calibration.json: exists and was not written by eml calibrate" in capsys.readouterr().err
    (checkpoint / "calibration.json").unlink()
    Image.new("RGB", (8, 8)).save(tmp_path / "mine.png")
    assert main([*words, "--plot", str(tmp_path / "mine.png")]) == 2
    assert "mine.png: exists and was not made by eml calibrate" in capsys.readouterr().err
    assert main(["calibrate", "timm:resnet18", "--data", str(photos), "--far", "0.1"]) == 2
    assert "timm:resnet18: has no folder to keep a threshold in" in capsys.readouterr().err


@pytest.mark.usefixtures("one_scoring")
def test_a_calibration_that_cannot_be_trusted_is_an_error_only_when_it_is_used(
    checkpoint: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match="is not calibrated; run: eml calibrate"):
        eml.load(checkpoint).matches(photos / "00/0.png", photos / "00/1.png")
    assert eml.load(checkpoint).calibration is None
    assert main(["calibrate", str(checkpoint), "--data", str(photos), "--pair-far", "0.05"]) == 0
    file = checkpoint / "calibration.json"
    good = json.loads(file.read_text())
    for change, told in (
        ({"weights_digest": "0" * 32}, "belongs to other weights"),
        ({"format": 5, "eml_version": "9"}, r"written by a newer eml \(9\)"),
        ({"threshold": 0.5}, r"not a calibration \(threshold:"),
    ):
        file.write_text(json.dumps(good | change))
        model = eml.load(checkpoint)
        assert model.embed([photos / "00/0.png"]).shape == (1, 16)
        with pytest.raises(CheckpointError, match=told):
            model.calibration  # noqa: B018 - read when it is asked for
    file.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        eml.load(checkpoint).calibration  # noqa: B018


@pytest.mark.usefixtures("one_scoring")
def test_an_index_calibrates_answers_by_its_own_images_and_those_of_the_set(
    checkpoint: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(checkpoint), "--data", str(photos), "--far", "0.1", "--unknown-share", "0.3"]
    assert main(words) == 0
    assert "expected calibration error" in (shown := capsys.readouterr().out)
    assert "assumed: 0.3 of the queries are of unknown classes; 16 classes in the gallery" in " ".join(shown.split())
    model, table = eml.load(checkpoint, device="cpu"), read_table(photos / "dataset_info.csv")
    calibration = model.calibration
    assert calibration is not None
    assert calibration.answers is not None
    assert (calibration.answers.far, calibration.answers.gallery) == (0.1, "set")
    assert sum(calibration.histogram_known or []) == sum(calibration.histogram_unknown or []) == 80

    frame = table.frame
    embeddings = model.embed([photos / name for name in frame["file_name"]])
    names, codes = np.unique(frame["label"].astype(str).to_numpy(), return_inverse=True)
    chosen = codes >= 4

    def tiles() -> list[tuple[np.ndarray, np.ndarray]]:
        return [(embeddings[chosen], codes[chosen])]

    answers = calibrate_gallery(checkpoint, calibration, tiles, names.tolist(), ["03"])
    assert answers is not None
    assert (answers.gallery, answers.unknown_share, answers.far) == ("index", 0.3, 0.1)
    assert answers.counts["gallery_classes"] == 12
    assert answers.counts["unknown_queries"] == 80  # those of the set, all classes of which it has
    assert not is_recalibration_due(answers, 12, 60)
    assert is_recalibration_due(answers, 14, 60)
    assert is_recalibration_due(calibration.answers, 16, 80)
    found = answer_by_classes(embeddings[~chosen], tiles, len(names), answers.method, temperature=answers.temperature)
    assert measure_drift(answers, found).queries == 20

    file = checkpoint / "calibration_embeddings.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged, or of another calibration; run eml calibrate again"):
        calibrate_gallery(checkpoint, calibration, tiles, names.tolist(), ["03"])
    older = calibration.model_copy(update={"answers": None})
    assert calibrate_gallery(checkpoint, older, tiles, names.tolist(), ["03"]) is None
