"""`eml index …`, `eml search` and `eml classify` as typed: what they print, write and refuse."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import eml
from eml.cli.app import main
from eml.indexing.index import Index
from eml.indexing.model_record import model_to_calibrate
from eml.indexing.store import IndexStore
from tests.cli.terminal import shown_on_terminal
from tests.indexing.shop import CLASSES, calibration, draw, network, photo


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated index of nine photos of three classes, with its model inside, and new photos: not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    with Index.build(folder / "shop.index", network(), draw(folder / "photos"), with_model=True) as index:
        index.store.calibration = calibration().model_dump(mode="json")
    draw(folder / "new", first=50, per_class=2)
    draw(folder / "new", ("lemon",), first=50, per_class=2)
    (folder / "new" / "broken.jpg").write_text("no image")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current folder."""
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "folder"))
    return Path.cwd()


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_an_index_is_built_enlarged_shrunk_and_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = folder / "shop.index" / "model"
    built = printed(capsys, "index", "build", "my index", checkpoint, "photos")
    assert {name: built[name] for name in ("added", "skipped", "images", "classes", "with_model", "calibrated")} == {
        "added": 9, "skipped": 0, "images": 9, "classes": 3, "with_model": False, "calibrated": False,
    }  # fmt: skip
    added = printed(capsys, "index", "add", "my index", "new", "--label", "of today")
    assert (added["added"], added["classes"], [row["file_name"] for row in added["unreadable"]]) == (
        8,
        4,
        ["broken.jpg"],
    )
    assert printed(capsys, "index", "add", "my index", "photos")["skipped"] == 9
    assert main(["index", "add", "my index", "photos/tea", "--label", "coffee"]) == 0
    told = capsys.readouterr().err
    assert "warning: 3 images are in the index already and not relabelled, such as 0.png, which is 'tea'" in told
    assert "(eml index remove 'my index' --id " in told
    removed = printed(
        capsys, "index", "remove", "my index", "--label", "of today", "--file-name", "tea/0.png", "--id", 1
    )
    assert (removed["removed"], removed["images"], removed["classes"]) == (10, 7, 3)
    facts = printed(capsys, "index", "info", "my index")
    assert (facts["images"], facts["classes"], facts["backbone"]) == (7, 3, "test_resnet")
    assert facts["model"] == str(checkpoint)
    assert printed(capsys, "index", "compact", "my index")["bytes_after"] > 0
    assert printed(capsys, "index", "verify", "my index")["sound"]


def test_every_next_command_of_an_index_can_be_pasted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line: str | None = f"eml index build 'my index' {folder / 'shop.index' / 'model'} photos"
    names = []
    while line is not None:
        words = shlex.split(line)[1:]
        names.append(words[0])
        assert main(words) == 0
        lines = re.findall(r"^next: (.*)$", capsys.readouterr().err, flags=re.MULTILINE)
        line = lines[0] if lines else None
        assert line is None or str(folder) not in line  # paths as typed, from the current folder
    assert names == ["index", "search"]
    assert main(["index", "remove", "my index", "--label", "tea"]) == 0
    assert "next: eml index compact 'my index'\n" in capsys.readouterr().err
    assert main(["index", "compact", "my index"]) == 0


def test_info_measures_the_engines_and_compares_new_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed(capsys, "index", "info", "shop.index", "--measure", "--drift", "new")
    assert facts["float16_recall"] == 1
    assert all(engine["recall"] == 1 for engine in facts["engines"])
    assert (facts["drift"]["queries"], facts["drift"]["unknown_rate"]) == (8, 0.25)
    assert main(["index", "info", "shop.index", "--measure", "--drift", "new"]) == 0
    out = capsys.readouterr().out
    assert "of those of its own" in out
    assert "8 new images beside those of the calibration" in out


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".parquet"])
def test_an_index_is_exported(folder: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = printed(capsys, "index", "export", "shop.index", f"out{suffix}", "--where", "label != 'tea'")
    assert (result["images"], result["size"]) == (6, None if suffix == ".csv" else network().size)
    if suffix == ".csv":
        frame = pd.read_csv("out.csv")
        assert sorted(set(frame["label"])) == ["<b>jam", "mug"]
        assert frame["index_id"].is_unique
    assert main(["index", "export", "shop.index", f"out{suffix}"]) == 0, "a file of eml's own is replaced"


def test_what_is_wrong_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, told in {
        "index build shop.index timm:test_resnet photos": "is an index already. Add images with eml index add, or set "
        "--overwrite",
        "index build photos timm:test_resnet photos": "exists and is no index",
        "index remove shop.index": "give --label, --file-name or --id",
        "index remove shop.index --label cup": "no image of label 'cup'",
        "index bild x": "unknown command 'index bild' (did you mean 'build'?)",
        "search nothing.index photos": "nothing.index",
        "search shop.index nothing.jpg": "no such file",
        "search shop.index new/broken.jpg": "new/broken.jpg: cannot be read: not_an_image",
        "search shop.index photos --where lable": "there is no column 'lable'",
        "classify shop.index photos --move a --copy b": "--move and --copy exclude each other",
        "classify shop.index photos --truth species": "--truth species: is neither a column",
        "classify shop.index photos --out x.txt": "must end in .csv or .parquet",
    }.items():
        assert main(line.split()) == 2, line
        err = capsys.readouterr().err
        assert told in err, (line, err)
    assert not Path("x.txt").exists()


def test_a_damaged_index_is_a_no_of_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for segment in (folder / "shop.index" / "derived").glob("*.seg"):
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
    assert main(["index", "verify", "shop.index"]) == 1
    shown = capsys.readouterr()
    assert ".seg" in shown.out
    assert "next: eml index verify shop.index --repair\n" in shown.err
    assert main(["index", "verify", "shop.index", "--repair"]) == 0
    assert main(["index", "verify", "shop.index"]) == 0
    assert main(["index", "verify", "photos"]) == 2


def test_search_prints_a_table_for_each_query(folder: Path) -> None:
    lines = shown_on_terminal(["search", "shop.index", "photos/mug/0.png", "new/tea/50.png", "--k", "2"])
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert "photos/mug/0.png" in text
    assert re.search(r"1 +mug +0\.\d{3} +1\.0000 +mug/0\.png", text)
    assert re.search(r"1 +tea +0\.\d{3} +0\.\d{4} +tea/\d\.png", text)


def test_search_gives_json_csv_and_a_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("search", "shop.index", "new", "--k", 3, "--csv", "s.csv", "--html", "s.html")
    result = printed(capsys, *words)
    queries = {answer["query"]: answer for answer in result["results"]}
    assert set(queries["tea/50.png"]["neighbours"][0]) == {"rank", "label", "cosine", "probability", "file_name", "id"}
    assert queries["tea/50.png"]["neighbours"][0]["label"] == "tea"
    assert "not_an_image" in queries["broken.jpg"]["problem"]
    rows = list(csv.DictReader(Path("s.csv").read_text().splitlines()))
    assert len(rows) == 8 * 3
    page = Path("s.html").read_text()
    assert page.count("<img ") == 8 * 4
    assert "<b>jam" not in page
    assert "&lt;b&gt;jam" in page
    assert "http" not in page.replace("http-equiv", "")
    assert main([*map(str, words)]) == 0, "files of eml's own are replaced"
    Path("s.html").write_text("mine")
    assert main([*map(str, words)]) == 2
    assert Path("s.html").read_text() == "mine"


def test_classify_writes_a_row_for_each_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = printed(capsys, "classify", "shop.index", "new", "--out", "a.csv", "--html", "a.html", "--truth", "label")
    assert {name: result[name] for name in ("images", "accepted", "unknown", "unreadable")} == {
        "images": 9, "accepted": 6, "unknown": 2, "unreadable": 1,
    }  # fmt: skip
    assert result["answers"] is None
    frame = pd.read_csv("a.csv", index_col="file_name")
    columns = ["label", "probability", "runner_up", "runner_up_probability", "margin", "cosine", "unknown", "reason"]
    assert list(frame.columns) == columns
    assert frame.loc["tea/51.png", "label"] == "tea"
    assert not frame.loc["tea/51.png", "unknown"]
    assert frame.loc["lemon/50.png", "unknown"]
    assert re.fullmatch(
        r"below the threshold at which [\d.]+ % of the images of other classes are accepted",
        frame.loc["lemon/50.png", "reason"],
    )
    assert frame.loc["lemon/50.png", "label"] in CLASSES, "the best class is kept"
    assert "not_an_image" in frame.loc["broken.jpg", "reason"]
    figures = result["truth"]["figures"]
    assert {name: figure["value"] for name, figure in figures.items()} == {
        "accuracy": 1, "accepted_and_right": 1, "unknown_rate": 0, "false_accepts": 0, "precision": 1,
    }  # fmt: skip
    assert (result["truth"]["known"], result["truth"]["others"], result["truth"]["without"]) == (6, 2, 1)
    page = Path("a.html").read_text()
    assert page.count("<img ") == 8 * 2
    assert "<b>jam" not in page
    assert page.count('<p class="mark right">✓ right</p>') == 6
    assert page.count('<p class="mark quiet">is <span class="name">lemon</span></p>') == 2


def test_classify_without_a_file_prints_the_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = printed(capsys, "classify", "shop.index", "new/tea/50.png", "new/lemon/50.png")
    assert [(answer["label"] == "tea", answer["unknown"]) for answer in result["answers"]] == [
        (True, False),
        (False, True),
    ]
    assert main(["classify", "shop.index", "new/tea/50.png", "new/lemon/50.png"]) == 0
    assert re.search(r"new/lemon/50.png +unknown \(\S+\?\)", capsys.readouterr().out)


def test_an_index_without_calibration_gives_no_probability_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with IndexStore.open("shop.index") as store:
        store.calibration = None
    assert main(["classify", "shop.index", "new", "--out", "a.csv"]) == 0
    assert "the index has no calibration, so there are no probabilities" in capsys.readouterr().err
    frame = pd.read_csv("a.csv")
    assert frame[["probability", "runner_up_probability", "unknown"]].isna().all(axis=None)
    assert frame["label"].notna().sum() == 8
    result = printed(capsys, "search", "shop.index", "new/tea/50.png")
    assert result["results"][0]["neighbours"][0]["probability"] is None


@pytest.mark.parametrize("action", ["--move", "--copy"])
def test_photos_are_sorted_into_a_folder_per_class(
    folder: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = printed(capsys, "classify", "shop.index", "new", action, "sorted")
    assert result["sorted"]["placed"] == 8
    names = sorted(path.relative_to("sorted").as_posix() for path in Path("sorted").rglob("*.png"))
    assert names == [
        *("_b_jam/50.png", "_b_jam/51.png", "mug/50.png", "mug/51.png", "tea/50.png", "tea/51.png"),
        *("unknown/50.png", "unknown/51.png"),
    ]
    assert Path("new/tea/50.png").exists() == (action == "--copy")
    assert Path("new/broken.jpg").exists(), "what cannot be read stays"
    again = printed(capsys, "classify", "shop.index", "new" if action == "--copy" else "sorted", action, "sorted")
    assert again["sorted"]["placed"] == 0


def test_truth_may_be_a_table_or_a_column(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{label}/5{number}.png,{label}" for label in (*CLASSES, "lemon") for number in (0, 1)]
    Path("truth.csv").write_text("file_name,label\n" + "\n".join(rows[:-1]) + "\n")
    truth = printed(capsys, "classify", "shop.index", "new", "--truth", "truth.csv")["truth"]
    assert (truth["known"], truth["others"], truth["without"]) == (6, 1, 2)
    Path("new/images.csv").write_text("file_name,label,species\ntea/50.png,x,tea\nmug/50.png,x,tea\n")
    truth = printed(capsys, "classify", "shop.index", "new/images.csv", "--truth", "species")["truth"]
    assert truth["figures"]["accuracy"]["value"] == 0.5


def test_the_calibration_of_a_checkpoint_is_taken_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "calibrate", "shop.index"]) == 2
    assert "has no calibration of answers; first run: eml calibrate" in capsys.readouterr().err


def test_a_model_without_a_folder_is_put_inside_its_index_once_to_be_calibrated(folder: Path) -> None:
    eml.build_index("i", "timm:test_resnet", "photos", weights="none", image_size=32, tta="flip")
    lines: list[str] = []
    for _ in range(2):
        place, fingerprint = model_to_calibrate(Path("i"), lines.append)
        assert (place, fingerprint.tta) == (Path("i/model"), "flip")
    assert lines == ["put timm:test_resnet inside the index: i/model"]
    assert eml.load(place).fingerprint == fingerprint
    eml.build_index("j", folder / "i" / "model", "photos")
    assert model_to_calibrate(Path("j"), lines.append)[0] == folder / "i" / "model"
    assert len(lines) == 1


@pytest.mark.wide
def test_the_advice_for_an_index_of_an_untrained_network_gives_it_a_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(12):
        colour, place = random.integers(0, 255, 3), Path("photos", f"class {number}")
        place.mkdir(parents=True)
        for image in range(4):
            pixels = (colour + random.normal(0, 8, (24, 24, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{image}.png")
    build = ["index", "build", "my index", "timm:test_resnet", "photos", "--weights", "none", "--image-size", "32"]
    assert main([*build, "--tta", "flip"]) == 0
    line = "eml calibrate 'my index' --data TABLE --far 0.05"
    assert f"{line}, then eml index calibrate 'my index'\n" in capsys.readouterr().err
    assert main(["index", "calibrate", "my index"]) == 2
    advice = capsys.readouterr().err.rpartition("first run: ")[2].strip()
    assert advice == line
    assert main(shlex.split(advice)[1:]) == 2
    assert capsys.readouterr().err == "TABLE: no such file or folder\n"
    assert main(shlex.split(advice.replace("TABLE", "photos").replace("0.05", "0.2"))[1:]) == 0
    shown = capsys.readouterr().err
    assert "put timm:test_resnet inside the index: my index/model\n" in shown
    (following,) = [line for line in shown.splitlines() if line.startswith("next: ")]
    assert main(shlex.split(following)[2:]) == 0
    (found,) = printed(capsys, "classify", "my index", "photos/class 3/0.png")["answers"]
    assert (found["label"], found["probability"] is not None) == ("class 3", True)


def test_the_functions_do_what_the_commands_do(folder: Path) -> None:
    built = eml.build_index("i", folder / "shop.index" / "model", "photos", with_model=True)
    assert repr(built) == "BuildIndexResult(9 images added, 9 of 3 classes in i)"
    assert eml.add_to_index("i", ["new/lemon"], label="lemon").added == 2
    found = eml.search("i", "new/lemon/50.png", k=1)
    assert found.answers[0][0].label == "lemon"
    assert "<img " in found._repr_html_()
    classified = eml.classify("i", ["new/lemon/51.png"])
    html = classified._repr_html_()
    assert "<td>all</td><td>1</td>" in html
    assert html.count("<img ") == 2
    assert classified.images is not None
    assert classified.images[0].label == "lemon"
    assert eml.remove_from_index("i", labels="lemon").removed == 2
    assert eml.index_info("i").facts.images == 9
    assert eml.verify_index("i").problems == ()
    assert eml.compact_index("i").compacted.is_erased
    assert eml.export_index("i", "i.csv").images == 9
    assert photo("tea", 1).size == (40, 40)
