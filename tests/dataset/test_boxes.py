"""Boxes are known to lie within their images before anything is made of them."""

from pathlib import Path

import pytest
from PIL import Image

from eml.dataset.boxes import check_boxes
from eml.dataset.table import read_table
from eml.errors import DataError
from eml.images.decode import decode, shown_size

HEADER = "label,file_name,x_1,y_1,x_2,y_2"


def table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "t.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """wide.png is 60 × 40; so is turned.jpg as shown, after its EXIF orientation; cut.jpg is not all there."""
    Image.new("RGB", (60, 40)).save(tmp_path / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("turned.jpg", "turned.tif", "turned.webp", "turned.png"):
        Image.new("RGB", (40, 60)).save(tmp_path / name, exif=exif)
    (tmp_path / "text.jpg").write_text("no image")
    return tmp_path


def test_boxes_are_compared_with_the_sizes_of_the_table(tmp_path: Path) -> None:
    header = HEADER + ",width,height"
    path = table(tmp_path, "a,1.jpg,0,0,60,40,60,40", "a,2.jpg,0,0,61,40,60,40", "a,3.jpg,,,,,60,40", header=header)
    with pytest.raises(DataError) as error:
        read_table(path)
    assert error.value.problems == [f"{path}:3: box 0, 0, 61, 40 is not within the 60 × 40 pixels of '2.jpg'"]


def test_without_sizes_the_images_are_asked(root: Path) -> None:
    names = ["wide.png", "turned.jpg", "turned.tif", "turned.webp", "turned.png"]
    within = table(root, *(f"a,{name},0,0,60,40" for name in names), "a,text.jpg,,,,")  # that one has no box
    check_boxes(read_table(within))
    beyond = table(root, *(f"a,{name},0,0,60,41" for name in names), "a,text.jpg,0,0,1,1", "a,gone.png,0,0,1,1")
    with pytest.raises(DataError) as error:
        check_boxes(read_table(beyond))
    assert error.value.problems == [
        *(
            f"{beyond}:{n + 2}: box 0, 0, 60, 41 is not within the 60 × 40 pixels of {name!r}"
            for n, name in enumerate(names)
        ),
        f"{beyond}:7: 'text.jpg': its bytes are of no known image format (not_an_image)",
        f"{beyond}:8: 'gone.png': no such file (missing)",
    ]


@pytest.mark.parametrize("name", ["wide.png", "turned.jpg", "turned.tif", "turned.webp", "turned.png"])
def test_the_size_from_the_header_is_that_of_the_decoded_image(root: Path, name: str) -> None:
    assert shown_size(root / name) == decode(root / name).size == (60, 40)
