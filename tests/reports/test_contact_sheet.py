from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.errors import OutputError
from eml.reports.contact_sheet import LARGEST, draw_sheet, refuse_sheet

RED = np.full((40, 40, 3), (255, 0, 0), np.uint8)
BLUE = np.full((40, 40, 3), (0, 0, 255), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_a_sheet_holds_its_images_and_an_earlier_one_is_known(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sheet{suffix}"
    refuse_sheet(path, overwrite=False)
    draw_sheet(path, "title " * 80, ["a", "b"], [("one", [RED, BLUE]), ("two " * 90, [BLUE, RED])])
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet).astype(int)
    for colour in (RED, BLUE):
        same = np.abs(pixels - colour[0, 0].astype(int)).max(axis=2) < 30
        assert same.sum() >= 2 * 110**2  # 40 pixels are shown as 120
    refuse_sheet(path, overwrite=False)


def test_large_images_are_shown_smaller(tmp_path: Path) -> None:
    path = draw_sheet(tmp_path / "s.png", "t", ["a"], [("one", [np.zeros((500, 500, 3), np.uint8)])])
    with Image.open(path) as sheet:
        assert sheet.width < LARGEST + 50


def test_images_keep_their_shape(tmp_path: Path) -> None:
    tall = np.full((128, 64, 3), (255, 0, 0), np.uint8)
    for pixels, width, height in ((tall, 64, 128), (tall.repeat(4, 0).repeat(4, 1), 128, 256), (tall[:48], 64, 48)):
        path = draw_sheet(tmp_path / f"{height}.png", "t", ["a"], [("one", [pixels])])
        with Image.open(path) as sheet:
            is_red = (np.asarray(sheet)[..., :3] == (255, 0, 0)).all(2)
        times = 2 if height == 48 else 1
        assert (is_red.any(0).sum(), is_red.any(1).sum()) == (times * width, times * height)


def test_what_is_not_a_sheet_is_not_overwritten(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "mine.png")
    (tmp_path / "config.yaml").write_text("a: 1")
    for name, message in (
        (
            "mine.png",
            r"mine\.png: exists and was not made by eml contact sheet; set `overwrite` to replace it",
        ),
        ("config.yaml", r"config\.yaml: the name of the file must end in \.png, \.jpg, \.jpeg"),
    ):
        with pytest.raises(OutputError, match=message):
            refuse_sheet(tmp_path / name, overwrite=False)
    refuse_sheet(tmp_path / "mine.png", overwrite=True)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=r"folder\.png: is a folder"):
        refuse_sheet(tmp_path / "folder.png", overwrite=True)
