"""From embeddings to the list of suspects, the page that shows them, and the table without them."""

import html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eml.cli.app import main
from tests.reports.chromium import PROGRAM, Chromium

pytestmark = pytest.mark.slow

COLOURS = {"apple": (200, 30, 30), "lemon": (220, 210, 40), "lime": (60, 190, 50)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as `eml train --fold all` leaves it: two networks, and two lemons that are called limes."""
    random = np.random.default_rng(0)
    names, labels, embeddings, folds = [], [], [], []
    turns = [np.linalg.qr(random.normal(size=(8, 8)))[0] for _ in range(2)]
    for number in range(120):
        true = list(COLOURS)[number % 3]
        name = f"{true}/{number}.png"
        (tmp_path / "images" / true).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), COLOURS[true]).save(tmp_path / "images" / name)
        names.append(name)
        labels.append("lime" if number in (1, 7) else true)
        folds.append(number // 3 % 2)
        embeddings.append((np.eye(8)[number % 3] + 0.05 * random.normal(size=8)) @ turns[folds[-1]])
    folder = tmp_path / "run"
    folder.mkdir()
    np.savez(folder / "out_of_fold.npz", embeddings=embeddings, file_name=names, label=labels, fold=folds)
    (folder / "folds.json").write_text(json.dumps({"root": str(tmp_path / "images"), "folder": str(folder)}))
    pd.DataFrame({"label": labels, "file_name": names}).to_csv(tmp_path / "images" / "table.csv", index=False)
    return folder


def eml(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    code = main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return dict(json.loads(out))


def test_a_run_from_elsewhere_cannot_choose_the_folder_of_images(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "folds.json").write_text(json.dumps({"root": str(run.parent / "images")}))
    assert main(["suspects", str(run)]) == 2
    assert f"give --root {run.parent / 'images'}" in capsys.readouterr().err
    eml(capsys, "suspects", run, "--root", run.parent / "images")


def test_images_that_the_judge_was_trained_on_are_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = {"root": str(run.parent / "images"), "folder": str(run)}
    seen = {"status": "known", "classes": 3, "of_classes": 3, "images": 60, "of_images": 120, "unrecorded": []}
    said = "60 of 120 images were trained on by the network that judges them"
    unknown = "it is unknown whether the network was trained on these images"
    for facts, expected in ((seen, said), (seen | {"images": 0}, None), (None, unknown)):
        (run / "folds.json").write_text(json.dumps(root | ({"trained_on": facts} if facts else {})))
        assert main(["suspects", str(run), "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["trained_on"]["status"] == ("known" if facts else "unknown")
        page = (run / "suspects.html").read_text()
        for sentence in (said, unknown):
            assert (sentence in err) == (sentence[1:] in page) == (sentence == expected)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    assert main([*map(str, words)]) == 2
    return capsys.readouterr().err.splitlines()


class Seen(HTMLParser):
    """The images of a page, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            self.images.append(str(given["alt"]))
        self.loaded += [str(given[key]) for key in ("src", "href") if key in given]


def test_a_wrong_label_is_listed_shown_and_left_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = eml(capsys, "suspects", run)
    assert (facts["probable_label_errors"], facts["images"], facts["networks"]) == (2, 120, 2)
    listed = pd.read_csv(run / "suspects.csv").sort_values("file_name")
    row = listed.iloc[0].to_dict()
    assert (row["file_name"], row["label"], row["suggested_label"]) == ("lemon/1.png", "lime", "lemon")
    assert row["nearest_suggested"].startswith("lemon/")
    assert row["nearest_own"].startswith("lime/")  # not the other lemon
    assert row["reason"].startswith("of the 10 nearest ")
    table = run.parent / "images" / "table.csv"
    filtered = eml(capsys, "filter", table, "--exclude", run / "suspects.csv", "--out", run.parent)
    assert filtered["removed"] == {"excluded": 2}
    removed = pd.read_csv(run.parent / "dataset_removed.csv")
    assert removed[["file_name", "reason"]].to_numpy().tolist() == [
        ["lemon/1.png", "excluded"],
        ["lemon/7.png", "excluded"],
    ]


def test_the_page_shows_the_suspect_beside_both_labels_and_loads_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eml(capsys, "suspects", run)
    page = (run / "suspects.html").read_text()
    seen = Seen()
    seen.feed(page)
    assert seen.images[0] in ("lemon/1.png", "lemon/7.png")
    assert [name.split("/")[0] for name in seen.images[1:7]] == ["lime"] * 3 + ["lemon"] * 3
    assert all(address.startswith(("data:", "#")) for address in seen.loaded)


def test_names_and_labels_are_escaped_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    labels = np.array(["<b>x</b>", "<script>y</script>"])[np.arange(30) % 2]
    embeddings = np.eye(4)[np.arange(30) % 2] + 0.05 * random.normal(size=(30, 4))
    labels[0] = labels[1]
    names = [f"<i>{number}.png" for number in range(30)]
    Image.new("RGB", (9, 9)).save(tmp_path / names[0], format="PNG")
    np.savez(tmp_path / "e.npz", embeddings=embeddings, file_name=names, label=labels)
    facts = eml(capsys, "suspects", tmp_path / "e.npz", "--out", tmp_path / "out")
    assert facts["probable_label_errors"] == 1
    page = (tmp_path / "out" / "suspects.html").read_text()
    assert "&lt;script&gt;y" in page
    assert "<script>y" not in page
    assert "<i>0" not in page
    assert "can no longer be read (missing)" in page  # the others


def test_a_list_that_was_edited_is_not_written_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eml(capsys, "suspects", run)
    eml(capsys, "suspects", run)
    (run / "suspects.csv").write_text("rank,file_name\n")
    assert "was changed since eml wrote it" in refused(capsys, "suspects", run)[0]
    assert (run / "suspects.csv").read_text() == "rank,file_name\n"


def test_training_again_does_not_make_the_filtered_table_out_of_date(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eml(capsys, "suspects", run)
    table = run.parent / "images" / "table.csv"
    eml(capsys, "filter", table, "--exclude", run / "suspects.csv", "--out", run.parent)
    with np.load(run / "out_of_fold.npz") as file:
        arrays = dict(file)
    np.savez(run / "out_of_fold.npz", **(arrays | {"embeddings": arrays["embeddings"] * 2}))
    eml(capsys, "kfold", run.parent, "--k", 2)


def test_one_network_compares_all_and_needs_no_folds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert eml(capsys, "suspects", run, "--one-network", "--out", run / "one")["networks"] == 1


def test_what_cannot_be_used_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no out_of_fold.npz. Run: eml train CONFIG --fold all" in refused(capsys, "suspects", tmp_path)[0]
    assert "no such file or folder" in refused(capsys, "suspects", tmp_path / "none.npz")[0]
    os.mkfifo(tmp_path / "pipe.npz")
    told = f"{tmp_path}/pipe.npz: is a pipe or a device, not a file of embeddings"
    assert refused(capsys, "suspects", tmp_path / "pipe.npz") == [told]
    assert "none of its 120 images is under" in refused(capsys, "suspects", run, "--root", tmp_path)[0]
    np.savez(tmp_path / "e.npz", embeddings=np.eye(3), label=["a", "b", "a"])
    assert "has no column file_name" in refused(capsys, "suspects", tmp_path / "e.npz")[0]
    (tmp_path / "e.npy").write_bytes(b"")
    assert "an .npz or .parquet" in refused(capsys, "suspects", tmp_path / "e.npy")[0]


def test_embeddings_that_tell_nothing_apart_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([f"{each:02}" for each in range(10)], 6)
    names = np.array([f"{number}.png" for number in range(60)])
    Image.new("RGB", (9, 9)).save(tmp_path / names[0])
    np.savez(tmp_path / "e.npz", embeddings=random.normal(size=(60, 8)), file_name=names, label=labels)
    assert main(["suspects", str(tmp_path / "e.npz")]) == 0
    assert "of the images are suspects: more likely these embeddings do not tell the classes apart" in (
        " ".join(capsys.readouterr().err.split())
    )


class Ticks(HTMLParser):
    """The tick boxes of a page, and its commands."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: list[dict[str, str | None]] = []
        self.command: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input":
            self.boxes.append(given)
        self.command = given.get("data-command", self.command)


def test_the_page_has_a_tick_box_for_each_suspect_and_whole_commands(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = run.parent / "images"
    eml(capsys, "scan", root)
    assert main(["filter", str(root), "--min-size", "5"]) == 0
    capsys.readouterr()
    eml(capsys, "suspects", run)
    page = (run / "suspects.html").read_text()
    ticks = Ticks()
    ticks.feed(page)
    listed = pd.read_csv(run / "suspects.csv")
    boxes = [(box["data-file_name"], box["data-label"], box["data-suggested_label"]) for box in ticks.boxes[:2]]
    assert boxes == list(listed[["file_name", "label", "suggested_label"]].itertuples(index=False, name=None))
    assert ticks.command == f"eml filter {root} --min-size 5"  # the filter of before, to be repeated
    assert f"{ticks.command} --exclude {run / 'suspects.csv'}" in html_text(page)


def html_text(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", page))


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_what_is_ticked_with_the_keyboard_is_saved_as_a_list_that_filter_takes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = 'lime/a "quoted", <b>.png'
    (run.parent / "images" / "lemon" / "1.png").rename(run.parent / "images" / evil)
    saved = dict(np.load(run / "out_of_fold.npz", allow_pickle=True))
    saved["file_name"] = np.where(saved["file_name"] == "lemon/1.png", evil, saved["file_name"])
    np.savez(run / "out_of_fold.npz", **saved)
    eml(capsys, "suspects", run)
    key = "new KeyboardEvent('keydown', {key: 'NAME', bubbles: true, cancelable: true})"
    with Chromium() as browser:
        browser.open(run / "suspects.html", width=390)
        browser.evaluate("URL.createObjectURL = (blob) => { window.saved = blob; return 'data:,'; }")
        assert browser.evaluate("document.querySelector('.save').disabled")
        browser.evaluate("document.querySelector('input.pick').focus()")
        for name in ("Enter", "ArrowDown", "ArrowUp", "Enter", "ArrowDown", "Enter", "ArrowUp", "Enter"):
            browser.evaluate(f"document.activeElement.dispatchEvent({key.replace('NAME', name)})")
        assert browser.evaluate("document.querySelector('.picked b').textContent").startswith("2 of ")
        browser.evaluate("document.querySelector('.save').click()")
        text = browser.evaluate("window.saved.text()")
        assert "--exclude ~/Downloads/exclude-2" in browser.evaluate("document.querySelector('.exclude').textContent")
        assert browser.complaints == []
    (run / "exclude.csv").write_text(text)
    assert sorted(pd.read_csv(run / "exclude.csv")["file_name"]) == ["lemon/7.png", evil]
    frame = pd.read_csv(run.parent / "images" / "table.csv").replace("lemon/1.png", evil)
    frame.to_csv(run.parent / "images" / "table.csv", index=False)
    table = run.parent / "images" / "table.csv"
    filtered = eml(capsys, "filter", table, "--exclude", run / "exclude.csv", "--out", run.parent)
    assert filtered["removed"] == {"excluded": 2}
