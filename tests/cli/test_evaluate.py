"""`eml evaluate` of embeddings made elsewhere: what it writes, shows and refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from eml.cli.app import main
from eml.evaluation.outputs import folder_names
from eml.texts.vectors import EncoderFacts, TextVectors, write_text_vectors
from tests.cli.terminal import shown_on_terminal


def run(*arguments: object) -> int:
    return main([str(each) for each in arguments])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.array(["a", "b", "c", "d"]), 5)
    made = []
    for folder, noise in (("one", 0.1), ("two", 3.0)):
        (tmp_path / folder).mkdir()
        rows = np.repeat(np.eye(4, 8), 5, 0) + noise * random.standard_normal((20, 8))
        made.append(tmp_path / folder / "e.npz")
        np.savez(made[-1], embeddings=rows, label=labels)
    return made


def test_several_models_are_compared_each_in_a_folder_of_its_own(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", *files[::-1], "--out", tmp_path / "out", "--save-embeddings")
    assert run(*words) == 0
    shown = capfd.readouterr().out
    assert run(*words, "--json") == 0
    told = json.loads(capfd.readouterr().out)["evaluations"]
    assert [each["checkpoint"] for each in told] == [str(files[1]), str(files[0])]
    assert told[0]["metrics"]["map_at_r"] < told[1]["metrics"]["map_at_r"] == 1
    order = [line.split()[0] for line in shown.splitlines() if line.endswith(" 8")]
    assert order == [str(files[0]), str(files[1])], "the best comes first"
    for folder, each in zip(("two-e", "one-e"), told, strict=True):
        written = json.loads((tmp_path / "out" / folder / "embeddings" / "metrics.json").read_text())
        assert written == each
        again = np.load(tmp_path / "out" / folder / "embeddings" / "embeddings.npz")
        assert again["label"].tolist() == ["a"] * 5 + ["b"] * 5 + ["c"] * 5 + ["d"] * 5


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Four of falling quality on 30 classes, the first two alike but for chance; the last has a long name."""
    monkeypatch.chdir(tmp_path)
    centers = np.random.default_rng(1).standard_normal((30, 16))
    names = ["a.npz", "b.npz", "c.npz", f"{'long_' * 9}.npz"]
    for name, noise, seed in zip(names, (1.0, 1.0, 1.4, 2.0), range(4), strict=True):
        rows = np.repeat(centers, 5, 0) + noise * np.random.default_rng(seed).standard_normal((150, 16))
        np.savez(name, embeddings=rows, label=np.repeat(np.arange(30).astype(str), 5))
    return names


def test_models_are_shown_with_texts_and_which_the_data_cannot_tell(models: list[str]) -> None:
    names = [str(number) for number in range(30)]
    rows = np.random.default_rng(1).standard_normal((30, 16)) + np.random.default_rng(9).standard_normal((30, 16))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    facts = EncoderFacts(name="elsewhere", digest="0" * 32)
    write_text_vectors(Path("t"), TextVectors(tuple(names), unit, tuple((name,) for name in names), facts))
    words = ["evaluate", *models[:3], "--text-vectors", "t", "--out", "out", "--no-report"]
    lines = [line.rstrip() for line in shown_on_terminal(words, 80)]
    assert all(len(line) <= 80 for line in lines)
    facts_of = {
        name: json.loads(Path("out", name[:-4], "embeddings", "metrics.json").read_text())["text"]["zero_shot"]
        for name in models[:3]
    }
    order = sorted(models[:3], key=lambda name: -facts_of[name]["metrics"]["top_1"])
    below = lines[lines.index("embeddings, zero-shot: 150 images, 30 classes") :]
    shown = [line.split() for line in below if line.split()[:1] and line.split()[0] in models]
    assert [words[0] for words in shown] == order
    assert [float(words[1]) for words in shown] == [round(facts_of[name]["metrics"]["top_1"], 3) for name in order]
    assert [line.split()[:2] for line in below if line.strip().startswith("chance")] == [["chance", "0.033"]]
    verdicts = [line for line in below if line.startswith(f"top-1 of {order[0]} against ")]
    assert [line.split()[4].rstrip(":") for line in verdicts] == order[1:]


@pytest.mark.parametrize("width", [70, 80, 120])
def test_models_are_shown_with_intervals_as_far_as_the_width_allows(
    models: list[str], width: int, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", *models[2::-1], "--out", "out", "--no-report"]
    assert run(*words, "--json") == 0
    told = {each["checkpoint"]: each for each in json.loads(capfd.readouterr().out)["evaluations"]}
    lines = [line.rstrip() for line in shown_on_terminal(words, width)]
    err = capfd.readouterr().err
    assert all(len(line) <= width for line in lines)
    header = next(line.split() for line in lines if line.endswith(" D"))
    shown = {70: ["R@1", "MAP@R", "D"], 80: ["R@1", "MAP@R", "mAP", "D"], 120: ["R@1", "R@10", "MAP@R", "mAP", "D"]}
    assert header == shown[width]
    left_out = {70: "mAP, R@10", 80: "R@10", 120: None}[width]
    assert [line for line in err.splitlines() if line.startswith("no room")] == (
        [f"no room for {left_out}: in metrics.json, or in a wider terminal"] if left_out else []
    )
    for name in models[:3]:
        [line] = [line for line in lines if line.split()[:1] == [name] and line.endswith(" 16")]
        for metric in ("recall_at_1", "map_at_r"):
            low, high = told[name]["intervals"][metric]
            assert f"{told[name]['metrics'][metric]:.3f} ({low:.2f}–{high:.2f})" in line


def test_a_long_name_is_not_broken_in_a_narrow_terminal(models: list[str]) -> None:
    lines = shown_on_terminal(["evaluate", *models, "--out", "out", "--no-report"], 80)
    assert all(len(line) <= 80 for line in lines)
    assert sum(models[3] in line for line in lines) == 2, "once with its metrics, once against the best"


def test_models_that_the_data_cannot_tell_from_the_best_are_named(
    models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", *models[::-1], "--out", "out", "--no-report")
    assert run(*words) == 0
    shown = capfd.readouterr().out
    assert run(*words, "--json") == 0
    told = {each["checkpoint"]: each for each in json.loads(capfd.readouterr().out)["evaluations"]}
    best, second = sorted(models, key=lambda name: -told[name]["metrics"]["map_at_r"])[:2]
    assert f"The data cannot tell {best} and {second} apart in MAP@R.\n" in shown  # of four, the table has the figures
    standing = told[models[-1]]["standing"]
    low, high = standing["interval"]
    [row] = [line for line in shown.splitlines() if line.split()[:1] == [models[-1]] and " to " in line]
    assert row.split()[1:] == [f"{-standing['difference']:+.3f}", f"{-high:+.3f}", "to", f"{-low:+.3f}", "better"]
    assert {best, second} == {"a.npz", "b.npz"}
    assert [told[name]["standing"]["place"] for name in (best, second, *models[2:])] == [1, 2, 3, 4]
    verdicts = [told[name]["standing"]["verdict"] for name in (best, second, *models[2:])]
    assert verdicts == ["best", "the data cannot tell", "worse", "worse"]
    for name in models:
        standing = told[name]["standing"]
        assert json.loads(Path("out", name[:-4], "embeddings", "metrics.json").read_text()) == told[name]
        if name != best:
            low, high = standing["interval"]
            assert low < standing["difference"] < high
            values = [told[each]["metrics"]["map_at_r"] for each in (name, best)]
            assert standing["difference"] == pytest.approx(values[0] - values[1])
    capfd.readouterr()
    assert run("evaluate", "b.npz", "c.npz", "--out", "other", "--no-report") == 0
    assert re.search(
        r"b\.npz is better than c\.npz in MAP@R: \+0\.\d{4}, 95 % interval \+\S+ to \+\S+ over \d+ classes\.\n",
        capfd.readouterr().out,
    )


def test_models_of_different_images_are_listed_and_not_compared(
    models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    fewer = np.load("a.npz")
    np.savez("fewer.npz", embeddings=fewer["embeddings"][:100], label=fewer["label"][:100])
    assert run("evaluate", "b.npz", "fewer.npz", "--out", "out", "--no-report") == 0
    out = capfd.readouterr().out
    assert "The models are not compared with one another: a comparison needs the same images for both" in out
    assert "against the best" not in out


def test_verification_and_clustering_are_told_by_name_and_kept_by_key(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", files[0], "--out", tmp_path / "out", "--verification", "--clustering")
    assert run(*words, "--json") == 0
    (told,) = json.loads(capfd.readouterr().out)["evaluations"]
    assert run(*words) == 0
    out, err = capfd.readouterr()
    assert {"auc", "eer", "eer_threshold", "tar_at_far_1e-1", "same_pairs"} <= set(told["verification"])
    assert set(told["clustering"]) == {"nmi", "ami"}
    page = (tmp_path / "out" / "embeddings" / "report.html").read_text(encoding="utf-8")
    for name in ("AUC", "EER", "threshold at EER", "TAR@FAR=1e-1", "pairs of the same class", "NMI", "AMI"):
        assert f"\n {name}  " in out
        assert f">{name}<" in page
    for key in (*told["verification"], *told["clustering"]):
        assert f" {key} " not in out + err
        assert f">{key}<" not in page


def test_every_file_is_told_with_those_that_it_replaced_and_a_warning_once_a_table(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", *files, "--out", tmp_path / "out")
    assert run(*words, "--no-report") == 0
    told = capfd.readouterr().err.splitlines()
    folders = [tmp_path / "out" / name / "embeddings" for name in ("one-e", "two-e")]
    assert told[-2:] == [f"wrote {folder}/metrics.json" for folder in folders]
    few = "warning: embeddings: 4 classes are few for intervals over classes; take them as a hint"
    assert [line for line in told if "few for" in line] == [few]
    assert run(*words, "--save-embeddings") == 0
    told = capfd.readouterr().err.splitlines()
    written = [("replaced", "metrics.json"), ("wrote", "embeddings.npz"), ("wrote", "report.html")]
    assert told[-6:] == [f"{what} {folder}/{name}" for folder in folders for what, name in written]


def test_a_folder_is_named_by_as_much_of_the_path_as_tells_it_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for paths, names in (
        (["photos/run", "timm-resnet50", "photos/v.npz"], ["run", "timm-resnet50", "v"]),
        (["a/run", "b/run", "b/run/"], ["a-run", "b-run", "b-run-2"]),
        (["a/x/run", "b/x/run", "c/y/run"], ["a-x-run", "b-x-run", "y-run"]),
        (["a/test.csv", "b/test.csv", "c/other.csv"], ["a-test", "b-test", "other"]),
        (["."], [tmp_path.name]),
        (["/run", "/a/run"], ["run", "a-run"]),
        (["v1.5", "v1.6"], ["v1.5", "v1.6"]),
    ):
        assert folder_names([Path(path) for path in paths]) == names


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    words = ("evaluate", files[0], "--out")
    for out, told in (
        (
            tmp_path / "e.npy",
            f"{tmp_path}/e.npy: --out is a folder for the results; no folder is made with .npy at its",
        ),
        (tmp_path / "file", f"{tmp_path}/file/embeddings: cannot be written, since {tmp_path}/file is a file. Give an"),
        (Path("/proc/out"), "/proc/out/embeddings: cannot be written"),
    ):
        assert run(*words, out, "--within", "camera") == 2  # which the work would find to be missing
        assert capfd.readouterr().err.startswith(told)
    (tmp_path / "e.npy").mkdir()
    assert run(*words, tmp_path / "e.npy") == 0
    (tmp_path / "mine" / "embeddings").mkdir(parents=True)
    (tmp_path / "mine" / "embeddings" / "embeddings.npz").write_text("mine")
    assert run(*words, tmp_path / "mine", "--save-embeddings") == 2
    assert "embeddings.npz: exists and was not written by eml evaluate; give another --out" in capfd.readouterr().err
    assert run(*words, tmp_path / "mine") == 0


def test_what_is_missing_is_told(files: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", files[0]) == 2
    assert "has no run folder to write into; give a folder as --out" in capfd.readouterr().err
    assert run("evaluate", "timm:test_resnet", "--out", tmp_path) == 2
    assert "give the images to evaluate on as --data: a table or a folder" in capfd.readouterr().err
    assert run("evaluate", files[0], "--out", tmp_path / "out", "--within", "camera") == 2
    assert "has no column 'camera', which --within names; it has label, file_name" in capfd.readouterr().err
