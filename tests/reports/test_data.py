"""The data report: right numbers and names, commands that run, a page that loads nothing and runs no class name."""

import html
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eml.cli.app import main
from eml.dataset.table import Table
from eml.errors import OutputError
from eml.reports.data import examine, write_page
from eml.reports.data.class_sheet import choose_sheet
from eml.reports.data.look_alikes import find_look_alikes
from eml.reports.data.page import CLASHES, GROUPS, MEMBERS, shown_names
from tests.examples import examples
from tests.reports.chromium import PROGRAM, Chromium

EVIL = "<img src=x onerror=alert(1)>&\"'{{7*7}}"  # a class


def draw(path: Path, seed: int, size: tuple[int, int] = (80, 64)) -> None:
    """An image of its own kind for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven classes of six images and one of one; 2 near-duplicates, 1 file under two labels, 1 small, 2 broken."""
    root = tmp_path_factory.mktemp("made") / "my photos"
    for label in range(6):
        for number in range(6):
            draw(root / f"class {label}" / f"{number}.png", 10 * label + number)
    for number in range(6):
        draw(root / EVIL / f"{number}.png", 100 + number)
    draw(root / "only one" / "0.png", 200)
    with Image.open(root / "class 0" / "0.png") as image:
        image.resize((72, 60)).save(root / "class 0" / "smaller.png")
        image.save(root / "class 0" / "jpeg.jpg", quality=92)
    shutil.copy(root / "class 1" / "0.png", root / EVIL / "copy.png")
    draw(root / "class 2" / "tiny.png", 300, (20, 90))
    (root / "class 3" / "broken <b>.png").write_bytes((root / "class 3" / "0.png").read_bytes()[:300])
    (root / "class 3" / "notes.txt").write_text("no image")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


def reported(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main(["report", *map(str, arguments), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def text_of(page: str) -> str:
    """What a reader sees, roughly: tags gone, references resolved, white space collapsed."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def test_the_numbers_are_those_of_the_dataset(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = reported(capsys, root)
    assert (told["images"], told["classes"]) == (47, 8)
    assert told["bytes"] == sum(
        path.stat().st_size for path in root.glob("*/*") if path.suffix in (".png", ".jpg") and "<b>" not in path.name
    )
    sizes = told["class_sizes"]
    assert (sizes["min"], sizes["median"], sizes["max"], sizes["of_one"]) == (1, 6, 8, 1)
    assert [each["images"] for each in sizes["largest"]] == [8, 7, 7, 6, 6, 6, 6, 1]
    assert sum(each["count"] for each in sizes["histogram"]) == 8
    assert told["sizes"]["below_32"] == 1
    assert told["sizes"]["ratios"] == {"1:4 or taller": 1, "4:3": 46}
    assert told["formats"]["formats"] == {"PNG": 46, "JPEG": 1}
    assert told["errors"]["reasons"] == {"not_an_image": 1, "truncated": 1}
    near = told["look_alikes"]
    assert near["within_classes"].pop("same_hash") <= 2  # a JPEG may keep all bits, or not
    assert near["within_classes"] == {"images_to_spare": 2, "groups": 1, "largest_group": 3}
    assert near["label_conflicts"] == {"images": 2, "same_bytes": 2, "class_pairs": 1}
    assert near["over_classes"]["pairs_found"] == 1
    per_class = [8, 6, 7, 6, 6, 6, 7, 1]
    assert near["over_classes"]["pairs_compared"] == (47**2 - sum(size**2 for size in per_class)) // 2
    assert told["written"] == [f"{root}/data_report.html"]


def test_the_page_shows_counts_names_and_thumbnails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = reported(capsys, root)
    page = (root / "data_report.html").read_text(encoding="utf-8")
    text = text_of(page)
    assert "47 images in 8 classes" in text
    assert "class 3/broken <b>.png the file ends before the image does" in text
    group = text.partition("class 0 3 images ")[2]
    assert re.match(r"stays 0\.png (same hash|\d bits) (jpeg.jpg|smaller.png) (same hash|\d bits) ", group)
    assert f"class 1 0.png {EVIL} copy.png" in text or f"{EVIL} copy.png class 1 0.png" in text
    for step in told["suggestions"]:
        assert step["command"] in text
    sheet, _, look_alikes = page.partition('id="next"')
    assert look_alikes.count('src="data:image/webp;base64,') == 3 + 2
    assert (
        sheet.count('src="data:image/webp;base64,') == 7 * 4 + 1 + 4 * 6 + 7
    )  # the smallest but one of 1 image, whole


def test_nothing_of_the_data_becomes_markup_and_nothing_is_loaded(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reported(capsys, root)
    page = (root / "data_report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<b>.png" not in page
    shown = text_of(page).split("Classes")[0].replace(str(root.parent), "")  # whose name may hold any number
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", shown)
    assert html.escape(EVIL, quote=True).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub(r'"data:image/webp;base64,[^"]*"', "", page))
    assert {address[:5] for address in re.findall(r'(?:src|href)="([^"#][^"]*)"', page)} == {"data:"}


@pytest.mark.slow
def test_every_suggested_command_runs_and_then_nothing_is_left_to_do(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = reported(capsys, root)
    (filtering, splitting, folding) = told["suggestions"]
    assert shlex.split(filtering["command"]) == [
        *("eml", "filter", str(root), "--dedup", "--scope", "dataset", "--min-size", "32", "--min-per-class", "2")
    ]
    assert [reason.split()[0] for reason in filtering["reasons"]] == ["2", "2", "1", "1"]
    for step in (filtering, splitting, folding):
        assert main(shlex.split(step["command"])[1:]) == 0
    assert len(pd.read_csv(root / "dataset_info_filtered.csv")) == 47 - 6
    capsys.readouterr()
    told = reported(capsys, root)
    assert told["suggestions"] == []
    assert [(each["table"], each["state"]) for each in told["tables"]] == [
        *(("dataset_info.csv", "current"), ("dataset_info_filtered.csv", "current"), ("dataset_train.csv", "current")),
        *(("dataset_test.csv", "current"), ("folds.csv", "current")),
    ]
    assert told["tables"][1]["images"] == 41
    assert "None. The data give no reason" in text_of((root / "data_report.html").read_text(encoding="utf-8"))

    assert main(["filter", str(root), "--dedup"]) == 0  # weaker than what was suggested, and newer than the split
    capsys.readouterr()
    told = reported(capsys, root)
    assert [shlex.split(step["command"])[1] for step in told["suggestions"]] == ["filter", "split", "kfold"]
    assert {each["table"]: each["state"] for each in told["tables"]}["folds.csv"] == "stale"


def test_a_table_given_is_what_the_commands_are_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(root), "--out", str(root.parent / "out")]) == 0
    capsys.readouterr()
    table = root.parent / "out" / "mine.csv"
    pd.read_csv(root.parent / "out" / "dataset_info.csv", dtype=str).to_csv(table, index=False)
    told = reported(capsys, table, "--root", root, "--out", root.parent / "page.html")
    assert told["written"] == [f"{root.parent}/page.html"]
    assert told["suggestions"][0]["command"].startswith(shlex.join(["eml", "filter", str(table), "--root", str(root)]))
    (root.parent / "out" / "dataset_info.csv").unlink()  # only the given table is there
    for step in told["suggestions"]:
        assert main(shlex.split(step["command"])[1:]) == 0, step


def test_scan_writes_the_same_page_on_wish(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(root), "--report", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["written"][-1] == f"{root}/data_report.html"
    assert err.splitlines()[-1].endswith("--dedup --scope dataset --min-size 32 --min-per-class 2")
    first = (root / "data_report.html").read_text(encoding="utf-8")
    assert main(["report", str(root)]) == 0
    second = (root / "data_report.html").read_text(encoding="utf-8")
    assert [line for line in first.splitlines() if "UTC" not in line] == [
        line for line in second.splitlines() if "UTC" not in line
    ]
    assert main(["scan", str(root)]) == 0  # the page is no file of the dataset's
    assert len(pd.read_csv(root / "dataset_errors.csv")) == 2


def test_a_page_of_the_users_is_not_replaced(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "data_report.html").write_text("mine")
    for command in (["report", str(root)], ["scan", str(root), "--report"]):
        assert main(command) == 2
        assert f"{root}/data_report.html: exists and was not written by eml." in capsys.readouterr().err
    assert (root / "data_report.html").read_text() == "mine"
    assert not (root / "dataset_info.csv").exists()
    assert main(["report", str(root), "--overwrite"]) == 0
    assert main(["report", str(root)]) == 0


def test_an_image_that_broke_since_the_scan_is_shown_as_such(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(root)]) == 0
    (root / "class 0" / "jpeg.jpg").write_bytes(b"broken")
    capsys.readouterr()
    assert main(["report", str(root)]) == 2
    assert "since the scan, 1 changed" in capsys.readouterr().err.replace("\n", " ")
    reported(capsys, root / "dataset_info.csv")
    page = (root / "data_report.html").read_text(encoding="utf-8")
    assert "can no longer be read (not_an_image)" in page
    assert page.partition('id="next"')[2].count('src="data:image/webp;base64,') == 4


def test_a_table_without_hashes_and_sizes_is_described_by_what_it_has(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("class 0/*"))
    table = root / "bare.csv"
    pd.DataFrame({"label": "x", "file_name": names}).to_csv(table, index=False)
    told = reported(capsys, table, "--root", root)
    assert (told["sizes"], told["formats"], told["look_alikes"], told["bytes"]) == (None, None, None, None)
    assert "a table that eml scan makes of a folder has them" in text_of(
        (root / "data_report.html").read_text(encoding="utf-8")
    )


def test_folders_called_like_splits_are_to_be_scanned_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "test/a/2.png"):
        draw(tmp_path / "data" / name, len(name))
    told = reported(capsys, tmp_path / "data")
    assert [step["command"] for step in told["suggestions"]] == [
        f"eml scan {tmp_path}/data/test",
        f"eml scan {tmp_path}/data/train",
    ]


def row(number: int, label: str, hash_: int, **more: object) -> dict[str, object]:
    return {"label": label, "file_name": f"{label}/{number}.png", "hash": f"{hash_:016x}", **more}


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("links")


def table_of(rows: list[dict[str, object]], links: Path) -> Table:
    """A table of made hashes; all its files are there, and are one image."""
    if not (photo := links / "image.png").exists():
        draw(photo, 0)
    for each in rows:
        if not (path := links / str(each["file_name"])).exists():
            path.parent.mkdir(exist_ok=True)
            path.hardlink_to(photo)
    return Table(pd.DataFrame(rows), links)


def test_of_many_groups_the_largest_are_shown_and_the_others_counted(links: Path, tmp_path: Path) -> None:
    random, rows = np.random.default_rng(0), []
    for group in range(GROUPS + 30):
        value = int(random.integers(2**63))
        rows += [row(100 * group + copy, "a", value) for copy in range(2 if group else 40)]
    for clash in range(CLASHES + 5):
        value = int(random.integers(2**63))
        rows += [row(clash, f"one {clash}", value), row(clash, f"two {clash}", value)]
    report = examine(table_of(rows, links), dataset=tmp_path)
    assert len(shown_names(report)) == (GROUPS - 1) * 2 + MEMBERS + 1 + 2 * CLASHES
    write_page(report, tmp_path / "page.html", command="eml report")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    look_alikes = page.partition('id="next"')[2]
    assert look_alikes.count('src="data:image/webp;base64,') == len(shown_names(report))
    text = text_of(page)
    assert "a 40 images, 8 shown stays" in text
    assert "30 smaller groups are not shown" in text
    assert "5 pairs of classes with weaker conflicts are not shown" in text


def test_an_unwritable_place_is_told_and_leaves_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(root)]) == 0
    (root.parent / "file").write_text("")
    assert main(["report", str(root), "--out", str(root.parent / "file" / "page.html")]) == 2
    assert "is a file" in capsys.readouterr().err
    report = examine(Table(pd.DataFrame([row(0, "a", 1)]), root), dataset=root)
    with pytest.raises(OutputError):
        write_page(report, root / "class 0", command="eml report")
    assert not list(root.rglob(".eml-tmp-*"))


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_every_conflict_is_shown_with_its_nearest_image_of_another_class(links: Path, data: st.DataObject) -> None:
    threshold = data.draw(st.sampled_from([0, 4, 10]))
    base = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=6)
    rows = []
    for number in range(data.draw(st.integers(1, 14))):
        value = data.draw(st.sampled_from(base))
        for bit in data.draw(flips):
            value ^= 1 << bit
        content = data.draw(st.sampled_from(["p", "q"])) if value in base else f"own {number}"
        rows.append(row(number, data.draw(st.sampled_from("abc")), value, content=f"{value} {content}"))
    near = find_look_alikes(table_of(rows, links), threshold)
    values = [int(str(each["hash"]), 16) for each in rows]
    pairs = {
        (i, j): (values[i] ^ values[j]).bit_count()
        for i in range(len(rows))
        for j in range(i)
        if rows[i]["label"] != rows[j]["label"] and (values[i] ^ values[j]).bit_count() <= threshold
    }
    assert near.pairs.near == len(pairs)
    nearest = [min((far for pair, far in pairs.items() if i in pair), default=-1) for i in range(len(rows))]
    assert near.conflicting.tolist() == nearest
    copies = [
        any(i in pair and rows[pair[0]]["content"] == rows[pair[1]]["content"] for pair in pairs)
        for i in range(len(rows))
    ]
    assert near.copied.tolist() == copies
    assert sum(clash.images for clash in near.clashes) == sum(far >= 0 for far in nearest)
    for clash in near.clashes:
        assert (rows[clash.rows[0]]["label"], rows[clash.rows[1]]["label"]) == clash.labels
        assert pairs[tuple(sorted(clash.rows, reverse=True))] == clash.distance  # type: ignore[index]
    for group in near.groups:
        for member in group.duplicates:
            assert rows[member.row]["label"] == group.label == rows[group.kept]["label"]
            assert (values[member.row] ^ values[group.kept]).bit_count() == member.distance <= threshold


def test_a_page_of_one_image_in_one_class_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "data" / "a" / "1.png", 1)
    told = reported(capsys, tmp_path / "data")
    assert told["suggestions"] == []
    assert "1 image in 1 class" in text_of((tmp_path / "data" / "data_report.html").read_text(encoding="utf-8"))


OVERLAPPING = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
    .filter(([other, b]) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)
    .map(([other]) => `${one} | ${other}`));
})"""
TOO_WIDE = """[...document.querySelectorAll('body *')].filter(each => !each.closest('.wide') &&
  each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 80))"""


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_a_browser_shows_the_page_at_any_width_and_runs_nothing_of_the_datas(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = reported(capsys, root)
    with Chromium() as browser:
        for width in (360, 390, 768, 1280):
            for dark in (False, True):
                browser.open(root / "data_report.html", width=width, dark=dark)
                assert browser.asked == []
                assert browser.complaints == []
                assert browser.evaluate(TOO_WIDE) == []
                assert browser.evaluate(OVERLAPPING) == []
                assert browser.evaluate("document.querySelectorAll('#next ~ section img').length") == 5
                assert browser.evaluate("[...document.images].every(image => image.hidden || image.naturalWidth > 0)")
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 26)"
        commands = browser.evaluate("[...document.querySelectorAll('.command code')].map(each => each.textContent)")
        assert commands == [step["command"] for step in told["suggestions"]]
        browser.evaluate("document.querySelector('button.copy').focus(); document.activeElement.click()")
        assert browser.evaluate("getSelection().toString()") == commands[0]


def test_of_images_equally_near_the_copy_of_the_file_is_shown(links: Path) -> None:
    rows = [
        row(0, "a", 7, content="other", bytes=9),
        row(1, "a", 7, content="mine", bytes=1),
        row(2, "b", 7, content="mine", bytes=1),
    ]
    near = find_look_alikes(table_of(rows, links), 10)
    assert near.copied.tolist() == [False, True, True]
    (clash,) = near.clashes
    assert (clash.rows, clash.same_bytes, clash.images) == ((1, 2), True, 3)


def test_classes_that_the_filter_would_leave_with_one_image_are_counted(links: Path, tmp_path: Path) -> None:
    rows = [row(0, "twice", 0), row(1, "twice", 0), row(2, "two", 2**40 - 1), row(3, "two", (2**20 - 1) << 44)]
    report = examine(table_of(rows, links), dataset=tmp_path)
    (step,) = report.to_json()["suggestions"]
    assert step["command"] == f"eml filter {tmp_path} --dedup --min-per-class 2"
    assert [reason.split()[0] for reason in step["reasons"]] == ["1", "1"]


def test_like_hashes_of_unlike_images_are_no_conflict(tmp_path: Path) -> None:
    for number in range(2):
        draw(tmp_path / str(number) / "0.png", number)
    report = examine(Table(pd.DataFrame([row(0, "0", 5), row(0, "1", 5)]), tmp_path), dataset=tmp_path)
    near = report.to_json()["look_alikes"]
    assert (near["over_classes"]["pairs_found"], near["label_conflicts"]["images"]) == (1, 0)
    assert report.to_json()["suggestions"] == []


def test_a_split_that_passed_over_a_newer_filtered_table_is_out_of_date(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["scan"], ["split", "--by", "ratio"], ["filter", "--dedup"]):
        assert main([command[0], str(root), *command[1:]]) == 0
    capsys.readouterr()
    states = {each["table"]: each["state"] for each in reported(capsys, root)["tables"]}
    assert states["dataset_info_filtered.csv"] == "current"
    assert states["dataset_train.csv"] == "stale"


def test_a_side_that_is_the_same_in_all_images_is_one_number(tmp_path: Path) -> None:
    for label, side in (("a", 64), ("b", 50)):
        draw(tmp_path / label / "0.png", side, (80, side))
    assert main(["scan", str(tmp_path), "--report"]) == 0
    text = text_of((tmp_path / "data_report.html").read_text())
    assert "The shorter side is 50 to 64 pixels (median 57), the longer side 80. Sizes are" in text


def test_the_contact_sheet_shows_every_class_and_the_smallest_whole() -> None:
    sizes = {f"class {number:03}": 1 + number % 20 for number in range(300)}
    rows = [{"label": label, "file_name": f"{label}/{at:02}"} for label, size in sizes.items() for at in range(size)]
    sheet = choose_sheet(pd.DataFrame(rows[::-1]))
    assert (len(sheet.classes), sheet.left_out, sheet.smallest) == (240, 60, [])  # of 1 image, which are whole anyway
    assert (sheet.classes[0].label, sheet.classes[-1].label) == ("class 000", "class 299")
    some = sheet.classes[-1]
    assert (some.images, some.names) == (20, [f"class 299/{at:02}" for at in (0, 6, 13, 19)])
    few = choose_sheet(pd.DataFrame([row for row in rows if row["label"] in ("class 004", "class 006", "class 019")]))
    assert [(each.label, len(each.names)) for each in few.classes] == [
        ("class 004", 4),
        ("class 006", 4),
        ("class 019", 4),
    ]
    assert [(each.label, len(each.names)) for each in few.smallest] == [("class 004", 5), ("class 006", 7)]
    assert choose_sheet(pd.DataFrame(rows[10:15]).assign(label="a")).smallest == []  # the only one is not the smallest


def test_many_classes_are_folded_on_the_page(links: Path) -> None:
    random = np.random.default_rng(3)
    rows = [row(number, f"class {number:02}", int(random.integers(2**63))) for number in range(66)]
    report = examine(table_of(rows, links), dataset=links)
    write_page(report, links / "data_report.html", command="eml report")
    page = (links / "data_report.html").read_text(encoding="utf-8")
    opened, _, folded = page.partition('id="next"')[0].partition(
        '<details class="more"><summary>6 more classes</summary>'
    )
    assert (opened.count("<article>"), folded.count("<article>")) == (60, 6)


def test_a_dataset_of_which_nothing_is_left_after_the_removals_has_a_page(links: Path) -> None:
    report = examine(table_of([row(0, "both a", 7), row(0, "both b", 7)], links), dataset=links)
    assert [step["command"] for step in report.to_json()["suggestions"]] == [
        f"eml filter {links} --dedup --scope dataset"
    ]
