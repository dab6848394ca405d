"""What stands where: whole words on a terminal of 80 columns, plain lines in a pipe."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from eml.cli.app import main
from eml.cli.display import console
from eml.cli.display.train import show
from eml.cli.display.training import TrainingDisplay
from eml.commands.train import TrainResult
from eml.margins import Margin
from eml.training.events import Started, Validated
from eml.training.question import Question
from eml.training.results import TrainingResult
from eml.training.stages.steps import StagesResult, StageStep
from tests.cli.terminal import CODES, shown_on_terminal

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("output")]  # each command goes on from those before it

LABEL = "a_rather_long_name_of_a_product"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes of six images, a copy in two classes, a file that is no image, and embeddings."""
    root, random = tmp_path_factory.mktemp("output"), np.random.default_rng(0)
    for label in range(10):
        (root / "photos" / f"{LABEL}_{label}").mkdir(parents=True)
        for number in range(6):
            image = Image.fromarray(random.integers(0, 255, (8, 8), dtype=np.uint8)).resize((40, 40))
            image.save(root / "photos" / f"{LABEL}_{label}" / f"{number}.png")
    image.save(root / "photos" / f"{LABEL}_0" / "copy.png")
    (root / "photos" / f"{LABEL}_0" / "notes.txt").write_text("no image")
    centers = random.standard_normal((30, 16))
    rows = np.repeat(centers, 5, 0) + random.standard_normal((150, 16))
    for name in ("first", "second"):
        np.savez(root / f"{name}.npz", embeddings=rows, label=np.repeat(np.arange(30).astype(str), 5))
    for command in ("scan", "split"):
        assert main([command, str(root / "photos"), *(["--by", "ratio"] if command == "split" else [])]) == 0
    shutil.copytree(root / "photos", root / "kept")  # the other commands put these tables out of date
    return root


COMMANDS = [
    "scan {photos}",
    "filter {photos}/dataset_info.csv --dedup --min-size 8",
    "split {photos}/dataset_info.csv --by ratio",
    "split {photos}/dataset_info.csv --by ratio --query-gallery",
    "kfold {photos}/dataset_info.csv --k 3",
    "audit {root}/kept/dataset_train.csv {root}/kept/dataset_test.csv --threshold 0",
    "report {photos}",
    "init {photos} --weights none --overwrite",
    "margins",
    "margins circle",
    "evaluate {root}/first.npz --out {root}/out --verification",
    "evaluate {root}/first.npz {root}/second.npz --out {root}/out --no-report",
    "evaluate {root}/first.npz --against {root}/second.npz --out {root}/out --no-report",
]


def words_of(lines: list[str]) -> set[str]:
    """Return the words without the punctuation after them and the lines under the heads of tables."""
    return {word.strip(",;") for word in " ".join(lines).split() if not word.startswith("─")}


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line.split()[0])
def test_no_word_is_broken_at_80_columns_and_a_pipe_has_plain_lines(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = line.format(root=folder, photos=folder / "photos").split()
    assert main(arguments) == 0
    piped = capsys.readouterr().out
    assert piped
    assert not CODES.search(piped)
    assert all(row == row.rstrip() for row in piped.splitlines())
    shown = shown_on_terminal(arguments, 80)
    assert [row for row in shown if cell_len(row) > 80 and len(row.split()) > 1] == []
    names = [word for word in words_of(piped.splitlines()) if len(word) > console.LONGEST_WORD]  # these may be broken
    broken = words_of(shown) - words_of(piped.splitlines())
    assert [part for part in broken if not any(part in name for name in names)] == []


def test_a_run_that_gives_the_untouched_network_says_so_once_and_shows_no_zeros(
    capsys: pytest.CaptureFixture[str],
) -> None:
    question = Question(classes=4, classes_trained_on=0, queries=80, queries_trained_on=0)
    step = StageStep("fine-tuned", "whitened, shrinkage 0.5", {}, 0.4036, 0.4191, -0.1685, 0.1985, 4, False)
    stages = StagesResult("MAP@R", (step,), 0.4036, "untouched network", 0.4036, "4 classes in 4 folds", 2)
    values = {"map_at_r": 0.4036}
    training = TrainingResult(
        Path.cwd() / "run", values, values, 1, {"map_at_r": "MAP@R"}, {"": question}, {}, stages=stages
    )
    show(TrainResult(training=training, next_command=None))
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("the run gives the untouched network") == 1
    assert "before training" not in printed.out
    assert "run folder: run\n" in printed.out
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        terminal, grid = Console(force_terminal=True), console._grid(stages.columns, stages.rows)
        assert console._keep_words_whole(terminal, grid)
        with terminal.capture() as capture:
            terminal.print(grid)
    assert "-0.1685 to +0.1985" in capture.get()


def test_the_list_of_margins_fits_on_a_screen_of_80_by_24() -> None:
    shown = shown_on_terminal(["margins"], 80)
    assert len(shown) <= 23, "and the prompt"
    assert all(cell_len(row) <= 80 for row in shown)
    assert {row.split()[0] for row in shown[1:]} == set(Margin.members())


def test_every_column_of_the_margins_is_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["margins"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["margin", "formula", "defaults", "scale", "paper"]
    assert sum("arcface" in row.split() for row in rows) == 1
    assert len(rows) == len(Margin.members())


def test_colours_are_off_where_the_user_says_so(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    colours = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    words = ["split", str(folder / "photos" / "dataset_info.csv"), "--by", "ratio"]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours.search("\n".join(shown_on_terminal(words, codes=True)))
    assert not colours.search(capfd.readouterr().err)


def test_a_pipe_that_is_closed_early_is_no_error(folder: Path) -> None:
    shell = f"{sys.executable} -m eml margins | head -n 1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    head, code = ended.stdout.splitlines()
    assert head.split()[0] == "margin"
    assert (code, ended.stderr) == ("0", "")


def test_a_warning_is_on_stderr_and_json_alone_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", str(folder / "photos" / "folds.csv"), "--json"]
    assert main(["kfold", str(folder / "photos" / "dataset_info.csv"), "--k", "2", "--no-near"]) == 0
    capsys.readouterr()
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("{\n")
    assert out.endswith("}\n")
    assert "─" not in out + err


def test_a_resumed_run_shows_the_loss_of_its_last_step_and_none_that_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    validated = Validated(27, {"recall_at_1": 0.5}, {"recall_at_1": "R@1"}, best=False)
    with TrainingDisplay() as display:
        for started in (Started(1, 1, 1, 1, 1), Started(20, 5, 30, 1, 27, loss=1.25), Started(2_000, 5, 30, 10, 0)):
            display.observe(started)
            display.observe(validated)
    assert capsys.readouterr().err.splitlines() == [
        "1 image, 1 class, 1 step in one epoch",
        "epoch  27  R@1 0.500",
        "20 images, 5 classes, 30 steps (1 an epoch)",
        "epoch  27  loss 1.250  R@1 0.500",
        "2,000 images, 5 classes, 30 steps (10 an epoch)",
        "epoch  27  R@1 0.500",
    ]


@pytest.mark.parametrize("unseen, classes", [(1, "1 class that was"), (7, "7 classes that were"), (0, None)])
def test_the_end_of_a_training_leads_to_the_test_of_unseen_classes(
    unseen: int, classes: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    question = Question(classes=5, classes_trained_on=5, queries=10, queries_trained_on=0)
    training = TrainingResult(Path("run"), None, None, 1, {}, {"": question}, {})
    show(TrainResult(training=training, unseen_classes=unseen, next_command="eml evaluate run --data test.csv"))
    printed = capsys.readouterr()
    assert "Every class measured here was trained on, so unseen classes were not measured.\n" in printed.out
    beside = f"The test beside the table has {classes} not trained on; eml evaluate measures them:\n"
    assert printed.err == (beside if classes else "")


def test_no_line_of_a_terminal_ends_between_a_number_and_its_unit() -> None:
    import io

    from rich.console import Console

    from eml.cli.display import console

    terminal = Console(width=30, file=io.StringIO())
    assert console._wrapped("the images were computed in 30 s", terminal) == "the images were computed in\n30 s"
    assert console._wrapped("a file that is read has 1.5 MiB of", terminal) == "a file that is read has\n1.5 MiB of"
