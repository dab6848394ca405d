"""Copies are the same image whatever was done to them; near hashes of different images are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from eml.dataset.duplicates.label_conflicts import exact_conflicts, label_conflicts
from eml.dataset.duplicates.verify_pairs import is_same_image, read_thumbnails, verify_pairs
from eml.dataset.table import Table
from eml.errors import DataError


@pytest.fixture
def photo() -> Image.Image:
    """Shades and shapes in colour, 200×150."""
    x, y = np.meshgrid(np.linspace(0, 3, 200), np.linspace(0, 2, 150))
    waves = [128 + 90 * np.sin(x * a + y * b + c) for a, b, c in ((1, 2, 0), (3, 1, 1), (2, -2, 2))]
    image = Image.fromarray(np.stack(waves, axis=2).astype(np.uint8))
    ImageDraw.Draw(image).ellipse((60, 40, 140, 110), fill="orange", outline="navy", width=4)
    return image


def same(folder: Path, *images: Image.Image) -> bool:
    for n, image in enumerate(images):
        image.save(folder / f"{n}.png")
    names = [f"{n}.png" for n in range(len(images))]
    return bool(is_same_image(read_thumbnails(folder, names), np.array([0]), np.array([1]))[0])


def test_copies_are_the_same_image(photo: Image.Image, tmp_path: Path) -> None:
    for copy in (
        photo.resize((50, 40)),
        photo.filter(ImageFilter.GaussianBlur(2)),
        ImageEnhance.Contrast(photo).enhance(1.4),
        ImageEnhance.Brightness(photo).enhance(0.7),
        ImageEnhance.Color(photo).enhance(0.6),
        photo.quantize(32),
    ):
        assert same(tmp_path, photo, copy)


def test_other_images_are_not(photo: Image.Image, tmp_path: Path) -> None:
    recoloured = Image.merge("RGB", photo.split()[::-1])
    changed_place = photo.copy()
    ImageDraw.Draw(changed_place).rectangle((5, 5, 60, 60), fill="white")
    for other in (
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        recoloured,
        changed_place,
        Image.new("RGB", (9, 9)),
    ):
        assert not same(tmp_path, photo, other)


def test_plain_images_are_compared_by_colour(tmp_path: Path) -> None:
    plain = Image.new("RGB", (20, 20), (200, 100, 50))
    assert same(tmp_path, plain, Image.new("RGB", (40, 10), (203, 98, 52)))
    assert not same(tmp_path, plain, Image.new("RGB", (20, 20), (50, 100, 200)))


def table(folder: Path, **columns: list[str]) -> Table:
    return Table(pd.DataFrame(columns), folder)


def test_near_hashes_are_conflicts_only_where_the_images_are_the_same(photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "a.png")
    photo.resize((80, 60)).save(tmp_path / "b.jpg")
    photo.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "c.png")
    names, hashes = ["a.png", "b.jpg", "c.png"], ["0" * 16, "0" * 15 + "3", "0" * 16]
    result = label_conflicts(table(tmp_path, label=["x", "y", "z"], file_name=names, hash=hashes), 10)
    assert result.to_dict("list") == {
        "group": [1, 1],
        "file_name": ["a.png", "b.jpg"],
        "label": ["x", "y"],
        "distance": [2, 2],
    }
    assert label_conflicts(table(tmp_path, label=["x", "y", "z"], file_name=names, hash=hashes), 1).empty


def test_identical_files_are_conflicts_unread() -> None:
    whole = table(
        Path("nowhere"),
        label=["x", "y", "x", "x"],
        file_name=["1", "2", "3", "4"],
        hash=["0" * 16] * 4,
        content=["c", "c", "c", ""],
    )
    whole = Table(whole.frame.iloc[:3], whole.root)
    assert label_conflicts(whole, 10)["file_name"].tolist() == ["1", "2", "3"]
    assert exact_conflicts(whole)["file_name"].tolist() == ["1", "2", "3"]
    assert exact_conflicts(Table(whole.frame.drop(columns="content"), whole.root)).empty


def test_images_with_several_boxes_are_refused(tmp_path: Path) -> None:
    twice = table(tmp_path, label=["x", "y"], file_name=["1", "1"], hash=["0" * 16] * 2)
    with pytest.raises(DataError, match="whole images are compared, and some occur with several boxes"):
        label_conflicts(twice, 10)


def test_each_image_is_read_once_and_counted(photo: Image.Image, tmp_path: Path) -> None:
    from contextlib import contextmanager

    calls: list[tuple[str, int]] = []

    @contextmanager
    def progress(description: str, total: int):  # type: ignore[no-untyped-def]
        calls.append((description, total))
        yield lambda done: None

    for n in range(3):
        photo.save(tmp_path / f"{n}.png")
    names = ["0.png", "not asked about", "1.png", "2.png"]
    assert verify_pairs(tmp_path, names, np.array([0, 0, 2]), np.array([2, 3, 3]), progress).all()
    assert calls == [("verifying pairs", 3)]


def test_transparent_drawings_must_look_the_same_on_white_too(tmp_path: Path) -> None:
    faces = []
    for mouth in ((20, 40, 44, 50), (20, 44, 44, 46), None):
        face = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
        draw = ImageDraw.Draw(face)
        draw.ellipse((4, 4, 60, 60), fill=(255, 240, 200, 255))
        if mouth:
            draw.ellipse(mouth, fill=(220, 205, 165, 255))
        faces.append(face)
    for number, face in enumerate([*faces, faces[0].resize((128, 128))]):
        face.save(tmp_path / f"{number}.png")
    names = [f"{number}.png" for number in range(4)]
    first, second = np.array([0, 0]), np.array([2, 3])
    on_black = is_same_image(read_thumbnails(tmp_path, names), first, second)
    assert on_black.tolist() == [True, True]
    assert verify_pairs(tmp_path, names, first, second).tolist() == [False, True]


def test_a_jpeg_is_opened_once_since_it_has_no_transparency(
    photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["0.jpg", "1.jpg"]
    for name in names:
        photo.save(tmp_path / name)
    opened, whole = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: opened.append(1) or whole(*arguments, **options))
    assert verify_pairs(tmp_path, names, np.array([0]), np.array([1])).all()
    once = len(opened)
    opened.clear()
    read_thumbnails(tmp_path, names)
    assert once == len(opened) > 0
