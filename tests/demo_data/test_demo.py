import itertools
from pathlib import Path

import imagehash
import numpy as np
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.textpath import TextPath
from PIL import Image

from eml.demo_data import demo
from eml.errors import DataError, OutputError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "new"
    demo.draw_images(folder, characters="AΑАBgЖ&")
    return folder


def image(file: Path) -> Image.Image:
    with Image.open(file) as opened:
        assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (64, 64))
        return opened.copy()


def images(folder: Path) -> dict[str, Image.Image]:
    return {file.name: image(file) for file in sorted(folder.iterdir())}


def test_draw_makes_a_folder_per_character_and_an_image_per_font_and_copy(drawn: Path) -> None:
    assert {folder.name for folder in drawn.iterdir()} == {
        "latin_capital_a",
        "greek_capital_alpha",
        "cyrillic_capital_a",
        "latin_capital_b",
        "latin_small_g",
        "cyrillic_capital_zhe",
        "ampersand",
    }
    for folder in drawn.iterdir():
        assert len(images(folder)) == 32


def test_draw_returns_and_reports_the_number_of_images(tmp_path: Path) -> None:
    steps: list[int] = []
    assert demo.draw_images(tmp_path / "new", characters="xy", copies=1, progress=steps.append) == 32
    assert sum(steps) == 32


def test_homoglyphs_are_one_image_with_three_labels(drawn: Path) -> None:
    latin, greek, cyrillic = (
        images(drawn / name) for name in ("latin_capital_a", "greek_capital_alpha", "cyrillic_capital_a")
    )
    for name in latin:
        assert latin[name].tobytes() == greek[name].tobytes() == cyrillic[name].tobytes(), name


def test_homoglyphs_are_so_by_nature() -> None:
    same = 0
    for file in demo.font_files().values():
        for group in demo.HOMOGLYPHS:
            shapes = [TextPath((0, 0), c, size=1, prop=FontProperties(fname=str(file))).get_extents() for c in group]
            same += np.ptp([[shape.width, shape.height] for shape in shapes], axis=0).max() < 0.01
    assert same >= 30  # of 32; a wrong character in a group would be drawn as the first without a word


def test_images_of_a_character_all_differ(drawn: Path) -> None:
    for folder in drawn.iterdir():
        assert len({p.tobytes() for p in images(folder).values()}) == 32


def test_the_widest_and_tallest_characters_stay_inside_the_image() -> None:
    for font, file in demo.font_files().items():
        jitters = [demo.jitter_of(font, copy) for copy in range(demo.COPIES)]
        for character in "ЉЊŒÆWШ№@½„gjђþ§(":
            points = np.concatenate(demo._outline(character, file).to_polygons())
            for jitter in jitters:
                moved = points @ jitter.matrix.T + jitter.shift + demo.SIDE / 2
                assert moved.min() > 0, (font, character)
                assert moved.max() < demo.SIDE, (font, character)


def test_an_image_does_not_depend_on_the_other_characters(drawn: Path, tmp_path: Path) -> None:
    demo.draw_images(tmp_path / "new", characters="gA", copies=1)
    for name, alone in images(tmp_path / "new" / "latin_small_g").items():
        assert alone.tobytes() == image(drawn / "latin_small_g" / name).tobytes()


def test_jitter_is_the_same_on_every_machine_and_another_for_every_font_and_copy() -> None:
    np.testing.assert_allclose(demo.jitter_of("DejaVuSans", 0).shift, [0.4132472904, -0.2816996226], atol=1e-10)
    shifts = {tuple(demo.jitter_of(font, copy).shift) for font in demo.FONTS for copy in range(3)}
    assert len(shifts) == 48


def test_classes_are_as_many_as_promised_and_named_apart_on_any_file_system() -> None:
    characters = demo.all_characters()
    names = [demo.class_name(character) for character in characters]
    assert 200 <= len(set(names)) == len(characters) <= 250
    for name in names:
        assert name.isascii()
        assert name.replace("_", "").isalnum()
        assert name == name.lower()


def test_every_font_has_every_character() -> None:
    for font, file in demo.font_files().items():
        assert set(map(ord, demo.all_characters())) <= FT2Font(str(file)).get_charmap().keys(), font


def test_draw_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="is not an empty folder"):
        demo.draw_images(tmp_path, characters="A")
    with pytest.raises(OutputError, match="is not an empty folder"):
        demo.draw_images(tmp_path / "mine.txt", characters="A")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_interrupted_draw_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.draw_images(tmp_path / "new", characters="A", progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_a_missing_font_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FONTS", ("DejaVuSans", "Garamond"))
    with pytest.raises(DataError, match=r"Garamond\.ttf: .*pip install --force-reinstall matplotlib"):
        demo.draw_images(tmp_path / "new", characters="A")
    assert not list(tmp_path.iterdir())


@pytest.mark.wide
def test_the_only_conflicts_are_the_homoglyphs_and_a_few_by_chance(tmp_path: Path) -> None:
    demo.draw_images(tmp_path / "new")
    trap = [{demo.class_name(character) for character in group} for group in demo.HOMOGLYPHS]
    by_hash: dict[str, list[Path]] = {}
    for file in (tmp_path / "new").glob("*/*.png"):
        by_hash.setdefault(str(imagehash.phash(image(file).convert("L"))), []).append(file)
    caught, chance = set(), 0
    for group in by_hash.values():
        for one, other in itertools.combinations(group, 2):
            pair = {one.parent.name, other.parent.name}
            if any(pair <= classes for classes in trap):
                caught |= {one, other}
            else:
                chance += 1
    assert len(caught) == 6 * 32
    assert chance <= 50
