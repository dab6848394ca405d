import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from eml.cli.app import main
from eml.reports.run_logs import running_mean


def made_run(folder: Path, losses: list[float], values: list[float]) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    steps = [{"step": step + 1, "loss": loss} for step, loss in enumerate(losses)]
    metrics = [{"epoch": epoch, "map_at_r": each, "recall_at_1": each} for epoch, each in enumerate(values)]
    for name, lines in (("steps", steps), ("metrics", metrics)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_one_run_is_drawn_into_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "run", [3, 2, 1], [0.1, 0.4, 0.3])
    assert main(["plot", str(run), "--json"]) == 0
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(capsys.readouterr().out)["runs"] == {
        "run": {"before": 0.1, "best": 0.4, "epoch": 1, "question": None}
    }


def test_a_plot_and_its_table_say_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *words, **options: drawn.append(figure) or save(figure, *words, **options)
    )
    known, unseen = (made_run(tmp_path / name, [3, 2], [0.1, 0.4]) for name in ("known", "unseen"))
    for run, question in ((known, "new images of known classes"), (unseen, "unseen classes")):
        (run / "run.json").write_text(json.dumps({"validations": {"": {"question": question}}}))
        assert main(["plot", str(run)]) == 0
        assert drawn[-1].axes[1].get_title("left") == f"Retrieval: {question}"
        assert question in capsys.readouterr().out
    assert main(["plot", str(known), str(unseen), "--out", str(tmp_path / "both.png")]) == 0
    assert "the runs were not validated on the same question" in capsys.readouterr().err
    (known / "run.json").write_text("[]")
    assert main(["plot", str(known)]) == 0
    assert drawn[-1].axes[1].get_title("left") == "Retrieval in validation"


def test_several_runs_are_compared_and_told_apart_by_their_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [made_run(tmp_path / name / "run", [3, 2], [0.1, value]) for name, value in (("a", 0.2), ("b", 0.5))]
    out = tmp_path / "both.png"
    assert main(["plot", *map(str, runs), "--out", str(out), "--metric", "recall_at_1"]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().out
    assert "a/run" in told
    assert "b/run" in told
    assert "0.5000" in told


def test_what_cannot_be_plotted_is_an_error_that_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "run", [1], [0.1])
    assert main(["plot", str(tmp_path / "nothing"), str(run)]) == 2
    assert "nothing: is not a run folder" in capsys.readouterr().err
    assert main(["plot", str(run), str(run), "--metric", "recall"]) == 2
    assert "no run has the metric 'recall'; known: map_at_r, recall_at_1" in capsys.readouterr().err
    assert main(["plot", str(run), "--metric", "recall"]) == 2
    assert "no run has the metric 'recall'" in capsys.readouterr().err


def test_no_image_is_written_over_but_an_earlier_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, photo = made_run(tmp_path / "run", [1], [0.1]), tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(photo)
    before = photo.read_bytes()
    assert main(["plot", str(run), "--out", str(photo)]) == 2
    assert "was not made by eml plot" in capsys.readouterr().err
    assert photo.read_bytes() == before
    assert main(["plot", str(run), "--out", str(photo), "--overwrite"]) == 0
    assert main(["plot", str(run), "--out", str(photo)]) == 0
    assert main(["plot", str(run), "--out", str(tmp_path / "photo.jpg")]) == 2


def test_the_running_mean_tells_the_story_of_the_loss() -> None:
    falling = np.exp(-np.arange(200) / 40)
    assert np.abs(np.array(running_mean(falling.tolist())) - falling).max() < 0.02  # an exponential mean is 0.2 above
    noisy = falling + np.random.default_rng(0).normal(0, 0.1, 200)
    error = np.array(running_mean(noisy.tolist())) - falling
    assert error[10:-10].std() < 0.04
    assert running_mean([3.0, 1.0]) == [3.0, 1.0]
    assert running_mean([]) == []
