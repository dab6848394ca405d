"""The whole way from a folder to a measured model, as a user types it, and what train, evaluate and init refuse."""

import json
import os
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image

import eml
from eml.cli.app import main
from eml.cli.display.dry_run import WORDS
from tests.distributed.process_group import preloaded_context, work

pytestmark = pytest.mark.slow

SMALL = "--backbone test_resnet --weights none"


def draw(root: Path, classes: int = 8, per_class: int = 6) -> Path:
    random = np.random.default_rng(0)
    for label in range(classes):
        (root / f"{label:03d}").mkdir(parents=True)
        colour = random.integers(0, 256, 3)
        for number in range(per_class):
            pixels = (colour + random.normal(0, 40, (6, 6, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((72, 64), Image.Resampling.BICUBIC).save(
                root / f"{label:03d}" / f"{number}.jpg"
            )
    return root


def run(line: str) -> int:
    return main(shlex.split(line))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `photos` on which every command was run once; photos/run is the run."""
    photos = draw(tmp_path_factory.mktemp("way") / "photos")
    for line in (
        f"scan {photos}",
        f"filter {photos} --dedup --min-size 32",
        f"split {photos} --by ratio --test-ratio 0.3",
        f"kfold {photos} --k 3",
        f"init {photos} {SMALL}",
        f"train {photos}/config.yaml --set epochs=2 --set image.size=32",
        f"evaluate {photos}/run --data {photos}",
    ):
        assert run(line) == 0, line
    return photos


def test_the_way_leaves_what_the_design_says(trained: Path) -> None:
    tables = ("info", "errors", "info_filtered", "removed", "train", "test")
    for name in (*(f"dataset_{table}.csv" for table in tables), "classes_train.csv", "folds.csv", "config.yaml"):
        assert (trained / name).is_file(), name
    run_folder = trained / "run"
    for name in ("config.yaml", "run.json", "steps.jsonl", "metrics.jsonl", "timings.jsonl", "curves.png", "state.pt"):
        assert (run_folder / name).is_file(), name
    metrics = json.loads((run_folder / "evaluations" / "dataset_test" / "metrics.json").read_text())
    assert metrics["protocol"] == "leave-one-out"
    assert metrics["queries"] == metrics["images"] == 6 * metrics["classes"]
    assert set(metrics["metrics"]) == {
        *("recall_at_1", "recall_at_5", "recall_at_10", "map_at_r", "r_precision", "mean_average_precision"),
        *("mean_reciprocal_rank", "global_average_precision"),
    }


def test_evaluate_and_the_python_library_agree(trained: Path) -> None:
    import torch

    from eml.dataset.table import read_table
    from eml.retrieval.metrics import summarise
    from eml.retrieval.ranking import rank

    table = read_table(trained / "dataset_test.csv")
    embeddings = eml.load(trained / "run").embed([table.root / name for name in table.frame["file_name"]])
    labels = table.frame["label"].astype("category").cat.codes.to_numpy(np.int64)
    metrics = json.loads((trained / "run" / "evaluations" / "dataset_test" / "metrics.json").read_text())["metrics"]
    assert summarise(rank(torch.from_numpy(embeddings), labels)).values == pytest.approx(metrics, abs=1e-6)


def test_json_is_one_object_on_stdout(trained: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    test = trained / "dataset_test.csv"
    assert run(f"evaluate timm:test_resnet --weights none --image-size 32 --data {test} --out {tmp_path} --json") == 0
    result = json.loads(capfd.readouterr().out)
    assert result["evaluations"][0]["name"] == "dataset_test"
    assert (tmp_path / "dataset_test" / "metrics.json").is_file()
    assert run(f"train {trained}/config.yaml --set epochs=1 --set output={tmp_path}/r --set image.size=32 --json") == 0
    assert json.loads(capfd.readouterr().out)["best_epoch"] == 1


def test_a_folder_of_images_alone_is_enough_to_train_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = draw(tmp_path / "photos", classes=4)
    (tmp_path / "config.yaml").write_text(
        "output: run\ndata: {table: photos}\nimage: {size: 32}\nepochs: 1\nbatch_size: 8\n"
        "model: {backbone: test_resnet, weights: none}\nhead: {scale: 16}\n"
    )
    assert run(f"train {tmp_path}/config.yaml") == 0
    told = capfd.readouterr().err
    assert "scanning it" in told
    assert "adding 2 folds by class, seed 28, as eml kfold does: task open holds out whole classes, half of 4" in told
    assert (photos / "dataset_info.csv").is_file()
    assert run(f"scan {tmp_path}/photos") == 0
    assert run(f"evaluate {tmp_path}/run --data {photos}") == 0


def test_dry_run_takes_a_step_and_writes_nothing_and_speaks_in_words(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"train {trained}/config.yaml --set output={tmp_path}/r --set image.size=32 --dry-run"
    assert run(f"{line} --json") == 0
    assert not (tmp_path / "r").exists()
    facts = json.loads(capsys.readouterr().out)
    assert run(line) == 0
    shown = capsys.readouterr().out
    assert set(facts) - {"recipe", "warnings"} == set(WORDS)  # each fact has a word
    absent = {"teacher", "teacher_minutes"}  # of a run that has none
    for words, unit in (value for name, value in WORDS.items() if name not in absent):
        (line,) = (line for line in shown.splitlines() if line.strip().startswith(f"{words}  "))
        assert line.strip().endswith(unit)
    assert "_" not in shown


@pytest.mark.wide
@pytest.mark.xdist_group("processes")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the test reads what another process prints, line by line")
def test_an_interrupted_training_is_taken_up_again_from_the_command_line(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"train {trained}/config.yaml --set output={tmp_path}/r --set epochs=400 --set image.size=32"
    words += " --set validation.every=1"
    os.mkfifo(tmp_path / "stderr")
    command = ({}, [{"arguments": shlex.split(words)}], tmp_path / "stderr")
    monkeypatch.chdir(tmp_path)
    process = preloaded_context().Process(target=work, args=command)
    process.start()
    with (tmp_path / "stderr").open() as lines:
        next(line for line in lines if line.startswith("epoch   1"))
        os.kill(process.pid or 0, signal.SIGINT)
        told = lines.read()
    process.join(60)
    assert process.exitcode == 130
    assert "state saved. Resume with: eml train r/config.yaml --resume" in told  # as one types it in that folder
    assert "Traceback" not in told
    steps = len((tmp_path / "r" / "steps.jsonl").read_text().splitlines())
    assert steps < 400
    assert eml.load(tmp_path / "r").size == 256


@pytest.mark.parametrize(
    "line, message",
    [
        ("train {photos}/run", "run: is the folder of a run. Set --resume to continue it; to train anew, give "),
        ("train {photos}/gone.yaml", "gone.yaml"),
        ("train {photos}/config.yaml", "already exists; set --resume to continue the run"),
        (
            "train {photos}/config.yaml --set output={tmp}/r --resume",
            "/r: does not exist, so there is no run to resume; begin one without --resume",
        ),
        (
            "train {photos}/config.yaml --set output={photos}/000 --resume",
            "/000: has no state.pt to resume from; begin",
        ),
        ("train {photos}/config.yaml --set output={tmp}/r --device cuda:7", "device 'cuda:7'"),
        ("train {photos}/config.yaml --set output={tmp}/r --set data.fold=9", "no image is in fold 9"),
        ("train {photos}/config.yaml --set output={tmp}/file/r --set image.size=32", "cannot be written"),
        ("train {photos}/three.yaml", "three.yaml:3: unknown key 'epoch' (did you mean 'epochs'?)"),
        ("train {photos}/three.yaml", "three.yaml:4: unknown margin 'arcfce' (did you mean 'arcface'?)"),
        ("train {photos}/three.yaml", "three.yaml:5: head.scale"),
        *(
            (
                "train {photos}/config.yaml --device cuda:9 -s model.backbone=test_resnett -s optimizer.name=adamww",
                told,
            )
            for told in ("device 'cuda:9'", "'test_resnet'", "'adamw'", "already exists")
        ),
        ("evaluate {photos}/gone --data {photos}", "does not exist: expected a folder with config.json"),
        ("evaluate {photos}/run --data {photos}/gone.csv", "gone.csv: no such file"),
        ("evaluate {photos}/run --data {photos}/one.csv", "one.csv: no query has a positive"),
        ("evaluate timm:test_resnet --weights none --data {photos}", "give a folder as --out"),
        (
            "evaluate timm:test_resnet timm:test_resnett --weights none --data {tmp}/gone --out {tmp}",
            f"timm:test_resnett: timm {timm.__version__} has no model 'test_resnett' (did you mean 'test_resnet'",
        ),
        ("evaluate timm: --data {photos} --out {tmp}", "timm: names no model; write timm:NAME, such as timm:resnet50"),
        (
            "evaluate timm:test_resnet --weights {tmp}/gone.pt --data {photos} --out {tmp}",
            "gone.pt: there is no such file; allowed: pretrained",
        ),
        (
            "evaluate {photos}/run --data {photos} --slice category --slice nope",
            "has no columns 'category', 'nope' to slice by; it has label",
        ),
        ("evaluate {photos}/run --weights none --data {photos}", "--weights are for timm:NAME"),
        ("train {photos}/config.yaml --accept-changes", "--accept-changes: only with --resume"),
        ("train {photos}/config.yaml --fold first", "--fold must be a number, all or null, got 'first'"),
        ("init {photos}", "config.yaml: exists. Set --overwrite"),
        ("init {tmp}/gone --backbone resnet5O", "has no model 'resnet5O' (did you mean 'resnet50"),
        (
            "init {photos} --out {tmp}/c.yaml --weights {tmp}/gone.pth",
            "there is no file {tmp}/gone.pth; allowed: pretrained, none, ",
        ),
        ("evaluate {photos}/run --data {photos} --out {tmp}/mine", "was not written by eml evaluate"),
        ("demo {photos}", "is not empty"),
        ("demo {photos} --overwrite", "is not an older demo"),
    ],
)
def test_what_the_user_can_mend_is_told_without_a_traceback(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "mine" / "dataset_test").mkdir(parents=True)
    (tmp_path / "mine" / "dataset_test" / "metrics.json").write_text("precious")
    (trained / "three.yaml").write_text(
        "output: run3\ndata: {table: folds.csv}\nepoch: 3\nmargin: {type: arcfce}\nhead: {scale: big}\n"
    )
    (trained / "one.csv").write_text("label,file_name\n000,000/0.jpg\n001,001/0.jpg\n")
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert run(line.format(photos=trained, tmp=tmp_path)) == 2
    told = capfd.readouterr().err
    assert message.format(photos=trained, tmp=tmp_path) in told
    assert "Traceback" not in told
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
